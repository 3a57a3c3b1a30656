"""A compute node: its first process, and what the keeper does with it."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tests.testbed import kernel
from tests.testbed.children import Children
from tests.testbed.config import CONTROLLER_PORT
from tests.testbed.errors import ClusterError
from tests.testbed.host import become_node
from tests.testbed.layout import LOGIN, SYSTEM_PATH, Layout, Options, address
from tests.testbed.network import Switch, configure
from tests.testbed.packages import program
from tests.testbed.processes import wait_until

ALL_BUT_PID = kernel.NEWNET | kernel.NEWUTS | kernel.NEWIPC | kernel.NEWNS
PATIENCE = 60.0


class Node:
    """The keeper's end of a node. Everything on the node dies with its first process."""

    def __init__(self, layout: Layout, options: Options, name: str) -> None:
        self._layout = layout
        self._options = options
        self._channel: socket.socket | None = None
        self._pid = 0
        self.name = name

    @property
    def up(self) -> bool:
        return self._channel is not None

    def begin(self) -> None:
        """Start the first process; several nodes may do so at once. Then comes finish()."""
        if self._channel:
            raise ClusterError(f"{self.name} is up already")
        # Each message arrives as one, and the end of the other side is seen.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own_namespace = kernel.open_namespace("pid")
        kernel.unshare(kernel.NEWPID)
        self._pid = os.fork()
        if self._pid == 0:
            first_process(self._layout, self._options, self.name, theirs)
        # unshare() holds for all further children; they are to be on the login node again.
        kernel.setns(own_namespace, kernel.NEWPID)
        os.close(own_namespace)
        theirs.close()
        ours.settimeout(PATIENCE)
        self._channel = ours

    def plug_in(self, switch: Switch) -> None:
        self._expect("isolated")
        switch.plug(self.name, self._pid)
        self._send("plugged")

    def finish(self) -> None:
        self._expect("done")

    def order(self, what: str) -> None:
        """Have slurmd alone stopped, started, or kept running ("restore"); jobs go on."""
        self._send(what)
        self._expect("done")

    def power_off(self, switch: Switch) -> None:
        if not self._channel:
            raise ClusterError(f"{self.name} is down already")
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._channel.close()
        self._channel = None
        self._layout.pid_file(self.name).unlink(missing_ok=True)
        switch.unplug(self.name)

    def _send(self, message: str) -> None:
        if not self._channel:
            raise ClusterError(f"{self.name} is down")
        self._channel.send(message.encode())

    def _expect(self, wanted: str) -> None:
        if not self._channel:
            raise ClusterError(f"{self.name} is down")
        answer = self._channel.recv(10000).decode()
        if answer != wanted:
            raise ClusterError(f"{self.name}: {answer or 'its first process ended'}")


def first_process(layout: Layout, options: Options, name: str, channel: socket.socket) -> NoReturn:
    try:
        _live(layout, options, name, channel)
    except BaseException as error:  # the keeper passes it on
        with suppress(OSError):
            channel.send(str(error or repr(error)).encode()[:9000])
    finally:
        os._exit(1)


def _live(layout: Layout, options: Options, name: str, channel: socket.socket) -> None:
    kernel.close_all_but(channel.fileno())
    kernel.name_process(f"testbed-{name}")
    # /proc still shows the numbers by which processes outside know us.
    layout.pid_file(name).write_text(str(Path("/proc/self").readlink()))
    kernel.unshare(ALL_BUT_PID)
    channel.send(b"isolated")
    if channel.recv(100) != b"plugged":
        return
    become_node(layout, name, options.shared)
    configure(name)
    # A slurmd whose first message gets lost waits seconds before the next.
    wait_until(_controller_reachable, 5)
    children = Children(layout, {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", **layout.environment()})
    _start_slurmd(children, name)
    channel.send(b"done")
    while True:
        ready, _, _ = select.select([channel.fileno(), children.wake], [], [])
        children.reap()
        if channel.fileno() in ready:
            message = channel.recv(100).decode()
            if not message:
                return
            channel.send(_obey(children, name, message).encode())


def _obey(children: Children, name: str, message: str) -> str:
    try:
        if message == "stop":
            children.stop("slurmd")
        elif message == "start" or not children.running("slurmd"):
            _start_slurmd(children, name)
    except ClusterError as error:
        return str(error)
    return "done"


def _start_slurmd(children: Children, name: str) -> None:
    children.start("slurmd", program("slurmd"), "-D", "-N", name, label=f"slurmd-{name}")


def _controller_reachable() -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        # Refused will do: the network works, and the controller may be stopped on purpose.
        result = probe.connect_ex((address(LOGIN), CONTROLLER_PORT))
    return result in (0, errno.ECONNREFUSED)
