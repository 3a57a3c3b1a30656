"""Runs as people read them: the summary table and one line per change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from hpcorch.journal import Run
from hpcorch.rundir import job_label, member_names
from hpcorch.schedulers.base import Scheduler, TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot
from hpcorch.submit import Built

HEADERS = ("", "Name", "Entity-Type", "JobID", "RunID", "Time", "Status", "Returncode")
WENT_WRONG = (TaskState.FAILED, TaskState.LOST, TaskState.TIMED_OUT)
# Of these it is told why, where that is known.
_EXPLAINED = (*WENT_WRONG, TaskState.QUEUED)
_ENTITY_TYPES = {"database": "DBNode", "model": "Model", "ensemble": "Ensemble"}
# So many failed members of an ensemble get a row of their own.
_MOST_FAILED = 20
# So many members stand in a preview, and so many lines of each list of their files.
_MOST_SHOWN = 20
_ROW = """\
# task-table: number, name, directory, number of its list of files, count of parameters, their names
# and values, count of variables, variables, program"""
_LIST = "what members with this number put into their directories"
# So many jobs of one run are named.
_MOST_JOBS = 4


def label(run: Run, scheduler: Scheduler | None, numbers: Collection[int] | None = None) -> str:
    """Return the ids of a run's jobs, or of some of its tasks, as their scheduler shows them."""
    refs = run.refs(numbers)
    if not refs:
        return ""
    if numbers is None and (known := job_label(Path(run.directory), run.mark)):
        return known
    names = [scheduler.job_label(ref) if scheduler else str(ref.id) for ref in refs]
    if len(names) > _MOST_JOBS:
        names = [names[0], "...", names[-1]]
    return ",".join(names)


def row(
    shot: RunSnapshot, scheduler: Scheduler | None, word: Callable[[TaskState], str] = str
) -> dict[str, object]:
    """Return one run as the values of the summary's columns, in their order."""
    return {
        "Name": shot.run.entity,
        "Entity-Type": _ENTITY_TYPES.get(shot.run.kind, shot.run.kind),
        "JobID": label(shot.run, scheduler),
        "RunID": shot.run.run_id,
        "Time": f"{shot.elapsed:.2f}",
        "Status": word(shot.state),
        "Returncode": "" if shot.code is None else shot.code,
    }


def failed_members(shot: RunSnapshot) -> list[TaskSnapshot]:
    """Return the tasks of an ensemble that went wrong; none for other runs."""
    if shot.run.kind != "ensemble":
        return []
    return [task for task in shot.tasks if task.state in WENT_WRONG]


def _member_rows(
    shot: RunSnapshot, scheduler: Scheduler | None, word: Callable[[TaskState], str]
) -> list[dict[str, object]]:
    failed = failed_members(shot)[:_MOST_FAILED]
    names = member_names(Path(shot.run.directory)) if failed else []
    return [
        {
            "Name": names[task.index] if task.index < len(names) else f"member {task.index}",
            "Entity-Type": "Member",
            "JobID": label(shot.run, scheduler, {task.index}),
            "RunID": shot.run.run_id,
            "Time": "" if task.elapsed is None else f"{task.elapsed:.2f}",
            "Status": word(task.state),
            "Returncode": "" if task.code is None else task.code,
        }
        for task in failed
    ]


def table(
    shots: Iterable[RunSnapshot],
    schedulers: Mapping[str, Scheduler],
    style: str = "github",
    word: Callable[[TaskState], str] = str,
) -> str:
    """Return the summary: one row per run, running and queued ones included.

    Below an ensemble stand its failed members, the first 20 of them. `word` says how a state is
    written.
    """
    from tabulate import tabulate

    rows: list[dict[str, object]] = []
    for shot in shots:
        scheduler = schedulers.get(shot.run.scheduler)
        rows += [row(shot, scheduler, word), *_member_rows(shot, scheduler, word)]
    lines = [(index, *values.values()) for index, values in enumerate(rows)]
    return str(tabulate(lines, headers=HEADERS, tablefmt=style, disable_numparse=True))


def preview(built: Built) -> str:
    """Return the scripts of one start, what the first tasks of an ensemble run, and their files."""
    texts = [script.text for script in built.scripts]
    if built.plan.table:
        lines = [line for text in built.plan.table for line in text.splitlines()]
        texts += _first(lines, _ROW)
    for number, text in enumerate(built.plan.file_lists):
        texts += _first(text.splitlines(), f"# task-table/files.{number}: {_LIST}")
    return "\n".join(texts)


def _first(lines: list[str], head: str) -> list[str]:
    """Return the first lines below `head`, and how many more there are."""
    shown = ["\n".join([head, *lines[:_MOST_SHOWN]]) + "\n"]
    more = len(lines) - _MOST_SHOWN
    return [*shown, f"# and {more} more\n"] if more > 0 else shown


def change(shot: RunSnapshot) -> str:
    """Return one line that says how a run stands now."""
    line = f"{shot.run.entity} is {shot.state}"
    if shot.code is not None:
        line += f", exit code {shot.code}"
    failed = failed_members(shot)
    if failed:
        line += f", {len(failed)} of {len(shot.tasks)} members failed"
    if shot.reason and shot.state in _EXPLAINED:
        line += f": {shot.reason}"
    return line
