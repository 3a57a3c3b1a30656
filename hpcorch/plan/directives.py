"""What a database's description says in the words of redis.conf."""

from __future__ import annotations

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError

# The job script writes these last, by what it finds on its node.
_OF_THE_JOB = frozenset(
    (
        *("bind", "cluster-announce-ip", "cluster-config-file", "cluster-enabled", "daemonize"),
        *("dbfilename", "dir", "logfile", "port", "protected-mode", "requirepass"),
    )
)


def directives(database: Orchestrator) -> dict[str, str]:
    """Return the directives; raises InputError for those that would be without effect."""
    given = database.settings
    for key in _OF_THE_JOB & given.keys():
        raise InputError(
            f"db_conf of {database.name} holds {key!r}: hpcorch sets it itself",
            "there are arguments for some, such as port, interface and security",
        )
    limit = {"maxmemory": database.maxmemory} if database.maxmemory else {}
    freq = database.checkpoint_seconds
    saving = {} if freq is None else {"save": f"{freq} 1"}
    return {**limit, **given, **saving}
