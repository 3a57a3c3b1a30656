"""What can be made to fail."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tests.testbed import control
from tests.testbed.layout import Layout


class Outages(ABC):
    """Orders to a cluster that is up, by name."""

    @property
    @abstractmethod
    def layout(self) -> Layout: ...

    def order(self, action: str, node: str = "") -> None:
        """Any order of `ctl`; those below are the same by name."""
        control.order(self.layout, action, node)

    def node_down(self, node: str) -> None:
        """Power off: everything on the node dies at once."""
        self.order("node-down", node)

    def node_up(self, node: str) -> None:
        self.order("node-up", node)

    def net_down(self, node: str) -> None:
        """Pull the node's network cable."""
        self.order("net-down", node)

    def net_up(self, node: str) -> None:
        self.order("net-up", node)

    def slurmd_stop(self, node: str) -> None:
        """Stop slurmd alone; jobs on the node go on."""
        self.order("slurmd-stop", node)

    def slurmd_start(self, node: str) -> None:
        self.order("slurmd-start", node)

    def slurmctld_stop(self) -> None:
        self.order("slurmctld-stop")

    def slurmctld_start(self) -> None:
        self.order("slurmctld-start")

    def slurmdbd_stop(self) -> None:
        self.order("slurmdbd-stop")

    def slurmdbd_start(self) -> None:
        self.order("slurmdbd-start")
