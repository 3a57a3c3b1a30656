"""Makes the namespaces that a process is in look like a machine of their own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.testbed import kernel
from tests.testbed.layout import Layout


def become(layout: Layout, name: str) -> None:
    """What the login node and the compute nodes have in common."""
    kernel.private_mounts()
    socket.sethostname(name)
    for file in ("hosts", "resolv.conf"):
        # May be a symbolic link, and need not exist.
        target = Path("/etc", file).resolve()
        if target.exists():
            kernel.bind(layout / f"etc/{file}", target)
    _own_sys(layout)
    # On the cluster's own hosts the real commands are found, not the wrappers.
    kernel.bind(layout / "empty", layout / "bin")


def become_node(layout: Layout, name: str, shared: tuple[str, ...]) -> None:
    """A compute node also has its own processes, memory and /tmp."""
    become(layout, name)
    kernel.mount_proc()
    kernel.mount_tmpfs(Path("/dev/shm"))
    _own_tmp(layout, shared)


def _own_sys(layout: Layout) -> None:
    """/sys/class/net tells of this host's network; cgroups stay."""
    staging, cgroups = layout / "staging", Path("/sys/fs/cgroup")
    kernel.mount_sysfs(staging)
    if cgroups.exists():
        kernel.bind(cgroups, staging / "fs/cgroup")
    kernel.move_mount(staging, Path("/sys"))


def _own_tmp(layout: Layout, shared: tuple[str, ...]) -> None:
    """An empty /tmp in which only the directories of `shared` are still seen."""
    staging = layout / "staging"
    kernel.mount_tmpfs(staging)
    for name in shared:
        if name.startswith("/tmp/"):
            target = staging / os.path.relpath(name, "/tmp")
            target.mkdir(parents=True, exist_ok=True)
            kernel.bind(Path(name), target)
    kernel.move_mount(staging, Path("/tmp"))
