"""The system calls for namespaces and mounts which Python has no functions for (before 3.12)."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWPID = 0x20000000
NEWNET = 0x40000000

_MS_NOSUID = 2
_MS_NODEV = 4
_MS_BIND = 4096
_MS_MOVE = 8192
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), "setns")


def open_namespace(kind: str) -> int:
    """A descriptor of this process's own namespace; keeps the namespace alive."""
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def die_with_parent() -> None:
    """Be killed by the kernel as soon as the parent ends, in whatever way."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def name_process(name: str) -> None:
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def close_all_but(*keep: int) -> None:
    """Close what was inherited, save the standard streams and `keep`."""
    start = 3
    for fd in sorted(keep):
        os.closerange(start, fd)
        start = max(start, fd + 1)
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def private_mounts() -> None:
    """No mount made from now on is seen by other mount namespaces."""
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)


def mount_proc() -> None:
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV)


def mount_tmpfs(target: Path, mode: str = "1777") -> None:
    _mount("tmpfs", str(target), "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={mode}")


def mount_sysfs(target: Path) -> None:
    """Shows the network interfaces of the caller's network namespace, of no other."""
    _mount("sysfs", str(target), "sysfs", _MS_NOSUID | _MS_NODEV)


def bind(source: Path, target: Path) -> None:
    """Make `source`, with what is mounted below it, appear at `target`."""
    _mount(str(source), str(target), "", _MS_BIND | _MS_REC)


def move_mount(source: Path, target: Path) -> None:
    _mount(str(source), str(target), "", _MS_MOVE)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _check(result, f"mount {kind or source} on {target}")
