"""The programs that the first process of a host runs, by name."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.testbed.errors import ClusterError
from tests.testbed.layout import Layout
from tests.testbed.processes import wait_until


class Children:
    """Starts and stops programs, and reaps, as process 1 has to, whatever else ends here."""

    def __init__(self, layout: Layout, env: Mapping[str, str]) -> None:
        self._layout = layout
        self._env = env
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # Readable when a child has ended, for select().
        self.wake, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)

    def start(self, name: str, *argv: str, label: str = "") -> None:
        """`label`: what the log is called, where the name says too little."""
        self.reap()
        if name in self._running:
            raise ClusterError(f"{name} is running already")
        with self._output(label or name).open("ab") as out:
            self._running[name] = subprocess.Popen(
                argv,
                env=self._env,
                cwd=self._layout.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def running(self, name: str) -> bool:
        self.reap()
        return name in self._running

    def stop(self, name: str, seconds: float = 60) -> None:
        """End it; one that is killed, since it took too long, has not saved its state."""
        self.reap()
        child = self._running.get(name)
        if child is None:
            raise ClusterError(f"{name} is not running")
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(seconds)
        del self._running[name]

    def reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.wake, 4096)
        by_pid = {child.pid: name for name, child in self._running.items()}
        with suppress(ChildProcessError):
            # Looked at before it is reaped: Popen wants to reap its own.
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                name = by_pid.get(ended.si_pid)
                if name is None:
                    os.waitpid(ended.si_pid, 0)
                else:
                    self._running.pop(name).wait()

    def wait_ready(self, name: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for `ready`, as long as the program runs at all."""
        wait_until(lambda: not self.running(name) or ready(), seconds)
        if not self.running(name):
            raise ClusterError(f"{name} ended; its log says:\n{self.log_end(name)}")
        if not ready():
            raise ClusterError(f"{name} got not ready; its log says:\n{self.log_end(name)}")

    def log_end(self, name: str, lines: int = 15) -> str:
        try:
            text = self._output(name).read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def _output(self, name: str) -> Path:
        # Slurm's daemons write a log of their own besides.
        return self._layout.log(f"{name}-output")
