"""How a program is run: executable, arguments, environment, and the command that launches it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hpcorch.describe import check
from hpcorch.describe.container import Container
from hpcorch.describe.told import told
from hpcorch.errors import InputError, InputTypeError

RUN_COMMANDS = ("auto", "none", "srun", "mpirun", "mpiexec", "orterun", "aprun")


class RunSettings:
    """What to run and how.

    `exe_args` is a list of arguments, carried byte for byte, or one text that is split at white
    space. `run_command` is auto, none, srun, mpirun, mpiexec, orterun or aprun; `run_args` are its
    options by name without dashes, a value of None makes a flag. `env_vars` values may be text or
    numbers. `container` is the image to run the program in. What neither the launch command nor the
    batch system can honour is refused by start and preview, before anything is submitted.
    Raises InputError or InputTypeError that names the field.
    """

    def __init__(
        self,
        exe: str,
        exe_args: check.Words | None = None,
        run_command: str | None = "auto",
        run_args: Mapping[str, str | int | float | None] | None = None,
        env_vars: Mapping[str, check.Variable] | None = None,
        container: Container | None = None,
    ) -> None:
        self.exe = check.path("exe", exe)
        self.run_command = check.choice("run_command", run_command or "none", RUN_COMMANDS)
        self.run_args: dict[str, str | None] = {}
        self.env_vars: dict[str, str] = check.environment("env_vars", env_vars or {})
        self.container = _container(container)
        self.nodes: int | None = None
        self.tasks: int | None = None
        self.tasks_per_node: int | None = None
        self.cpus_per_task: int | None = None
        self.memory_per_node: int | None = None
        self.walltime = ""
        self.hosts: tuple[str, ...] = ()
        self.host_file = ""
        self.excluded_hosts: tuple[str, ...] = ()
        self.node_features = ""
        self.task_map = ""
        self.cpu_bindings: tuple[int, ...] = ()
        self.verbose = False
        self.quiet = False
        self.broadcast: str | None = None
        self.preamble: tuple[str, ...] = ()
        self.mpmd: tuple[RunSettings, ...] = ()
        self._exe_args: list[str] = []
        if exe_args is not None:
            self.add_exe_args(exe_args)
        for key, value in check.options("run_args", run_args).items():
            self.set(key, value)

    def __repr__(self) -> str:
        # Values of variables may be secrets.
        hidden = {"_exe_args": None, "env_vars": sorted(self.env_vars)}
        return told(
            "RunSettings", {"exe": self.exe, "exe_args": self._exe_args, **vars(self), **hidden}
        )

    @property
    def exe_args(self) -> tuple[str, ...]:
        """The program's arguments, in order; what is assigned is taken as `exe_args` above is."""
        return tuple(self._exe_args)

    @exe_args.setter
    def exe_args(self, args: check.Words) -> None:
        self._exe_args = []
        self.add_exe_args(args)

    def add_exe_args(self, args: check.Words) -> None:
        """Append arguments: a list as it is, one text split at white space."""
        if isinstance(args, str):
            self._exe_args += check.text("exe_args", args).split()
        else:
            self._exe_args += check.texts("exe_args", args)

    def update_env(self, env_vars: Mapping[str, check.Variable]) -> None:
        """Add or replace environment variables of the program."""
        self.env_vars.update(check.environment("env_vars", env_vars))

    def set(self, arg: str, value: str | None = None, condition: bool = True) -> None:
        """Set an option of the launch command if `condition` holds; leading dashes are dropped."""
        key = check.name("run_args key", check.text("run_args key", arg).strip().lstrip("-"))
        if not check.flag("condition", condition):
            return
        self.run_args[key] = None if value is None else check.text(f"run_args[{key!r}]", value)

    def set_nodes(self, nodes: int) -> None:
        """Ask for this many nodes."""
        self.nodes = check.integer("nodes", nodes, 1, 1_000_000)

    def set_tasks(self, tasks: int) -> None:
        """Ask for this many processes in all."""
        self.tasks = check.integer("tasks", tasks, 1, 100_000_000)

    def set_tasks_per_node(self, tasks_per_node: int) -> None:
        """Ask for this many processes on each node."""
        self.tasks_per_node = check.integer("tasks_per_node", tasks_per_node, 1, 1_000_000)

    def set_cpus_per_task(self, cpus_per_task: int) -> None:
        """Ask for this many CPUs for each process."""
        self.cpus_per_task = check.integer("cpus_per_task", cpus_per_task, 1, 1_000_000)

    def set_memory_per_node(self, memory_per_node: int) -> None:
        """Ask for this many megabytes on each node."""
        self.memory_per_node = check.megabytes("memory_per_node", memory_per_node)

    def set_walltime(self, walltime: str) -> None:
        """Limit the run time, HH:MM:SS or D-HH:MM:SS; hours may exceed 24.

        It is the job's limit, or the launch command's own when the batch settings have one too.
        """
        self.walltime = check.walltime("walltime", walltime)

    def set_time(self, hours: int = 0, minutes: int = 0, seconds: int = 0) -> None:
        """Limit the run time; the three are added up."""
        self.walltime = check.clock(hours, minutes, seconds)

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Name the nodes to run on: a list, or names with commas between them."""
        self.hosts = check.hosts("host_list", host_list)

    def set_hostlist_from_file(self, file_path: str) -> None:
        """Name a file that lists the nodes to run on, as the launch command wants it."""
        self.host_file = check.path("file_path", file_path)

    def set_excluded_hosts(self, host_list: str | Sequence[str]) -> None:
        """Name nodes not to run on."""
        self.excluded_hosts = check.hosts("excluded_hosts", host_list)

    def set_node_feature(self, feature_list: str | Sequence[str]) -> None:
        """Ask for nodes with a feature; a list asks for all of them at once."""
        self.node_features = check.features("node_feature", feature_list)

    def set_task_map(self, task_mapping: str) -> None:
        """Say how processes are spread, in the words of --map-by or srun's --distribution."""
        self.task_map = check.line("task_map", task_mapping)

    def set_cpu_bindings(self, bindings: int | Iterable[int]) -> None:
        """Bind the processes of a node to these CPUs, in the order of their ranks."""
        self.cpu_bindings = check.integers("cpu_bindings", bindings, 0, 65535)

    def set_verbose_launch(self, verbose: bool) -> None:
        """Let the launch command tell what it does."""
        self.verbose = check.flag("verbose", verbose)

    def set_quiet_launch(self, quiet: bool) -> None:
        """Let the launch command tell less."""
        self.quiet = check.flag("quiet", quiet)

    def set_broadcast(self, dest_path: str | None = None) -> None:
        """Copy the program to the nodes before it runs there, to `dest_path` if one is given."""
        self.broadcast = "" if dest_path is None else check.path("dest_path", dest_path)

    def set_mpmd_preamble(self, preamble_lines: Sequence[str]) -> None:
        """Give lines of bash that the job script runs before the launch command."""
        self.preamble = check.texts("preamble_lines", preamble_lines)

    def make_mpmd(self, settings: RunSettings) -> None:
        """Start another program in the same launch: its processes follow this one's in rank.

        Of its settings only the program, its arguments and variables, the number of tasks and,
        except under srun, run_args may be given. It gets this one's variables too; its own win.
        Raises InputError for anything else.
        """
        if not isinstance(settings, RunSettings):
            raise InputTypeError(
                f"settings is a {type(settings).__name__}: it must come from create_run_settings"
            )
        for field in settings.wanted():
            if field != "tasks":
                raise InputError(
                    f"{field} is set for {settings.exe!r}: a further program of a launch takes its "
                    "number of tasks only"
                )
        if settings.run_command not in ("auto", self.run_command):
            raise InputError(
                f"run_command of {settings.exe!r} is {settings.run_command!r}: the launch is by "
                f"{self.run_command!r}"
            )
        if settings is self or settings.mpmd:
            raise InputError(f"{settings.exe!r} has further programs itself: add them one by one")
        if self.container or settings.container:
            raise InputError("container is set: several programs in one launch cannot have one")
        self.mpmd = (*self.mpmd, settings)

    def task_count(self) -> int:
        """Return how many processes are asked for: tasks, or nodes x tasks_per_node, or 1.

        Hosts that are named stand for as many nodes. Those of further programs are counted too.
        """
        own = self.tasks or (self.nodes or len(self.hosts) or 1) * (self.tasks_per_node or 1)
        return own + sum(part.task_count() for part in self.mpmd)

    def wanted(self) -> dict[str, object]:
        """Return what was asked of the launch command or the batch system, by field."""
        every: dict[str, object] = {
            "nodes": self.nodes,
            "tasks": self.tasks,
            "tasks_per_node": self.tasks_per_node,
            "cpus_per_task": self.cpus_per_task,
            "memory_per_node": self.memory_per_node,
            "walltime": self.walltime,
            "host_list": self.hosts,
            "host_file": self.host_file,
            "excluded_hosts": self.excluded_hosts,
            "node_feature": self.node_features,
            "task_map": self.task_map,
            "cpu_bindings": self.cpu_bindings,
            "verbose": self.verbose,
            "quiet": self.quiet,
        }
        found = {key: value for key, value in every.items() if value}
        return found if self.broadcast is None else {**found, "broadcast": self.broadcast}


def _container(value: object) -> Container | None:
    if value is not None and not isinstance(value, Container):
        raise InputTypeError(
            f"container is a {type(value).__name__}: it must be a Container or None"
        )
    return value


class BatchSettings:
    """What to ask a batch system for; empty and None leave it to the system's defaults.

    `time` is HH:MM:SS or D-HH:MM:SS, `queue` a queue or partition; `batch_args` are further options
    by name without dashes, a value of None makes a flag. Raises InputError or InputTypeError.
    """

    def __init__(
        self,
        nodes: int | None = None,
        time: str | None = "",
        queue: str | None = "",
        account: str | None = "",
        batch_args: Mapping[str, str | int | None] | None = None,
    ) -> None:
        self.nodes = None if nodes is None else check.integer("nodes", nodes, 1, 1_000_000)
        self.walltime = check.walltime("time", time) if time else ""
        self.queue = check.name("queue", queue) if queue else ""
        self.account = check.name("account", account) if account else ""
        self.hosts: tuple[str, ...] = ()
        self.excluded_hosts: tuple[str, ...] = ()
        self.memory_per_node: int | None = None
        self.node_features = ""
        self.exclusive = False
        self.preamble: tuple[str, ...] = ()
        self.args: dict[str, str | None] = {}
        for key, value in check.options("batch_args", batch_args).items():
            self.set(key, value)

    def __repr__(self) -> str:
        return told("BatchSettings", vars(self))

    def set(self, arg: str, value: str | None = None) -> None:
        """Set an option of the batch system; leading dashes are dropped."""
        key = check.name("batch_args key", check.text("batch_args key", arg).lstrip("-"))
        self.args[key] = None if value is None else check.line(f"batch_args[{key!r}]", value)

    def set_nodes(self, nodes: int) -> None:
        """Ask for this many nodes."""
        self.nodes = check.integer("nodes", nodes, 1, 1_000_000)

    def set_walltime(self, walltime: str) -> None:
        """Limit the run time, HH:MM:SS or D-HH:MM:SS; hours may exceed 24."""
        self.walltime = check.walltime("walltime", walltime)

    def set_time(self, hours: int = 0, minutes: int = 0, seconds: int = 0) -> None:
        """Limit the run time; the three are added up."""
        self.walltime = check.clock(hours, minutes, seconds)

    def set_queue(self, queue: str) -> None:
        """Choose a queue or partition."""
        self.queue = check.name("queue", queue)

    def set_partition(self, partition: str) -> None:
        """Choose a partition: Slurm's word for a queue."""
        self.queue = check.name("partition", partition)

    def set_account(self, account: str) -> None:
        """Say which account pays."""
        self.account = check.name("account", account)

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Name the nodes to run on: a list, or names with commas between them."""
        self.hosts = check.hosts("host_list", host_list)

    def set_excluded_hosts(self, host_list: str | Sequence[str]) -> None:
        """Name nodes not to run on."""
        self.excluded_hosts = check.hosts("excluded_hosts", host_list)

    def set_memory_per_node(self, memory_per_node: int) -> None:
        """Ask for this many megabytes on each node."""
        self.memory_per_node = check.megabytes("memory_per_node", memory_per_node)

    def set_node_feature(self, feature_list: str | Sequence[str]) -> None:
        """Ask for nodes with a feature; a list asks for all of them at once."""
        self.node_features = check.features("node_feature", feature_list)

    def set_exclusive(self, exclusive: bool = True) -> None:
        """Ask for whole nodes, shared with no other job."""
        self.exclusive = check.flag("exclusive", exclusive)

    def add_preamble(self, lines: str | Sequence[str]) -> None:
        """Append lines of bash that the job script runs before anything else it starts.

        They run as at a prompt: one that fails does not end the job, `exit` does.
        """
        self.preamble += check.texts("preamble", lines)

    def wanted(self) -> dict[str, object]:
        """Return what was asked of the batch system, by the names of the arguments."""
        every = {
            "nodes": self.nodes,
            "time": self.walltime,
            "queue": self.queue,
            "account": self.account,
            "host_list": self.hosts,
            "excluded_hosts": self.excluded_hosts,
            "memory_per_node": self.memory_per_node,
            "node_feature": self.node_features,
            "exclusive": self.exclusive,
            "batch_args": self.args,
        }
        return {key: value for key, value in every.items() if value}


def checked_batch(value: object) -> BatchSettings:
    """Return batch settings, empty ones for None; raises InputTypeError."""
    if value is not None and not isinstance(value, BatchSettings):
        raise InputTypeError(
            f"batch_settings is a {type(value).__name__}: it must come from create_batch_settings"
        )
    return value or BatchSettings()
