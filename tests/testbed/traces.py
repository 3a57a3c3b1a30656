"""Everything by which a cluster could be noticed; for the test that nothing is left behind."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.cluster import ROOT
from tests.testbed.errors import ClusterError
from tests.testbed.processes import alive, all_pids, command_line, namespace, wait_until

TESTBED = [sys.executable, "-m", "tests.testbed"]
# A whole cluster comes up before a process runs there.
_PATIENCE = 90.0


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that does not outlive the block."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


class Place:
    """A directory for a cluster. `mark` is an argument of `sleep`, by which that is recognized."""

    def __init__(self, directory: Path, mark: str) -> None:
        self.directory = directory
        # srun writes out the program's path.
        self._sleep = re.compile(rf"(/usr)?(/bin/)?sleep {mark}\b")
        self._networks: set[int] = set()
        self._interfaces = self._interfaces_outside()

    def testbed(self, command: str, *words: str) -> list[str]:
        return [*TESTBED, command, f"--dir={self.directory}", *words]

    def remember(self, hosts: int) -> None:
        """Wait until `sleep` runs on that many hosts, and note which networks they have."""

        def networks() -> set[int]:
            pids = [pid for pid in all_pids() if self._sleep.fullmatch(command_line(pid))]
            return {namespace(pid, "net") for pid in pids} - {0, namespace("self", "net")}

        if not wait_until(lambda: len(networks()) == hosts, _PATIENCE):
            raise ClusterError(f"no processes on {hosts} hosts within {_PATIENCE:g} s")
        self._networks = networks()

    def left(self, inside: bool = False) -> list[str]:
        """What is left; with `inside` only processes that cannot be seen from our PID namespace."""
        found = [
            f"{pid}: {command_line(pid)}"
            for pid in all_pids()
            if namespace(pid, "net") in self._networks
            or str(self.directory) in command_line(pid)
            or self._sleep.search(command_line(pid))
            if not inside or namespace(pid, "pid") != namespace("self", "pid")
            if alive(pid)
        ]
        if inside:
            return found
        if self.directory.exists():
            found.append(str(self.directory))
        mounts = Path("/proc/mounts").read_text().splitlines()
        found += [line for line in mounts if str(self.directory) in line]
        return found + sorted(self._interfaces_outside() - self._interfaces)

    @staticmethod
    def _interfaces_outside() -> set[str]:
        return {path.name for path in Path("/sys/class/net").iterdir()}
