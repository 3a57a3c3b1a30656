"""A program of the user's, and the database it may want beside it on each of its nodes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Protocol

from hpcorch.describe import check, cpus
from hpcorch.describe.files import AttachedFiles, attached
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.describe.workers import Attachments, WorkerRequest, Workers, worker_request
from hpcorch.errors import InputError, InputTypeError

# sockaddr_un holds 108 bytes, one of them the terminating NUL.
LONGEST_SOCKET_PATH = 107
# TLS protects a network; a colocated server has none.
COLOCATED_SECURITY = ("password", "smartredis", "open")
# One server on each node, or one in each NUMA domain of it.
COLOCATED_PER = ("node", "numa")


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
    port: int = 6379
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

    `params` are values for the program's input files; `batch_settings` is what to ask a batch
    system for beyond what `run_settings` needs; `enable_key_prefixing` lets the program's keys
    begin with its name. Raises InputError or InputTypeError.
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
        self.path = None if path is None else check.path("path", path)
        self.batch = batch_settings or BatchSettings()
        self.colocation: Colocation | None = None
        self.files = AttachedFiles()
        self._key_prefixing = check.flag("enable_key_prefixing", enable_key_prefixing)
        self._incoming: list[HasMembers] = []

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
        return [name for entity in self._incoming for name in entity.member_names]

    @property
    def colocated(self) -> bool:
        """Whether the model brings its own database."""
        return self.colocation is not None

    def attach_generator_files(
        self,
        to_copy: str | Sequence[str] | None = None,
        to_symlink: str | Sequence[str] | None = None,
        to_configure: str | Sequence[str] | None = None,
    ) -> None:
        """Say which files generate, or else start, puts into the run directory.

        They are copied, linked to, or copied with each marker such as `;name;` replaced by the
        value of that parameter, or by the text inside it where there is no such parameter. Of a
        directory the contents are taken. A second call replaces what the first has said.
        Raises InputError or InputTypeError; whether the files exist is seen by generate and start.
        """
        self.files = attached(to_copy, to_symlink, to_configure)

    def params_to_args(self, names: Sequence[str] | None = None) -> None:
        """Add parameters to the program's arguments: `-n value`, or `--name=value` if longer.

        `names` are those to add, None adds all. Raises InputError for a name that is none.
        """
        args: list[str] = []
        for name in self.params if names is None else check.texts("names", names):
            if name not in self.params:
                known = ", ".join(self.params)
                raise InputError(f"names holds {name!r}: the parameters of {self.name} are {known}")
            value = str(self.params[name])
            args += [f"-{name}", value] if len(name) == 1 else [f"--{name}={value}"]
        # Other models may have been given the same settings.
        self.run_settings = deepcopy(self.run_settings)
        self.run_settings.add_exe_args(args)

    def colocate_db_tcp(
        self,
        port: int = 6379,
        ifname: str | Sequence[str] = "lo",
        db_cpus: int = 1,
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
        among those the job may use; None takes the first `db_cpus`, [] pins nothing.
        `limit_app_cpus` keeps the program off the database's CPUs. `debug` keeps a verbose server
        log; `security` is password, smartredis (for programs that cannot authenticate) or open.
        `workers` is the number of model workers on each node, or Workers; models that are attached
        need at least one, which they get.
        `per` is node, or numa for one database in each NUMA domain: a process gets the one of its
        own domain, and stays in that domain; CPU numbers then count inside each domain.
        Raises InputError or InputTypeError that names the field.
        """
        self._colocate(
            Colocation(
                transport="tcp",
                db_cpus=check.integer("db_cpus", db_cpus, 1, 4096),
                cpus=_pinning(db_cpus, custom_pinning),
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
        db_cpus: int = 1,
        custom_pinning: Iterable[int | Iterable[int]] | None = None,
        debug: bool = False,
        db_identifier: str = "",
        limit_app_cpus: bool = True,
        ifname: str | Sequence[str] | None = None,
        port: int = 6379,
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
        self._colocate(
            Colocation(
                transport="uds",
                db_cpus=check.integer("db_cpus", db_cpus, 1, 4096),
                cpus=_pinning(db_cpus, custom_pinning),
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

    def _colocate(self, request: Colocation) -> None:
        if self.colocation is not None:
            warnings.warn(
                f"model {self.name} was colocated already: the new request replaces it",
                stacklevel=3,
            )
        self.colocation = request


def _pinning(db_cpus: int, custom_pinning: object) -> tuple[int, ...]:
    if sys.platform == "darwin":
        if custom_pinning is not None:
            warnings.warn("custom_pinning is ignored: macOS cannot pin processes", stacklevel=3)
        return ()
    if custom_pinning is None:
        return tuple(range(db_cpus))
    return cpus.normalise(custom_pinning)


def _permissions(value: object) -> int:
    """Whoever writes 700 means 0o700, so the refusal says how permissions are written."""
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
