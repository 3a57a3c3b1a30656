"""What /proc tells about processes and the namespaces they are in."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def namespace(pid: int | str, kind: str) -> int:
    """The number of a process's namespace; 0 when the process is gone."""
    try:
        return (PROC / str(pid) / "ns" / kind).stat().st_ino
    except OSError:
        return 0


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        after_name = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2]
    except OSError:
        return False
    return after_name.split()[0] not in "ZX"


def in_namespace(kind: str, number: int) -> list[int]:
    """The living processes in a namespace."""
    return [pid for pid in all_pids() if number and namespace(pid, kind) == number and alive(pid)]


def command_line(pid: int) -> str:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return shlex.join(word.decode(errors="replace") for word in words)


def in_environment(pid: int, entry: str) -> bool:
    try:
        return entry.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float, step: float = 0.02) -> bool:
    """Whether `condition` came true in time. Looking takes no more than half of the time."""
    began = time.monotonic()
    end = began + seconds
    while not condition():
        now = time.monotonic()
        if now > end:
            return False
        time.sleep(max(step, now - began))
        began = time.monotonic()
    return True


def end_all(find: Callable[[], list[int]], patience: float = 1.0) -> None:
    """End what `find` finds: ask first, then kill, also what starts meanwhile."""
    _signal_all(find(), signal.SIGTERM)
    if wait_until(lambda: not find(), patience):
        return

    def killed() -> bool:
        _signal_all(find(), signal.SIGKILL)
        return not find()

    wait_until(killed, 5)


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)
