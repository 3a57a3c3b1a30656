"""Real cpusets of the kernel, by whichever version of cgroups has them on this machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import until


def _mounts() -> Iterator[tuple[str, Path, list[str]]]:
    """Yield the type, place and options of everything that is mounted here."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options = line.split()[:4]
        yield kind, Path(place), options.split(",")


def _hierarchy() -> tuple[int, Path] | None:
    """Return the version of cgroups that has cpusets, and where it is mounted."""
    for kind, place, options in _mounts():
        if kind == "cgroup" and "cpuset" in options:
            return 1, place
        if kind == "cgroup2" and "cpuset" in (place / "cgroup.controllers").read_text().split():
            return 2, place
    return None


def _own_group(version: int, root: Path) -> Path:
    """Return this process's group in the hierarchy."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (version == 2 and not controllers) or "cpuset" in controllers.split(","):
            return root / path.lstrip("/")
    return root


def _fill(version: int, root: Path, group: Path, cpus: str) -> None:
    if version == 1:
        (group / "cpuset.mems").write_text((root / "cpuset.mems").read_text())
    (group / "cpuset.cpus").write_text(cpus)
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _removed(group: Path) -> bool:
    """Remove a group; the last processes of a job may still be on their way out of it."""
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@contextmanager
def cpuset(*cpus: int) -> Iterator[None]:
    """Confine this process to CPUs so that nobody in the set can leave it by asking for others.

    Skips the test, and says why, where no cpuset can be made.
    """
    found = _hierarchy()
    if os.geteuid() != 0 or found is None:
        pytest.skip("cpusets need root, and a mounted cgroup hierarchy, v1 or v2, that has them")
    version, root = found
    own, group = _own_group(version, root), root / f"hpcorch-test-{os.getpid()}"
    before = os.sched_getaffinity(0)
    try:
        if version == 2:
            (root / "cgroup.subtree_control").write_text("+cpuset")
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cpuset can be made in {root} (cgroup v{version}): {error.strerror}")
    try:
        _fill(version, root, group, ",".join(map(str, cpus)))
        yield
    finally:
        (own / "cgroup.procs").write_text(str(os.getpid()))
        os.sched_setaffinity(0, before)
        until(lambda: _removed(group), f"the end of all processes in {group}")
