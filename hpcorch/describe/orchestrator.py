"""A database as the user describes it, and, once it runs, the handle to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os.path import abspath
from typing import TYPE_CHECKING, Protocol

from hpcorch.describe import check, cpus
from hpcorch.describe.settings import BatchSettings, checked_batch
from hpcorch.describe.told import told
from hpcorch.describe.workers import Attachments, Workers, worker_request
from hpcorch.errors import InputError, InputTypeError, NotActive
from hpcorch.slots import SLOT_COUNT

if TYPE_CHECKING:
    from hpcorch.client import Client

# An array's nodes start one by one as the batch system finds room; a gang's start together.
LAYOUTS = ("array", "gang")
RUN_COMMANDS = ("auto", "srun", "mpirun", "mpiexec", "aprun", "pbsdsh", "pbs_tmrsh", "ssh")
SECURITY_TIERS = ("password", "tls", "smartredis", "open")
DEFAULT_IDENTIFIER = "orchestrator"
# A server's cluster bus port is its port + 10000 on the servers that cannot choose it.
HIGHEST_CLUSTER_PORT = 65535 - 10000
# A server that has a save point saves when it ends; this one never comes before that.
_ONLY_AT_THE_END = 365 * 86400


class Running(Protocol):
    """What a running database can do; implemented by hpcorch.database.Database."""

    def addresses(self) -> list[str]:
        """One "ip:port" per shard."""

    def is_active(self) -> bool:
        """Whether all shards answer."""

    def health(self) -> list[dict[str, object]]:
        """One report per shard."""

    def config_set(self, key: str, value: str) -> None:
        """Set a directive on every shard."""

    def client(self, logger_name: str) -> Client:
        """A connected client."""


class Home(Protocol):
    """The run directory of a database, which outlives its runs."""

    @property
    def checkpoint_path(self) -> str:
        """Where its checkpoints are."""

    def remove_stale_files(self) -> None:
        """Remove what its last run has left."""


class Orchestrator(Attachments):
    """Description of a database: one server, or a cluster of `db_nodes` shards.

    `port` is the first port to try (the next free one is taken when it is busy); `interface` names
    the network interface(s) to listen on, None lets the site or hpcorch choose; `security` is
    password (default), tls, smartredis (for programs that cannot authenticate) or open;
    `threads` are the server's I/O threads; `maxmemory` is text such as "3gb";
    `module_paths` are server modules to load; `ai_commands` says whether hpcorch's own is loaded,
    which answers SmartRedis' AI.* commands (None: with security="smartredis" it is). On a batch
    system `layout` says whether the nodes are the elements of a job array or one job (nodes that
    are named by set_hosts are one job in any case), and `batch_settings` what to ask for.
    `shards_per_host` lets several share a node there.
    `db_cpus` pins each shard to that many CPUs of its own, `custom_pinning` such as
    [0, 2, range(5, 8)] says which CPUs of a host are dealt out to its shards, in order and all of
    them; numbers count inside the CPUs that the job may use.
    `checkpoint=True` saves the data when the database ends, also before its walltime does (default:
    nothing is saved); `restore` is the run directory of a database that has done so, of as many
    shards, whose data this one starts with.
    `workers` is the number of model workers beside each shard, or Workers; attached models need
    at least one, which they get.
    The words of SmartSim's drivers: `batch` says whether the database is a job of its own (True) or
    part of the job or machine that the driver runs in (False), `run_command` which launch command
    starts the shards, `single_cmd` whether one command starts all of them (True is layout="gang",
    False layout="array"). Left out, hpcorch does what fits; what does not fit is refused by start
    and preview.
    Raises InputError or InputTypeError that names the field.
    """

    def __init__(
        self,
        db_identifier: str = DEFAULT_IDENTIFIER,
        db_nodes: int = 1,
        port: int = 6379,
        interface: str | Sequence[str] | None = None,
        path: str | None = None,
        security: str = "password",
        threads: int = 1,
        maxmemory: str | None = None,
        module_paths: Sequence[str] = (),
        ai_commands: bool | None = None,
        layout: str = "array",
        batch_settings: BatchSettings | None = None,
        shards_per_host: int = 1,
        db_cpus: int | None = None,
        custom_pinning: Iterable[int | Iterable[int]] | None = None,
        checkpoint: bool = False,
        restore: str | None = None,
        workers: Workers | int | None = None,
        batch: bool | None = None,
        run_command: str = "auto",
        single_cmd: bool | None = None,
    ) -> None:
        super().__init__()
        self.db_identifier = check.name("db_identifier", db_identifier)
        self.db_nodes = check.integer("db_nodes", db_nodes, 1, SLOT_COUNT)
        self.port = check.integer("port", port, 1024, _highest_port(self.db_nodes))
        self.interfaces = _interfaces(interface)
        self.path = None if path is None else check.path("path", path)
        self.security = check.choice("security", security, SECURITY_TIERS)
        self.threads = check.integer("threads", threads, 1, 128)
        self.maxmemory = None if maxmemory is None else check.memory("maxmemory", maxmemory)
        self.module_paths = tuple(
            abspath(check.path("module_paths", item))
            for item in check.texts("module_paths", module_paths)
        )
        self.ai_commands = None if ai_commands is None else check.flag("ai_commands", ai_commands)
        self.layout = _layout(check.choice("layout", layout, LAYOUTS), single_cmd)
        self.batch = checked_batch(batch_settings)
        self.shards_per_host = check.integer("shards_per_host", shards_per_host, 1, 1024)
        self.db_cpus = None if db_cpus is None else check.integer("db_cpus", db_cpus, 1, 4096)
        self.pinning = None if custom_pinning is None else cpus.normalise(custom_pinning)
        self.checkpoint_seconds = _ONLY_AT_THE_END if check.flag("checkpoint", checkpoint) else None
        self.restore = None if restore is None else check.path("restore", restore)
        self.workers = worker_request(workers)
        self.own_job = None if batch is None else check.flag("batch", batch)
        self.run_command = check.choice("run_command", run_command, RUN_COMMANDS)
        self.settings: dict[str, str] = {}
        self.cpus: int | None = None
        self.run_args: dict[str, str | None] = {}
        self._running: Running | None = None
        self._home: Home | None = None

    def __repr__(self) -> str:
        place = {"port": self.port, "interfaces": self.interfaces, "path": self.path}
        size = {"db_nodes": self.db_nodes, "batch_settings": self.batch}
        return told("Orchestrator", {"db_identifier": self.db_identifier, **size, **place})

    @property
    def name(self) -> str:
        """The database's name, which is its identifier."""
        return self.db_identifier

    @property
    def num_shards(self) -> int:
        """The number of servers that hold the data."""
        return self.db_nodes

    def set_max_memory(self, mem: str) -> None:
        """Limit each shard's memory, such as "3gb"; at once when it runs."""
        self.set_db_conf("maxmemory", check.memory("mem", mem))

    def set_eviction_strategy(self, strategy: str) -> None:
        """Say what a full shard drops, such as "allkeys-lru" (redis.conf maxmemory-policy)."""
        self.set_db_conf("maxmemory-policy", strategy)

    def set_max_clients(self, clients: int = 50_000) -> None:
        """Limit the number of connections of each shard."""
        self.set_db_conf("maxclients", str(check.integer("clients", clients, 1, 10_000_000)))

    def set_max_message_size(self, size: int = 1_073_741_824) -> None:
        """Limit the size in bytes of one value that a client may send."""
        limit = check.integer("size", size, 1024 * 1024, 2**63 - 1)
        self.set_db_conf("proto-max-bulk-len", str(limit))

    def set_db_conf(self, key: str, value: str) -> None:
        """Set a redis.conf directive: kept for the next start, and sent to all shards that run.

        Raises InputTypeError for anything but text, NotActive or the server's refusal.
        """
        key = check.name("key", key)
        value = check.line("value", value)
        if self._running is not None:
            self._running.config_set(key, value)
        self.settings[key] = value

    def enable_checkpoints(self, freq: int) -> None:
        """Save the data every `freq` seconds in which it changed, and when the database ends.

        At once when it runs; raises InputError, InputTypeError or a server's refusal.
        """
        freq = check.integer("freq", freq, 1, _ONLY_AT_THE_END)
        if self._running is not None:
            self._running.config_set("save", f"{freq} 1")
        self.checkpoint_seconds = freq

    @property
    def checkpoint_file(self) -> str:
        """Where the checkpoints are, for `restore`; raises NotActive outside an experiment."""
        return self._homed().checkpoint_path

    def remove_stale_files(self) -> None:
        """Remove what the last run has left, but not what it has saved.

        Raises InputError while it runs.
        """
        if self._running is not None:
            raise InputError(f"database {self.name} was started", "stop it first")
        self._homed().remove_stale_files()

    def settle(self, home: Home) -> None:
        """Tell this description its run directory."""
        self._home = home

    def _homed(self) -> Home:
        if self._home is None:
            raise NotActive(f"database {self.name} is in no experiment", "use create_database")
        return self._home

    def attach(self, running: Running | None) -> None:
        """Connect this description to the database that runs for it (None: no longer)."""
        self._running = running

    def running(self) -> Running:
        """Return the running database; raises NotActive before start and after stop."""
        if self._running is None:
            raise NotActive(f"database {self.name} is not active", "start it first")
        return self._running

    def get_address(self) -> list[str]:
        """Return one "ip:port" for each shard, in shard order; raises NotActive."""
        return self.running().addresses()

    def is_active(self) -> bool:
        """Say whether every shard answers and the cluster, if it is one, is whole."""
        return self._running is not None and self._running.is_active()

    def health(self) -> list[dict[str, object]]:
        """Return one mapping per shard: address, answers (bool), state, keys, memory in bytes."""
        return self.running().health()

    def client(self, logger_name: str = "Default") -> Client:
        """Return a Client that is connected to this database; raises NotActive."""
        return self.running().client(logger_name)

    def set_walltime(self, walltime: str) -> None:
        """Limit the database's run time, HH:MM:SS or D-HH:MM:SS; for batch systems."""
        self.batch.set_walltime(walltime)

    def set_hosts(self, host_list: str | Sequence[str]) -> None:
        """Name the nodes that shards run on; for batch systems."""
        self.batch.set_hostlist(host_list)

    def set_batch_arg(self, arg: str, value: str | None = None) -> None:
        """Set a further option of the batch system."""
        self.batch.set(arg, value)

    def set_cpus(self, num: int) -> None:
        """Ask for this many CPUs for each shard; for batch systems."""
        self.cpus = check.integer("num", num, 1, 1_000_000)

    def set_run_arg(self, arg: str, value: str | None = None) -> None:
        """Set an option of the srun that starts the shards of a gang or inside an allocation."""
        key = check.name("arg", check.text("arg", arg).lstrip("-"))
        self.run_args[key] = None if value is None else check.line("value", value)

    @property
    def hosts(self) -> list[str]:
        """The IP addresses that shards run on, in shard order, each once; raises NotActive."""
        return list(dict.fromkeys(item.rpartition(":")[0] for item in self.get_address()))


def _highest_port(shards: int) -> int:
    return 65535 if shards == 1 else HIGHEST_CLUSTER_PORT


def _layout(layout: str, single_cmd: object) -> str:
    if single_cmd is None:
        return layout
    if check.flag("single_cmd", single_cmd):
        return "gang"
    if layout == "gang":
        raise InputError('single_cmd is False: with layout="gang" one command starts all shards')
    return "array"


def _interfaces(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, (str, list, tuple)):
        raise InputTypeError(
            f"interface is {value!r}, a {type(value).__name__}: "
            "it must be a name or a list of names"
        )
    return tuple(check.name("interface", item) for item in check.texts("interface", value))
