"""From descriptions to jobs: every number, name and path that a script will hold, computed here.

Pure functions: the same input gives the same job. A job's attributes are the context that
templates see; CONTEXT_VERSION changes whenever one of them is renamed, removed or changes meaning.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hpcorch import slots
from hpcorch.describe.model import Colocation, Model
from hpcorch.describe.orchestrator import DEFAULT_IDENTIFIER, HIGHEST_CLUSTER_PORT, Orchestrator
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import InputError, SecurityError
from hpcorch.sites import Site

CONTEXT_VERSION = 1

# The bus port of a cluster with TLS on the bus only: data port + this + 10000 (lib/server.sh).
_TLS_OFFSET = 5000
_TLS_CURE = (
    "use a server built with TLS (REDIS_PATH), with openssl on the nodes, "
    'or say security="open" to accept it'
)


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
    """Facts that were looked up before planning: where things are, what the server can do."""

    scheduler: str
    server: ServerFacts
    server_environment: Mapping[str, str]
    server_conf: str = ""
    cli: str = ""
    openssl: bool = True


@dataclass(frozen=True)
class ServerPlan:
    """How a server is started. `defaults` and `directives` are redis.conf lines as word lists."""

    program: str
    environment: tuple[str, ...]
    modules: tuple[str, ...]
    cli: str
    security: str
    data_tls: bool
    bus_tls: bool
    boot_seconds: int
    defaults: tuple[tuple[str, ...], ...]
    include: str
    directives: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class DatabaseJob:
    """A standard database: `elements` tasks, each one shard."""

    name: str
    run_dir: str
    token: str
    elements: int
    by_hand: str
    identifier: str
    suffix: str
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
    kind: str = "database"


@dataclass(frozen=True)
class DatabaseUse:
    """A database whose address a program gets: its run directory and variable suffix."""

    directory: str
    suffix: str


@dataclass(frozen=True)
class ColocationPlan:
    """A server on the program's own node; `cpus` count inside those the task may use."""

    transport: str
    suffix: str
    first_port: int
    interfaces: tuple[str, ...]
    socket: str
    socket_mode: str
    cpus: tuple[int, ...]
    limit_app: bool


@dataclass(frozen=True)
class ModelJob:
    """A user's program: `program` is its whole argv, `program_env` its NAME=value words."""

    name: str
    run_dir: str
    token: str
    elements: int
    by_hand: str
    work_dir: str
    program: tuple[str, ...]
    program_env: tuple[str, ...]
    databases: tuple[DatabaseUse, ...]
    colocation: ColocationPlan | None = None
    server: ServerPlan | None = None
    warnings: tuple[str, ...] = ()
    kind: str = "model"


Job = DatabaseJob | ModelJob


def suffix(identifier: str) -> str:
    """Return what an identifier adds to variable names: nothing for the default one."""
    return "" if identifier in ("", DEFAULT_IDENTIFIER) else f"_{identifier}"


def plan_database(
    database: Orchestrator, machine: Machine, site: Site, run_dir: str, token: str, by_hand: str
) -> DatabaseJob:
    """Plan a standard database; raises InputError or SecurityError."""
    shards = database.db_nodes
    cluster = shards > 1
    interfaces = database.interfaces or site.interface or ("lo",)
    bus_tls, warnings = _bus_security(database, machine, interfaces)
    last_port = HIGHEST_CLUSTER_PORT - (_TLS_OFFSET if bus_tls else 0) if cluster else 65535
    # On one machine shard i may use the ports first + i, first + i + shards, and so on.
    if database.port + shards - 1 > last_port:
        raise InputError(
            f"port is {database.port}: {shards} shards need ports up to "
            f"{database.port + shards - 1}, and the highest one possible is {last_port}"
        )
    return DatabaseJob(
        name=database.name,
        run_dir=run_dir,
        token=token,
        elements=shards,
        by_hand=by_hand,
        identifier=database.db_identifier,
        suffix=suffix(database.db_identifier),
        cluster=cluster,
        node_ids=tuple(slots.node_id(token, index) for index in range(shards)),
        slots=tuple(f"{low}-{high}" for low, high in slots.ranges(shards)),
        interfaces=interfaces,
        first_port=database.port,
        port_step=shards,
        last_port=last_port,
        deadline_seconds=site.deadline_seconds,
        server=_server_plan(
            machine,
            site,
            security=database.security,
            bus_tls=bus_tls,
            modules=database.module_paths,
            settings=_database_settings(database),
            threads=database.threads,
        ),
        warnings=warnings,
    )


def _database_settings(database: Orchestrator) -> dict[str, str]:
    limit = {"maxmemory": database.maxmemory} if database.maxmemory else {}
    return {**limit, **database.settings}


def _bus_security(
    database: Orchestrator, machine: Machine, interfaces: Sequence[str]
) -> tuple[bool, tuple[str, ...]]:
    """Decide whether the cluster bus speaks TLS; refuse one that anybody could join."""
    warnings: list[str] = []
    can_tls = machine.server.tls and machine.openssl
    if database.security == "tls" and not can_tls:
        missing = "openssl" if machine.server.tls else f"the server {machine.server.path}"
        raise SecurityError(f'security="tls" cannot be had: {missing} lacks TLS', _TLS_CURE)
    if database.security == "tls" and not machine.cli:
        raise SecurityError(
            'security="tls" needs redis-cli or valkey-cli on the nodes', "set REDIS_CLI_PATH"
        )
    if database.security == "smartredis":
        warnings.append(
            f'database {database.name} runs with security="smartredis": whoever can reach its '
            "port can read and write its data, since SmartRedis programs cannot authenticate"
        )
    if database.db_nodes == 1 or database.security == "open":
        return False, tuple(warnings)
    if can_tls:
        return True, tuple(warnings)
    if set(interfaces) != {"lo"}:
        raise SecurityError(
            f"database {database.name} would be a cluster on {','.join(interfaces)} whose bus "
            "anybody on that network could join: a password does not protect it",
            _TLS_CURE,
        )
    warnings.append(
        f"database {database.name} is a cluster without TLS on its bus: "
        "other users of this machine could join it"
    )
    return False, tuple(warnings)


def _server_plan(
    machine: Machine,
    site: Site,
    *,
    security: str,
    bus_tls: bool = False,
    modules: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
    threads: int = 1,
    debug: bool = False,
) -> ServerPlan:
    return ServerPlan(
        program=machine.server.path,
        environment=tuple(f"{key}={value}" for key, value in machine.server_environment.items()),
        modules=modules,
        cli=machine.cli,
        security=security,
        data_tls=security == "tls",
        bus_tls=bus_tls,
        boot_seconds=site.boot_seconds,
        defaults=_defaults(machine.server, threads),
        include=machine.server_conf,
        directives=(
            *((key, *(value.split() or [""])) for key, value in (settings or {}).items()),
            *_managed(security, debug),
        ),
    )


def _defaults(server: ServerFacts, threads: int) -> tuple[tuple[str, ...], ...]:
    """Return settings for a data layer that a site's own file may change."""
    lines: list[tuple[str, ...]] = [
        ("maxclients", "50000"),
        ("tcp-backlog", "4096"),
        ("timeout", "0"),
        ("client-output-buffer-limit", "normal", "0", "0", "0"),
        # One tensor may be larger than the 512 MiB that servers allow by default.
        ("proto-max-bulk-len", str(2**40)),
        ("save", ""),
        ("appendonly", "no"),
        ("stop-writes-on-bgsave-error", "no"),
        ("cluster-node-timeout", "15000"),
    ]
    if server.flavour == "keydb":
        # KeyDB is ten times slower with more threads than CPUs, and its shipped default is 2.
        lines.append(("server-threads", str(threads)))
    else:
        lines += [("io-threads", str(threads)), ("disable-thp", "no")]
        if threads > 1:
            lines.append(("io-threads-do-reads", "yes"))
    return tuple(lines)


def _managed(security: str, debug: bool) -> tuple[tuple[str, ...], ...]:
    """Return settings that hpcorch relies on, so that no file may change them."""
    return (
        ("protected-mode", "no" if security in ("open", "smartredis") else "yes"),
        ("daemonize", "no"),
        ("logfile", ""),
        ("loglevel", "debug" if debug else "notice"),
    )


def plan_model(
    model: Model,
    executable: str,
    databases: Sequence[DatabaseUse],
    scheduler: str,
    machine: Machine | None,
    site: Site,
    run_dir: str,
    token: str,
    by_hand: str,
) -> ModelJob:
    """Plan a user's program; raises InputError when a setting cannot be honoured.

    `executable` is the absolute path of the program; `machine` is needed for a colocated database.
    """
    request = model.colocation
    server = None
    if request is not None and machine is not None:
        _check_suffix(model, request, databases)
        server = _server_plan(
            machine,
            site,
            security=request.security,
            settings=request.settings,
            threads=min(request.db_cpus, max(len(request.cpus), 1)),
            debug=request.debug,
        )
    settings = model.run_settings
    return ModelJob(
        name=model.name,
        run_dir=run_dir,
        token=token,
        elements=1,
        by_hand=by_hand,
        work_dir=run_dir,
        program=(*launch_words(model.name, settings, executable, scheduler), *settings.exe_args),
        program_env=tuple(f"{key}={value}" for key, value in settings.env_vars.items()),
        databases=tuple(databases),
        colocation=None if request is None else _colocation_plan(request),
        server=server,
    )


def _check_suffix(model: Model, request: Colocation, databases: Sequence[DatabaseUse]) -> None:
    for database in databases:
        if database.suffix == suffix(request.identifier):
            raise InputError(
                f"db_identifier of the database colocated with {model.name} is "
                f"{request.identifier!r}: a running database uses the variable "
                f"SSDB{database.suffix} already, choose another identifier"
            )


def _colocation_plan(request: Colocation) -> ColocationPlan:
    tcp = ("lo", *(name for name in request.interfaces if name != "lo"))
    return ColocationPlan(
        transport=request.transport,
        suffix=suffix(request.identifier),
        first_port=request.port,
        interfaces=tcp if request.transport == "tcp" else request.interfaces,
        socket=request.unix_socket,
        socket_mode=f"{request.socket_permissions:o}",
        cpus=request.cpus,
        limit_app=request.limit_app_cpus,
    )


def launch_words(
    name: str, settings: RunSettings, executable: str, scheduler: str
) -> tuple[str, ...]:
    """Return the launch command and the executable; raises InputError for what it cannot do."""
    tasks = settings.task_count()
    if scheduler == "local" and (settings.nodes or 1) > 1:
        raise InputError(f"nodes of {name} is {settings.nodes}: the local launcher has 1 node")
    if settings.run_command in ("auto", "none"):
        if tasks > 1:
            raise InputError(
                f"tasks of {name} is {tasks}: without a launch command 1 process is started",
                'say run_command="mpirun"',
            )
        if settings.run_args:
            raise InputError(
                f"run_args of {name} is {settings.run_args!r}: no launch command can take it",
                'say run_command="mpirun"',
            )
        return (executable,)
    words = [settings.run_command, "-n", str(tasks)]
    for key, value in settings.run_args.items():
        words.append(f"-{key}" if len(key) == 1 else f"--{key}")
        if value is not None:
            words.append(value)
    return (*words, executable)


def local_by_hand(script_path: str) -> str:
    """Return the command that runs a local script by hand."""
    return f"bash {shlex.quote(script_path)}"
