"""Stands between a cluster and whoever wanted it, and takes it down when either has ended.

Run as `python -m tests.testbed.watchdog DIRECTORY LOCK STATUS OWNER [--stay]` by Cluster.up().
It holds the lock, is the parent of the keeper (which the kernel kills with it), and watches the
owner. Its own death therefore leaves nothing behind but files, which the next cluster removes.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tests.testbed import kernel
from tests.testbed.cleanup import remove_files, visitors
from tests.testbed.errors import NotAllowed
from tests.testbed.keeper import READY, keep
from tests.testbed.layout import LOGIN, Layout, Options
from tests.testbed.processes import end_all, namespace


class Watchdog:
    """One cluster's life, from the outside."""

    def __init__(self, layout: Layout, options: Options, status: int, owner: int) -> None:
        self._layout = layout
        self._options = options
        self._status = status
        self._owner = owner
        self._keeper = 0

    def run(self, stay: bool) -> None:
        """`stay`: once the cluster is up, it outlives its owner."""
        (self._layout / "pid/watchdog").write_text(str(os.getpid()))
        wake = self._listen_for_signals()
        # Before anything is started. An owner that has ended meanwhile is nobody's parent.
        owner = os.pidfd_open(self._owner)
        if os.getppid() != self._owner:
            self._end("")
            return
        answers = self._start_keeper()
        ready, _, _ = select.select([answers, owner, wake], [], [])
        answer = os.read(answers, 30000) if answers in ready else b""
        if answer != READY:
            self._end(answer.decode(errors="replace") or "the cluster was taken down")
            return
        try:
            os.write(self._status, READY)
            os.close(self._status)
        except BrokenPipeError:
            self._end("")
            return
        # The keeper never writes again: when its pipe gets readable, it has ended.
        gone = [os.pidfd_open(self._keeper), wake] + ([] if stay else [owner])
        select.select(gone, [], [])
        self._end("")

    def _start_keeper(self) -> int:
        reader, writer = os.pipe()
        try:
            kernel.unshare(kernel.NEWPID)
        except OSError as error:
            os.write(writer, str(NotAllowed(error)).encode())
            return reader
        self._keeper = os.fork()
        if self._keeper == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            keep(self._layout, self._options, writer)
        os.close(writer)
        return reader

    def _listen_for_signals(self) -> int:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        return reader

    def _end(self, message: str) -> None:
        """Take everything down, and only then say why."""
        with suppress(OSError, ValueError):
            login = int(self._layout.pid_file(LOGIN).read_text())
            network = namespace(login, "net")
            if network != namespace("self", "net"):
                # While it is open, its number cannot become another's.
                with Path(f"/proc/{login}/ns/net").open():
                    end_all(visitors(network))
        if self._keeper:
            os.kill(self._keeper, signal.SIGKILL)
            # Returns when all processes of its namespace, and of those below, have ended.
            os.waitpid(self._keeper, 0)
        remove_files(self._layout, self._options.cgroup)
        if message:
            with suppress(OSError):
                os.write(self._status, message.encode())


def main(arguments: list[str]) -> None:
    directory, lock, status, owner = arguments[:4]
    for fd in (int(lock), int(status)):
        # The daemons must not keep them open.
        os.set_inheritable(fd, False)
    layout = Layout(Path(directory))
    Watchdog(layout, layout.options(), int(status), int(owner)).run("--stay" in arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
