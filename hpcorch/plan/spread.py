"""How the shards of a database are spread over hosts, and whether those are one job."""

from __future__ import annotations

from dataclasses import dataclass

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError
from hpcorch.schedulers.base import Scheduler


@dataclass(frozen=True)
class Spread:
    """So many shards share a host, on so many hosts; `gang`: one job or allocation has them all."""

    per_host: int
    hosts: int
    gang: bool
    remote: bool

    @property
    def per_element(self) -> int:
        """How many shards an element of the job array starts."""
        return self.per_host if self.remote and not self.gang else 1

    @property
    def elements(self) -> int:
        """How many elements the job array has."""
        return 1 if self.gang else self.hosts

    @property
    def nodes(self) -> int:
        """How many nodes each element asks for."""
        return self.hosts if self.gang else 1


def spread(database: Orchestrator, scheduler: Scheduler) -> Spread:
    """Return where the shards go; raises InputError when other hosts were asked for."""
    shards = database.db_nodes
    if not scheduler.is_remote:
        # This machine is one host, and its shards are tasks of one script.
        return Spread(per_host=shards, hosts=shards, gang=False, remote=False)
    per_host = min(database.shards_per_host, shards)
    hosts = -(-shards // per_host)
    _refuse_others(database, hosts)
    # All elements of an array ask for the same: only one job can ask for several hosts by name.
    together = database.layout == "gang" or len(database.batch.hosts) > 1
    return Spread(per_host, hosts, not scheduler.is_batch or (together and shards > 1), remote=True)


def _refuse_others(database: Orchestrator, hosts: int) -> None:
    """Refuse numbers and names of hosts that are not those of the shards."""
    batch = database.batch
    if batch.nodes is not None and batch.nodes != hosts:
        raise InputError(f"nodes of {database.name} is {batch.nodes}: its shards are on {hosts}")
    if batch.hosts and len(batch.hosts) != hosts:
        raise InputError(
            f"host_list of {database.name} has {len(batch.hosts)} hosts: its shards are on {hosts}"
        )
    if database.interfaces == ("lo",) and hosts > 1:
        raise InputError(
            f"interface of {database.name} is 'lo': its shards are on {hosts} hosts, which it does "
            "not connect"
        )
