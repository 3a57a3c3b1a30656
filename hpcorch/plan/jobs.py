"""Jobs: frozen data that holds every number, name and path of a script, ready-made.

A job's attributes are the context that templates see; CONTEXT_VERSION changes whenever one of them
is renamed, removed or changes meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hpcorch.describe.orchestrator import DEFAULT_IDENTIFIER
from hpcorch.schedulers.base import Resources, Scheduler
from hpcorch.sites import Site

CONTEXT_VERSION = 1


class ServerFacts(Protocol):
    """What planning must know of a server program; hpcorch.server.Server has it."""

    @property
    def path(self) -> str:
        """The program."""

    @property
    def flavour(self) -> str:
        """One of redis, valkey, keydb."""

    @property
    def version(self) -> tuple[int, int, int]:
        """Its version."""

    @property
    def tls(self) -> bool:
        """Whether it was built with TLS."""


@dataclass(frozen=True)
class Machine:
    """Facts that were looked up before planning: where things are, what the server can do.

    `module` is hpcorch's own server module, empty when it was not compiled.
    """

    server: ServerFacts
    server_environment: Mapping[str, str]
    server_conf: str = ""
    cli: str = ""
    openssl: bool = True
    module: str = ""


@dataclass(frozen=True)
class Target:
    """Where a job goes: its batch system, site and run directory; `token` makes it unique.

    `mpi` is the library that mpirun and mpiexec belong to, empty where that is not known.
    `umask` is the user's own file mode mask, in octal: not every batch system carries it along.
    """

    scheduler: Scheduler
    site: Site
    run_dir: str
    token: str
    mpi: str = ""
    umask: str = "0022"


@dataclass(frozen=True)
class ServerPlan:
    """How a server is started. `defaults` and `directives` are redis.conf lines as word lists."""

    program: str
    environment: tuple[str, ...]
    modules: tuple[str, ...]
    ai_commands: bool
    cli: str
    security: str
    data_tls: bool
    bus_tls: bool
    boot_seconds: int
    defaults: tuple[tuple[str, ...], ...]
    include: str
    directives: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class WorkerPlan:
    """Model workers beside a server: `count` of them (0: models are only loaded, from elsewhere).

    `options` are words of their command line; `cpus` count inside those the task may use, none
    means the server's; `models` is the list to load or empty.
    """

    python: str
    count: int
    cpus: tuple[int, ...]
    options: tuple[str, ...]
    models: str
    frameworks: tuple[str, ...]


@dataclass(frozen=True)
class RunFile:
    """A file that the run directory gets before the job is submitted."""

    path: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Chunk:
    """Which of a run's tasks one job holds, where an array may not hold all of them.

    The job is number `part` of `parts`; its first task is the run's task `offset`, and it has
    `size` tasks.
    """

    size: int
    offset: int = 0
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class DatabaseJob:
    """A standard database: `elements` tasks, each one shard.

    A gang is one job of all nodes, otherwise the tasks are a job array, each element of which
    starts `shards_per_element` of them on its host. `gang_starter` is the program by which PBS
    reaches a gang's other nodes. `shard_cpus` has one text for each shard
    of a host, such as "0 1": its CPUs, counted inside those that the job may use. `restore` is the
    directory of the checkpoints to start from, or empty. `run_args` are options of the srun that
    starts a gang.
    """

    name: str
    run_dir: str
    token: str
    elements: int
    directives: tuple[str, ...]
    resources: Resources
    by_hand: str
    identifier: str
    suffix: str
    gang: bool
    shards_per_host: int
    shards_per_element: int
    cluster: bool
    node_ids: tuple[str, ...]
    slots: tuple[str, ...]
    interfaces: tuple[str, ...]
    first_port: int
    port_step: int
    last_port: int
    deadline_seconds: int
    server: ServerPlan
    warnings: tuple[str, ...] = ()
    gang_starter: str = "pbsdsh"
    shard_cpus: tuple[str, ...] = ()
    preamble: str = ""
    restore: str = ""
    run_args: tuple[str, ...] = ()
    walltime_seconds: int = 0
    workers: WorkerPlan | None = None
    files: tuple[RunFile, ...] = ()
    load_modules: tuple[str, ...] = ()
    kind: str = "database"
    chunk: Chunk = Chunk(1)


@dataclass(frozen=True)
class DatabaseUse:
    """A database whose address a program gets: its run directory and variable suffix."""

    directory: str
    suffix: str


@dataclass(frozen=True)
class ColocationPlan:
    """A server on each of the program's nodes, or (`per` is "numa") one in each NUMA domain.

    `cpus` count inside those that the job may use there.
    """

    transport: str
    suffix: str
    first_port: int
    interfaces: tuple[str, ...]
    socket: str
    socket_mode: str
    cpus: tuple[int, ...]
    limit_app: bool
    per: str = "node"


@dataclass(frozen=True)
class ContainerPlan:
    """How variables and directories reach the inside: the runtime's `prefix`, what it `mounts`."""

    prefix: str
    mounts: tuple[str, ...]


@dataclass(frozen=True)
class ModelJob:
    """A user's program: `program` is its whole argv, `program_env` its NAME=value words.

    The first `launcher_words` of `program` are the command that launches its processes.
    `preamble` is bash that the script runs first; `forward_environment` makes Open MPI carry the
    variables to other nodes. `run_args` are options of the srun that starts a gang.
    `umask` is the mask of its files. `owns_nodes`: it asked for whole nodes and for no number of
    CPUs, so that it may use them all.

    In an ensemble (`kind`) every task has its own, and its own directory, in a table of
    `table_rows` rows a file. `max_running` is how many tasks may run at once, 0 for no limit; only
    launchers whose system has no such limit look at it. `puts_files`: tasks put their input files
    in place themselves.
    """

    name: str
    run_dir: str
    token: str
    elements: int
    directives: tuple[str, ...]
    resources: Resources
    by_hand: str
    work_dir: str
    program: tuple[str, ...]
    program_env: tuple[str, ...]
    databases: tuple[DatabaseUse, ...]
    colocation: ColocationPlan | None = None
    server: ServerPlan | None = None
    warnings: tuple[str, ...] = ()
    gang: bool = False
    launcher_words: int = 0
    preamble: str = ""
    forward_environment: bool = False
    container: ContainerPlan | None = None
    run_args: tuple[str, ...] = ()
    umask: str = "0022"
    owns_nodes: bool = False
    walltime_seconds: int = 0
    workers: WorkerPlan | None = None
    files: tuple[RunFile, ...] = ()
    load_modules: tuple[str, ...] = ()
    kind: str = "model"
    chunk: Chunk = Chunk(1)
    table_rows: int = 0
    max_running: int = 0
    puts_files: bool = False


Job = DatabaseJob | ModelJob


@dataclass(frozen=True)
class Plan:
    """All that one start of one entity needs: its jobs, of which most entities have one.

    `table` holds the files that tell an ensemble's tasks what to run, `file_lists` those that tell
    them what to put into their directories, and `names` what all its members are called; `indices`
    are the tasks' numbers where those are not 0, 1, 2…; `again` says that these tasks of an earlier
    run are to run once more, and what others have left stays.
    """

    jobs: tuple[Job, ...]
    table: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    again: bool = False
    file_lists: tuple[str, ...] = ()


def suffix(identifier: str) -> str:
    """Return what an identifier adds to variable names: nothing for the default one."""
    return "" if identifier in ("", DEFAULT_IDENTIFIER) else f"_{identifier}"
