"""Runs as people read them: the summary table and one line per change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from hpcorch.rundir import job_label
from hpcorch.schedulers.base import Scheduler, TaskState
from hpcorch.track import RunSnapshot

HEADERS = ("", "Name", "Entity-Type", "JobID", "RunID", "Time", "Status", "Returncode")
_WENT_WRONG = (TaskState.FAILED, TaskState.LOST, TaskState.TIMED_OUT)
_ENTITY_TYPES = {"database": "DBNode", "model": "Model"}


def row(shot: RunSnapshot, scheduler: Scheduler | None) -> dict[str, object]:
    """Return one run as the values of the summary's columns, in their order."""
    label = ""
    ref = shot.run.ref
    if ref is not None:
        plain = scheduler.job_label(ref) if scheduler else str(ref.id)
        label = job_label(Path(shot.run.directory), ref.id.job) or plain
    return {
        "Name": shot.run.entity,
        "Entity-Type": _ENTITY_TYPES.get(shot.run.kind, shot.run.kind),
        "JobID": label,
        "RunID": shot.run.run_id,
        "Time": f"{shot.elapsed:.2f}",
        "Status": str(shot.state),
        "Returncode": "" if shot.code is None else shot.code,
    }


def table(
    shots: Iterable[RunSnapshot], schedulers: Mapping[str, Scheduler], style: str = "github"
) -> str:
    """Return the summary: one row per run, running and queued ones included."""
    from tabulate import tabulate

    rows = [row(shot, schedulers.get(shot.run.scheduler)) for shot in shots]
    lines = [(index, *values.values()) for index, values in enumerate(rows)]
    return str(tabulate(lines, headers=HEADERS, tablefmt=style, disable_numparse=True))


def change(shot: RunSnapshot) -> str:
    """Return one line that says how a run stands now."""
    line = f"{shot.run.entity} is {shot.state}"
    if shot.code is not None:
        line += f", exit code {shot.code}"
    if shot.reason and shot.state in _WENT_WRONG:
        line += f": {shot.reason}"
    return line
