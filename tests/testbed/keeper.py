"""Process 1 of the login node: starts the cluster and takes orders. All else dies with it."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tests.testbed import control, kernel
from tests.testbed.children import Children
from tests.testbed.daemons import Daemons
from tests.testbed.errors import ClusterError, NotAllowed
from tests.testbed.host import become
from tests.testbed.layout import LOGIN, SYSTEM_PATH, Layout, Options
from tests.testbed.network import Switch, configure
from tests.testbed.node import Node
from tests.testbed.processes import namespace, wait_until

# Given to the keeper's parent when the cluster can be used.
READY = b"ready"


def keep(layout: Layout, options: Options, status: int) -> NoReturn:
    """Never returns: the process is a fork, and not to run what its parent would."""
    try:
        kernel.die_with_parent()
        kernel.close_all_but(status)
        kernel.name_process("testbed-login")
        keeper = Keeper(layout, options)
        keeper.bring_up()
        os.write(status, READY)
        os.close(status)
        keeper.serve()
    except BaseException as error:  # the parent tells the user
        os.write(status, (str(error) or repr(error)).encode()[:30000])
    finally:
        os._exit(1)


class Keeper:
    """Owns the network, the services and the nodes."""

    def __init__(self, layout: Layout, options: Options) -> None:
        self._layout = layout
        self._options = options
        # /proc is still that of the processes outside: it gives the numbers they know.
        layout.pid_file(LOGIN).write_text(str(Path("/proc/self").readlink()))
        try:
            self._become_login()
        except (ClusterError, OSError) as error:
            raise NotAllowed(error) from None
        env = {"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8", **layout.environment()}
        self._children = Children(layout, env)
        self._daemons = Daemons(layout, self._children, env)
        self._nodes = {name: Node(layout, options, name) for name in options.names}
        self._server = control.listen(layout)

    def _become_login(self) -> None:
        self._switch = Switch()
        (self._layout / "pid/network").write_text(str(namespace("self", "net")))
        kernel.unshare(kernel.NEWUTS | kernel.NEWNS)
        become(self._layout, LOGIN)
        self._switch.plug(LOGIN)
        configure(LOGIN)

    def bring_up(self) -> None:
        self._daemons.start_munged()
        if self._options.accounting:
            self._daemons.start_mariadbd()
            self._daemons.start_slurmdbd()
        # Before the nodes: a slurmd that finds no controller waits seconds.
        self._daemons.start_slurmctld()
        self._power_on(list(self._nodes.values()))
        self._wait_idle()
        if self._options.accounting and not wait_until(self._daemons.registered, 60, 0.1):
            raise ClusterError("slurmctld did not register with slurmdbd")

    def serve(self) -> NoReturn:
        while True:
            ready, _, _ = select.select([self._server.fileno(), self._children.wake], [], [])
            self._children.reap()
            if self._server.fileno() in ready:
                control.answer(self._server, self._obey)

    def _power_on(self, nodes: list[Node]) -> None:
        for node in nodes:
            node.begin()
        for node in nodes:
            node.plug_in(self._switch)
        for node in nodes:
            node.finish()

    def _wait_idle(self) -> None:
        states: dict[str, str] = {}

        def settled() -> bool:
            if not self._children.running("slurmctld"):
                return True
            states.update(self._daemons.node_states())
            return "inval" in states.values() or idle()

        def idle() -> bool:
            return [states.get(name) for name in self._nodes] == ["idle"] * len(self._nodes)

        wait_until(settled, 60)
        if not idle():
            logs = "\n".join(
                f"--- {name}\n{self._children.log_end(name)}"
                for name in ("slurmctld", f"slurmd-{self._options.names[0]}")
            )
            raise ClusterError(f"the nodes did not become idle: {states}\n{logs}")

    def _obey(self, action: str, name: str) -> None:
        if action in control.NODE_ORDERS:
            if name not in self._nodes:
                raise ClusterError(f"there is no node {name!r}, only {', '.join(self._nodes)}")
            self._obey_for_node(action, self._nodes[name])
        elif action == "restore":
            self._restore()
        elif action in control.SERVICE_ORDERS:
            self._obey_for_service(*action.rsplit("-", 1))
        else:
            raise ClusterError(f"unknown order {action!r}")

    def _obey_for_node(self, action: str, node: Node) -> None:
        actions: dict[str, Callable[[], None]] = {
            "node-down": lambda: node.power_off(self._switch),
            "node-up": lambda: self._power_on([node]),
            "net-down": lambda: self._switch.connect(node.name, up=False),
            "net-up": lambda: self._switch.connect(node.name, up=True),
            "slurmd-stop": lambda: node.order("stop"),
            "slurmd-start": lambda: node.order("start"),
        }
        actions[action]()

    def _obey_for_service(self, service: str, what: str) -> None:
        if service == "slurmdbd" and not self._options.accounting:
            raise ClusterError("this cluster has no accounting")
        if what == "stop":
            self._children.stop(service)
        elif service == "slurmdbd":
            self._daemons.start_slurmdbd()
        else:
            self._daemons.start_slurmctld()

    def _restore(self) -> None:
        if self._options.accounting and not self._children.running("slurmdbd"):
            self._daemons.start_slurmdbd()
        if not self._children.running("slurmctld"):
            self._daemons.start_slurmctld()
        for node in self._nodes.values():
            if node.up:
                self._switch.connect(node.name, up=True)
                node.order("restore")
        self._power_on([node for node in self._nodes.values() if not node.up])
