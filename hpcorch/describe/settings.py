"""How a program is run: executable, arguments, environment, and the command that launches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcorch.describe import check

RUN_COMMANDS = ("auto", "none", "srun", "mpirun", "mpiexec")


class RunSettings:
    """What to run and how.

    `exe_args` is a list of arguments, carried byte for byte, or one text that is split at white
    space. `run_command` is auto, none, srun, mpirun or mpiexec; `run_args` are its options by name
    without dashes, a value of None makes a flag. `env_vars` values may be text or numbers.
    Raises InputError or InputTypeError that names the field.
    """

    def __init__(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_command: str | None = "auto",
        run_args: Mapping[str, str | int | float | None] | None = None,
        env_vars: Mapping[str, str | int | float] | None = None,
    ) -> None:
        self.exe = check.program("exe", exe)
        self.run_command = check.choice("run_command", run_command or "none", RUN_COMMANDS)
        self.run_args: dict[str, str | None] = {}
        self.env_vars: dict[str, str] = check.environment("env_vars", env_vars or {})
        self.nodes: int | None = None
        self.tasks: int | None = None
        self.tasks_per_node: int | None = None
        self.cpus_per_task: int | None = None
        self._exe_args: list[str] = []
        if exe_args is not None:
            self.add_exe_args(exe_args)
        for key, value in (run_args or {}).items():
            self.set(key, None if value is None else str(value))

    @property
    def exe_args(self) -> tuple[str, ...]:
        """The program's arguments, in order."""
        return tuple(self._exe_args)

    def add_exe_args(self, args: str | Sequence[str]) -> None:
        """Append arguments: a list as it is, one text split at white space."""
        if isinstance(args, str):
            self._exe_args += check.text("exe_args", args).split()
        else:
            self._exe_args += check.texts("exe_args", args)

    def update_env(self, env_vars: Mapping[str, str | int | float]) -> None:
        """Add or replace environment variables of the program."""
        self.env_vars.update(check.environment("env_vars", env_vars))

    def set(self, arg: str, value: str | None = None) -> None:
        """Set an option of the launch command; leading dashes are dropped."""
        key = check.name("run_args key", check.text("run_args key", arg).lstrip("-"))
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

    def task_count(self) -> int:
        """Return how many processes are asked for: tasks, or nodes x tasks_per_node, or 1."""
        return self.tasks or (self.nodes or 1) * (self.tasks_per_node or 1)


class BatchSettings:
    """What to ask a batch system for; empty and None leave it to the system's defaults.

    `time` is HH:MM:SS or D-HH:MM:SS, `queue` a queue or partition; `batch_args` are further options
    by name without dashes, a value of None makes a flag. Raises InputError or InputTypeError.
    """

    def __init__(
        self,
        nodes: int | None = None,
        time: str = "",
        queue: str = "",
        account: str = "",
        batch_args: Mapping[str, str | int | None] | None = None,
    ) -> None:
        self.nodes = None if nodes is None else check.integer("nodes", nodes, 1, 1_000_000)
        self.walltime = check.walltime("time", time) if time else ""
        self.queue = check.name("queue", queue) if queue else ""
        self.account = check.name("account", account) if account else ""
        self.hosts: tuple[str, ...] = ()
        self.args: dict[str, str | None] = {}
        for key, value in (batch_args or {}).items():
            self.set(key, None if value is None else str(value))

    def set(self, arg: str, value: str | None = None) -> None:
        """Set an option of the batch system; leading dashes are dropped."""
        key = check.name("batch_args key", check.text("batch_args key", arg).lstrip("-"))
        self.args[key] = None if value is None else check.line(f"batch_args[{key!r}]", value)

    def set_nodes(self, nodes: int) -> None:
        """Ask for this many nodes."""
        self.nodes = check.integer("nodes", nodes, 1, 1_000_000)

    def set_walltime(self, walltime: str) -> None:
        """Limit the run time, HH:MM:SS or D-HH:MM:SS."""
        self.walltime = check.walltime("walltime", walltime)

    def set_queue(self, queue: str) -> None:
        """Choose a queue or partition."""
        self.queue = check.name("queue", queue)

    def set_account(self, account: str) -> None:
        """Say which account pays."""
        self.account = check.name("account", account)

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Name the nodes to run on."""
        hosts = check.texts("host_list", host_list)
        self.hosts = tuple(check.name("host_list", item) for item in hosts)

    def wanted(self) -> dict[str, object]:
        """Return what was asked for, by the names of the arguments."""
        every = {
            "nodes": self.nodes,
            "time": self.walltime,
            "queue": self.queue,
            "account": self.account,
            "host_list": self.hosts,
            "batch_args": self.args,
        }
        return {key: value for key, value in every.items() if value}
