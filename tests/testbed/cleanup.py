"""Removes what is left of a cluster once its first process is dead."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.testbed.config import remove_cgroups
from tests.testbed.layout import BASE, PREFIX, Layout
from tests.testbed.processes import end_all, in_environment, in_namespace, namespace, wait_until


def take_lock(layout: Layout) -> int | None:
    """The lock of a cluster as a descriptor; None while the cluster is up, or is not there."""
    try:
        fd = os.open(layout.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def make_locked(layout: Layout) -> int:
    """Create the lock. It has its name only when it is locked, so nobody can come in between."""
    new = layout / "lock.new"
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(fd, fcntl.LOCK_EX)
    new.rename(layout.lock)
    return fd


def is_up(layout: Layout) -> bool:
    if not layout.lock.exists():
        return False
    fd = take_lock(layout)
    if fd is None:
        return True
    os.close(fd)
    return False


def visitors(network: int) -> Callable[[], list[int]]:
    """Finds the processes that came to the login node from outside: its network, our processes."""
    ours = namespace("self", "pid")

    def find() -> list[int]:
        return [pid for pid in in_namespace("net", network) if namespace(pid, "pid") == ours]

    return find


def remove_files(layout: Layout, cgroup: bool) -> None:
    if cgroup:
        remove_cgroups()

    def removed() -> bool:
        shutil.rmtree(layout.directory, ignore_errors=True)
        return not layout.directory.exists()

    wait_until(removed, 30, 0.1)


def remove_dead(layout: Layout) -> bool:
    """Clean up after a cluster whose watchdog was killed; False when there is none, or it lives."""
    fd = take_lock(layout)
    if fd is None:
        return False
    try:
        network = int((layout / "pid/network").read_text())
    except (OSError, ValueError):
        network = 0
    find, mark = visitors(network), f"SLURM_CONF={layout.conf}"
    # The number may be another namespace's by now, so what is in it must also know our files.
    end_all(lambda: [pid for pid in find() if in_environment(pid, mark)])
    try:
        cgroup = layout.options().cgroup
    except (OSError, ValueError):
        cgroup = False
    remove_files(layout, cgroup)
    os.close(fd)
    return True


def remove_all_dead(base: Path = BASE) -> None:
    for directory in base.glob(f"{PREFIX}-*"):
        remove_dead(Layout(directory))
