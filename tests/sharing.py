"""How processes share the tests: those that use what is costly to make stay together.

The marker xdist_group does nothing with pytest 9.2.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

# Below tests/: Slurm clusters with settings of their own, servers, environments, a built site. What
# every process makes for itself in no time, such as the usual cluster, is no reason.
_COSTLY = (
    *("docs/test_site.py", "faults/test_daemons.py", "faults/test_files.py"),
    *("faults/test_nodes.py", "inference/", "packaging/", "redis/"),
)
# There each parameter is a script that is rendered once.
_GOLDEN = "golden/test_golden.py"


def scope(nodeid: str) -> str:
    """Return what is the same for tests that stay together."""
    path, _, name = nodeid.removeprefix("tests/").partition("::")
    if path == _GOLDEN:
        return f"{path}[{name.partition('[')[2]}"
    return next((item for item in _COSTLY if path.startswith(item)), nodeid)


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out the largest groups first, single tests at the end."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
