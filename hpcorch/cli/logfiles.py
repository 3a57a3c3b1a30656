"""Which logs there are: the files that tasks of runs write, or will write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcorch import rundir
from hpcorch.cli.runs import chosen, latest, locate
from hpcorch.errors import InputError, RunNotFound
from hpcorch.journal import Run


@dataclass(frozen=True)
class LogFile:
    """One log of one task; `stream` is out, err or server; members of ensembles have a `name`."""

    entity: str
    index: int
    stream: str
    path: Path
    name: str = ""

    @property
    def label(self) -> str:
        """What stands before its lines among those of others."""
        return self.name or f"{self.entity}[{self.index}]"


@dataclass(frozen=True)
class Found:
    """The last run of each entity that is meant, its logs, and the task that alone is meant."""

    runs: list[Run]
    files: list[LogFile]
    number: int | None

    @property
    def tokens(self) -> set[str]:
        """What tells these runs from others."""
        return {run.token for run in self.runs}


@dataclass(frozen=True)
class Wanted:
    """Which logs are meant: those in a directory, of one entity or member, of one task."""

    where: str
    entity: str | None
    shard: int | None
    server: bool

    def find(self, before: Found | None = None) -> Found:
        """Return what there is now; raises RunNotFound, and InputError for a wrong shard.

        What was found `before` is returned while it is missing: an ensemble that is started anew
        has no members for a moment.
        """
        runs = locate(self.where)
        try:
            choice = chosen(runs, [self.entity] if self.entity else [])
        except RunNotFound:
            if before is None:
                raise
            return before
        runs = latest(choice.runs)
        members = {number for numbers in choice.members.values() for number in numbers}
        number = next(iter(members), self.shard)
        return Found(runs, _log_files(runs, number, server=self.server), number)


def _log_files(runs: Sequence[Run], number: int | None, *, server: bool) -> list[LogFile]:
    """Return the logs that these runs have or will have; raises InputError for a wrong shard."""
    largest = max(map(_task_count, runs))
    if number is not None and not 0 <= number < largest:
        raise InputError(f"--shard is {number}: it must be from 0 to {largest - 1}")
    found = []
    for run in runs:
        names = rundir.member_names(Path(run.directory))
        of_nodes = _logs_of_nodes(run) if server else {}
        for index in range(_task_count(run)):
            if number in (None, index):
                name = names[index] if index < len(names) else ""
                logs = _server_logs(run, index, of_nodes) if server else _own_logs(run, index)
                found += [LogFile(run.entity, index, *item, name) for item in logs]
    return found


def _task_count(run: Run) -> int:
    """Return how many tasks have logs; a run of failed members is not all that there is."""
    return max(len(rundir.member_names(Path(run.directory))), max(run.numbers) + 1)


def _own_logs(run: Run, index: int) -> list[tuple[str, Path]]:
    logs = Path(run.directory, "logs")
    return [(kind, logs / f"{run.entity}.{index}.{kind}") for kind in ("out", "err")]


def _server_logs(
    run: Run, index: int, of_nodes: Mapping[str, Sequence[Path]]
) -> list[tuple[str, Path]]:
    """A shard has one; beside a program there is one for each node, which is part of its name."""
    alone = Path(run.directory, "logs", f"{run.entity}.{index}.log")
    return [("server", path) for path in of_nodes.get(str(index), [alone])]


def _logs_of_nodes(run: Run) -> dict[str, list[Path]]:
    """Return the logs of single nodes and workers by the numbers of their tasks."""
    found = defaultdict(list)
    begin = f"{run.entity}."
    for path in sorted(Path(run.directory, "logs").glob("*.log")):
        index, _, node = path.name.removeprefix(begin).partition(".")
        if path.name.startswith(begin) and node != "log":
            found[index].append(path)
    return dict(found)
