"""The keys of a site profile, with their defaults and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpcorch.schedulers.base import Options


@dataclass(frozen=True)
class Queue:
    """Rules of one queue or partition; 0 and empty: none.

    `time` is what jobs get that say none; `max_time` and `max_nodes` are the most that one job may
    ask for, `max_array_size` the most tasks of one job array: larger ones are cut into several.
    `allowed_security` lists the security tiers that databases may have there.
    """

    time: str = ""
    max_time: str = ""
    max_nodes: int = 0
    max_array_size: int = 0
    allowed_security: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """Values of one machine; `origins` tells for each which file or variable it came from.

    `account`, `queue` and `time` are for batch jobs that say none; `required` names what a batch
    job must have, by itself or from here. `queues` are those that jobs may name; without any the
    batch system alone decides. `run_command` is what `auto` stands for when a program has several
    processes. `memory_style` is how a batch system is asked for memory: for a `node`, for a `cpu`,
    or `none` where it must not be asked. `load_modules` are environment modules that every job
    loads. `allowed_security` lists the security tiers that databases may have.
    `python` is the Python that model workers run in; empty means the one that hpcorch runs in.
    `mpi` is the library that mpirun and mpiexec belong to: openmpi, hydra (MPICH, Intel MPI) or
    pals; auto asks them. `command_timeout_seconds` is how long a command of the batch system may
    take, `poll_seconds` the shortest time between two questions for the state of jobs.
    `pbs_dialect` is pbs, or torque for `nodes=N:ppn=M` and arrays by `-t`; `pbs_place` is how
    PBS gives a database's shard a node of its own: excl, exclhost or none; `pbs_starter` is what
    reaches the other nodes of a PBS job: pbsdsh, pbs_tmrsh, ssh or mpiexec.
    `max_array_size` is the most tasks of a job array where the batch system does not say it (0:
    no limit).
    """

    scheduler: str = "auto"
    account: str = ""
    queue: str = ""
    time: str = ""
    required: tuple[str, ...] = ()
    run_command: str = "auto"
    memory_style: str = "node"
    max_array_size: int = 0
    poll_seconds: int = 15
    command_timeout_seconds: int = 120
    interface: tuple[str, ...] = ()
    allowed_security: tuple[str, ...] = ()
    load_modules: tuple[str, ...] = ()
    server: str = ""
    server_conf: str = ""
    python: str = ""
    template_dirs: tuple[str, ...] = ()
    boot_seconds: int = 60
    deadline_seconds: int = 600
    mpi: str = "auto"
    pbs_dialect: str = "pbs"
    pbs_place: str = "excl"
    pbs_starter: str = "pbsdsh"
    queues: Mapping[str, Queue] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> Options:
        """Return what the batch system's own module must know."""
        return Options(self.pbs_place, self.command_timeout_seconds, self.poll_seconds)

    def origin(self, key: str) -> str:
        """Return where the value of `key` comes from; "queues.NAME.KEY" is one of a queue."""
        return self.origins.get(key, "default")
