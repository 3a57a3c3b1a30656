"""How a program is run: executable, arguments, environment, and the command that launches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcorch.describe import check

RUN_COMMANDS = ("auto", "none", "mpirun", "mpiexec")


class RunSettings:
    """What to run and how.

    `exe_args` is a list of arguments, carried byte for byte, or one text that is split at white
    space. `run_command` is auto, none, mpirun or mpiexec; `run_args` are its options by name
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

    def task_count(self) -> int:
        """Return how many processes are asked for: tasks, or nodes x tasks_per_node, or 1."""
        return self.tasks or (self.nodes or 1) * (self.tasks_per_node or 1)
