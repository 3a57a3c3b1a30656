"""A program of the user's, and the database it may want beside it on each of its nodes."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from os.path import abspath
from typing import Protocol

from hpcorch.describe import check, cpus
from hpcorch.describe.files import AttachedFiles, Paths, attached
from hpcorch.describe.settings import BatchSettings, RunSettings, checked_batch
from hpcorch.describe.told import told
from hpcorch.describe.workers import Attachments, WorkerRequest, Workers, worker_request
from hpcorch.errors import InputError, InputTypeError

# sockaddr_un holds 108 bytes, one of them the terminating NUL.
LONGEST_SOCKET_PATH = 107
# TLS protects a network; a colocated server has none.
COLOCATED_SECURITY = ("password", "smartredis", "open")
# One server on each node, or one in each NUMA domain of it.
COLOCATED_PER = ("node", "numa")
_USUAL_PORT = 6379


@dataclass(frozen=True)
class Colocation:
    """A server on each node of a model, reached over TCP (`port`) or a Unix socket.

    `cpus` are numbers inside the CPUs that the job may use; empty means no pinning. An empty
    `unix_socket` lets the job make one in a private directory.
    """

    transport: str
    db_cpus: int
    cpus: tuple[int, ...]
    identifier: str
    limit_app_cpus: bool
    debug: bool
    security: str = "password"
    port: int = _USUAL_PORT
    interfaces: tuple[str, ...] = ("lo",)
    unix_socket: str = ""
    socket_permissions: int = 0o700
    settings: Mapping[str, str] = field(default_factory=dict)
    workers: WorkerRequest | None = None
    per: str = "node"


class HasMembers(Protocol):
    """What writes keys under names: a model under its own, an ensemble under its members'."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def member_names(self) -> list[str]:
        """The names under which its programs write keys."""


class Model(Attachments):
    """Description of a program to run: `name`, how to run it, and where (default exp_path/name).

    `path` tells where as soon as an experiment knows the model. `params` are values for the
    program's input files; `batch_settings` is what to ask a batch system for beyond what
    `run_settings` needs; `enable_key_prefixing` lets the program's keys begin with its name.
    Raises InputError or InputTypeError.
    """

    def __init__(
        self,
        name: str,
        run_settings: RunSettings,
        params: Mapping[str, str | int | float] | None = None,
        path: str | None = None,
        batch_settings: BatchSettings | None = None,
        enable_key_prefixing: bool = False,
    ) -> None:
        super().__init__()
        self.name = check.name("name", name)
        if not isinstance(run_settings, RunSettings):
            raise InputTypeError(
                f"run_settings is a {type(run_settings).__name__}: "
                "it must come from create_run_settings"
            )
        self.run_settings = run_settings
        self.params = check.parameters("params", params or {})
        self.path = None if path is None else abspath(check.path("path", path))
        self.has_own_path = path is not None
        self.batch = checked_batch(batch_settings)
        self.colocation: Colocation | None = None
        self.files = AttachedFiles()
        self._key_prefixing = check.flag("enable_key_prefixing", enable_key_prefixing)
        self._incoming: list[HasMembers] = []

    def __repr__(self) -> str:
        facts = {"run_settings": self.run_settings, "params": self.params, "path": self.path}
        beside = {"batch_settings": self.batch, "colocation": self.colocation}
        return told("Model", {"name": self.name, **facts, **beside})

    def settle(self, directory: str) -> None:
        """Say where the program runs: an absolute path."""
        self.path = directory

    def enable_key_prefixing(self) -> None:
        """Let the program's keys begin with its name, so that they meet nobody else's."""
        self._key_prefixing = True

    def disable_key_prefixing(self) -> None:
        """Let the program's keys be as it says."""
        self._key_prefixing = False

    def query_key_prefixing(self) -> bool:
        """Whether the program's keys begin with its name."""
        return self._key_prefixing

    @property
    def member_names(self) -> list[str]:
        """The names under which it writes keys: its own."""
        return [self.name]

    def register_incoming_entity(self, incoming_entity: HasMembers) -> None:
        """Let the program read what a model, or each member of an ensemble, writes.

        The names are given to the program in the order of these calls: the first one is where it
        reads unless it chooses by set_data_source. Raises InputError for one registered already.
        """
        if not isinstance(getattr(incoming_entity, "member_names", None), list):
            raise InputTypeError(
                f"incoming_entity of {self.name} is {incoming_entity!r}: "
                "a model or an ensemble is expected"
            )
        if any(known.name == incoming_entity.name for known in self._incoming):
            raise InputError(
                f"incoming_entity of {self.name} is {incoming_entity.name!r}: "
                "it is registered already"
            )
        self._incoming.append(incoming_entity)

    @property
    def incoming_names(self) -> list[str]:
        """The names whose keys the program reads."""
        names = (name for entity in self._incoming for name in entity.member_names)
        return list(dict.fromkeys(names))

    @property
    def incoming_without_names(self) -> list[str]:
        """The models among them whose keys do not begin with their names."""
        models = (entity for entity in self._incoming if isinstance(entity, Model))
        return [model.name for model in models if not model.query_key_prefixing()]

    @property
    def colocated(self) -> bool:
        """Whether the model brings its own database."""
        return self.colocation is not None

    def attach_generator_files(
        self,
        to_copy: Paths = None,
        to_symlink: Paths = None,
        to_configure: Paths = None,
    ) -> None:
        """Say which files generate, or else start, puts into the run directory.

        They are copied, linked to, or copied with each marker such as `;name;` replaced by the
        value of that parameter, or by the text inside it where there is no such parameter. Of a
        directory the contents are taken. A second call replaces what the first has said.
        Raises InputError or InputTypeError; whether the files exist is seen by generate and start.
        """
        self.files = attached(to_copy, to_symlink, to_configure)

    @property
    def attached_files_table(self) -> str:
        """A table of the attached files; a sentence without any."""
        return self.files.table() or "No file attached to this model."

    def print_attached_files(self) -> None:
        """Print that table."""
        sys.stdout.write(self.attached_files_table + "\n")

    def params_to_args(self, names: Sequence[str] | None = None) -> None:
        """Add parameters to the program's arguments: `-n value`, or `--name=value` if longer.

        `names` are those to add, None adds all. Raises InputError for a name that is none.
        """
        args: list[str] = []
        for name in self.params if names is None else check.texts("names", names):
            if name not in self.params:
                known = ", ".join(self.params) or "none"
                raise InputError(f"names holds {name!r}: the parameters of {self.name} are {known}")
            value = str(self.params[name])
            args += [f"-{name}", value] if len(name) == 1 else [f"--{name}={value}"]
        # Other models may have been given the same settings.
        self.run_settings = deepcopy(self.run_settings)
        self.run_settings.add_exe_args(args)

    def colocate_db_tcp(
        self,
        port: int = _USUAL_PORT,
        ifname: str | Sequence[str] = "lo",
        db_cpus: int | None = None,
        custom_pinning: Iterable[int | Iterable[int]] | None = None,
        debug: bool = False,
        db_identifier: str = "",
        limit_app_cpus: bool = True,
        maxmemory: str | None = None,
        security: str = "password",
        workers: Workers | int | None = None,
        per: str = "node",
    ) -> None:
        """Put a database on each of the model's nodes, reached over TCP.

        `port` is the first port to try. `custom_pinning` such as [0, 2, range(5, 8)] names CPUs
        among those the job may use; None takes the first `db_cpus`, [] pins nothing. `db_cpus` is
        also how many threads serve the clients, at most as many as CPUs are named (None: as many,
        else 1).
        `limit_app_cpus` keeps the program off the database's CPUs. `debug` keeps a verbose server
        log; `security` is password, smartredis (for programs that cannot authenticate) or open.
        `workers` is the number of model workers on each node, or Workers; models that are attached
        need at least one, which they get.
        `per` is node, or numa for one database in each NUMA domain: a process gets the one of its
        own domain, and stays in that domain; CPU numbers then count inside each domain.
        Raises InputError or InputTypeError that names the field.
        """
        threads, numbers = _seats(db_cpus, custom_pinning)
        self._colocate(
            Colocation(
                transport="tcp",
                db_cpus=threads,
                cpus=numbers,
                identifier=_identifier(db_identifier),
                limit_app_cpus=check.flag("limit_app_cpus", limit_app_cpus),
                debug=check.flag("debug", debug),
                security=check.choice("security", security, COLOCATED_SECURITY),
                port=check.integer("port", port, 1024, 65535),
                interfaces=_interface_names(ifname),
                settings=_server_settings(maxmemory),
                workers=worker_request(workers),
                per=check.choice("per", per, COLOCATED_PER),
            )
        )

    def colocate_db_uds(
        self,
        unix_socket: str | None = None,
        socket_permissions: int = 0o700,
        db_cpus: int | None = None,
        custom_pinning: Iterable[int | Iterable[int]] | None = None,
        debug: bool = False,
        db_identifier: str = "",
        limit_app_cpus: bool = True,
        ifname: str | Sequence[str] | None = None,
        port: int = _USUAL_PORT,
        maxmemory: str | None = None,
        security: str = "password",
        workers: Workers | int | None = None,
        per: str = "node",
    ) -> None:
        """Put a database on each of the model's nodes, reached over a Unix socket.

        `unix_socket` is a path of at most 107 bytes; None makes one in a private directory of the
        node. `ifname` makes the server listen on TCP `port` of these interfaces too. The other
        arguments are those of colocate_db_tcp.
        """
        if ifname is None and port != _USUAL_PORT:
            raise InputError(
                f"port is {port!r}: beside a Unix socket it is for the networks that ifname names"
            )
        threads, numbers = _seats(db_cpus, custom_pinning)
        self._colocate(
            Colocation(
                transport="uds",
                db_cpus=threads,
                cpus=numbers,
                identifier=_identifier(db_identifier),
                limit_app_cpus=check.flag("limit_app_cpus", limit_app_cpus),
                debug=check.flag("debug", debug),
                security=check.choice("security", security, COLOCATED_SECURITY),
                port=check.integer("port", port, 1024, 65535),
                interfaces=() if ifname is None else _interface_names(ifname),
                unix_socket=_socket_path(unix_socket),
                socket_permissions=_permissions(socket_permissions),
                settings=_server_settings(maxmemory),
                workers=worker_request(workers),
                per=check.choice("per", per, COLOCATED_PER),
            )
        )

    def colocate_db(
        self,
        port: int = _USUAL_PORT,
        ifname: str | Sequence[str] = "lo",
        db_cpus: int | None = None,
        custom_pinning: Iterable[int | Iterable[int]] | None = None,
        debug: bool = False,
        db_identifier: str = "",
        limit_app_cpus: bool = True,
    ) -> None:
        """Do what colocate_db_tcp does; deprecated, and warned about, as in SmartSim."""
        warnings.warn("colocate_db is deprecated: use colocate_db_tcp", FutureWarning, stacklevel=2)
        self.colocate_db_tcp(
            port, ifname, db_cpus, custom_pinning, debug, db_identifier, limit_app_cpus
        )

    def _colocate(self, request: Colocation) -> None:
        if self.colocation is not None:
            warnings.warn(
                f"model {self.name} was colocated already: the new request replaces it",
                stacklevel=3,
            )
        self.colocation = request


def _seats(db_cpus: object, custom_pinning: object) -> tuple[int, tuple[int, ...]]:
    """Return how many threads a server has and its CPUs; refuse more threads than CPUs."""
    threads = None if db_cpus is None else check.integer("db_cpus", db_cpus, 1, 4096)
    if sys.platform == "darwin":
        if custom_pinning is not None:
            warnings.warn("custom_pinning is ignored: macOS cannot pin processes", stacklevel=3)
        return threads or 1, ()
    if custom_pinning is None:
        return threads or 1, tuple(range(threads or 1))
    numbers = cpus.normalise(custom_pinning)
    if threads and len(numbers) < threads and numbers:
        raise InputError(
            f"db_cpus is {threads} and custom_pinning names {len(numbers)} CPUs: "
            "a server takes no more than are named",
            "leave db_cpus out",
        )
    return threads or len(numbers) or 1, numbers


def _permissions(value: object) -> int:
    """Return permissions; 755 means 0o755, as in SmartSim: as a number it would be none."""
    if isinstance(value, int) and value > 0o777 and re.fullmatch("[0-7]{3}", str(value)):
        return int(str(value), 8)
    if isinstance(value, int) and not 0 < value <= 0o777:
        raise InputError(
            f"socket_permissions is {value!r}: it must be from 0o1 to 0o777, as in 0o700 (octal)"
        )
    return check.integer("socket_permissions", value, 1, 0o777)


def _identifier(value: str) -> str:
    return "" if value == "" else check.name("db_identifier", value)


def _server_settings(maxmemory: str | None) -> dict[str, str]:
    return {} if maxmemory is None else {"maxmemory": check.memory("maxmemory", maxmemory)}


def _interface_names(value: object) -> tuple[str, ...]:
    return tuple(check.name("ifname", item) for item in check.texts("ifname", value))


def _socket_path(value: str | None) -> str:
    if value is None:
        return ""
    path = check.path("unix_socket", value)
    if not path.startswith("/"):
        raise InputError(f"unix_socket is {value!r}: it must be an absolute path")
    if len(path.encode()) > LONGEST_SOCKET_PATH:
        raise InputError(
            f"unix_socket is {value!r}: it must be at most {LONGEST_SOCKET_PATH} bytes long"
        )
    return path
