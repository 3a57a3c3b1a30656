"""The cluster's network: a switch that nothing but the cluster is connected to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.testbed.errors import ClusterError
from tests.testbed.kernel import NEWNET, open_namespace, setns, unshare
from tests.testbed.layout import address, last_byte
from tests.testbed.packages import program
from tests.testbed.processes import wait_until


def ip(*commands: str, fds: tuple[int, ...] = ()) -> None:
    """Several commands of `ip` in one process, in the current network namespace."""
    result = subprocess.run(
        [program("ip"), "-batch", "-"],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        check=False,
        pass_fds=fds,
    )
    if result.returncode:
        raise ClusterError(f"ip: {result.stderr.splitlines()[0]} (of: {'; '.join(commands)})")


def configure(host: str) -> None:
    """Bring up the interfaces of the host that we are on."""
    ip("link set lo up", f"addr add {address(host)}/24 brd + dev eth0", "link set eth0 up")


class Switch:
    """A bridge in a network namespace of its own; moves the caller to another new one.

    A bridge on the login node itself would answer for the login node's address too, with hardware
    addresses that change as cables are plugged in, and now and then stall everything for seconds.
    """

    def __init__(self) -> None:
        unshare(NEWNET)
        self._switch = open_namespace("net")
        ip("link add br0 type bridge", "link set br0 up")
        unshare(NEWNET)
        self._home = open_namespace("net")

    @contextmanager
    def _inside(self) -> Iterator[None]:
        setns(self._switch, NEWNET)
        try:
            yield
        finally:
            setns(self._home, NEWNET)

    def plug(self, host: str, pid: int | None = None) -> None:
        """A cable to eth0 of the host that process `pid` is on, or of our own.

        Hardware addresses stay the same when a node is switched off and on, so that nobody
        remembers a wrong one.
        """
        network = str(pid or f"/proc/self/fd/{self._home}")
        port, mac = _port(host), f"02:4d:00:00:00:{last_byte(host):02x}"
        with self._inside():
            # The old cable of a node that was switched off goes away after a while.
            wait_until(lambda: not self._has(port), 10)
            ip(
                f"link add {port} type veth peer name eth0 address {mac} netns {network}",
                f"link set {port} master br0 up",
                fds=(self._home,),
            )

    def unplug(self, host: str) -> None:
        with self._inside(), suppress(ClusterError):
            ip(f"link del {_port(host)}")

    def connect(self, host: str, up: bool) -> None:
        with self._inside():
            ip(f"link set {_port(host)} {'up' if up else 'down'}")

    @staticmethod
    def _has(port: str) -> bool:
        try:
            ip(f"link show {port}")
        except ClusterError:
            return False
        return True


def _port(host: str) -> str:
    return f"port-{host}"
