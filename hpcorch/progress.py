"""What a driver shows while it waits: a live table on a terminal, else one line for each change."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import report
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot

if TYPE_CHECKING:
    from rich.table import Table

Show = Callable[[Sequence[RunSnapshot]], None]

_HEADERS = ("Name", "Tasks", "Time", "Last words of what failed")
_FAILED = (TaskState.FAILED, TaskState.LOST, TaskState.TIMED_OUT)
_REFRESHES_PER_SECOND = 4
# More of a log than its last line is likely to need.
_TAIL_BYTES = 4096


@contextmanager
def watching(log: logging.Logger) -> Iterator[Show]:
    """Give a function that is to see every snapshot; what it shows live is gone at the end."""
    if not log.isEnabledFor(logging.INFO) or not is_live():
        yield _lines(log)
        return
    from rich.live import Live

    latest: list[RunSnapshot] = []
    ends = _lines(log, ends_only=True)

    def show(shots: Sequence[RunSnapshot]) -> None:
        latest[:] = shots
        ends(shots)

    def draw() -> Table:
        return _table(rows(list(latest)))

    # Lines that are logged meanwhile stand above the table.
    with Live(get_renderable=draw, refresh_per_second=_REFRESHES_PER_SECOND, transient=True):
        yield show


def is_live() -> bool:
    """Say whether standard output is a terminal that can be written over."""
    terminal = getattr(sys.stdout, "isatty", bool)()
    return terminal and os.environ.get("TERM", "dumb") != "dumb"


def rows(shots: Sequence[RunSnapshot]) -> list[tuple[str, ...]]:
    """Return one row for each run: name, how many tasks are in which state, time, last words."""
    return [
        (shot.run.entity, _states(shot), _clock(shot.elapsed), _last_words(shot)) for shot in shots
    ]


def _lines(log: logging.Logger, *, ends_only: bool = False) -> Show:
    seen: dict[str, tuple[TaskState, str]] = {}

    def report_changes(shots: Sequence[RunSnapshot]) -> None:
        for shot in shots:
            now = (shot.state, shot.reason if shot.state is TaskState.QUEUED else "")
            if seen.get(shot.run.token) != now:
                seen[shot.run.token] = now
                if shot.state.terminal or not ends_only:
                    log.info(report.change(shot))

    return report_changes


def _table(lines: Sequence[tuple[str, ...]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for header in _HEADERS:
        table.add_column(header, no_wrap=True, overflow="ellipsis")
    for cells in lines:
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _states(shot: RunSnapshot) -> str:
    if shot.state is TaskState.QUEUED and shot.reason:
        return f"{shot.state}: {shot.reason}"
    if len(shot.tasks) == 1:
        return str(shot.tasks[0].state)
    counts = Counter(task.state for task in shot.tasks)
    return ", ".join(f"{counts[state]} {state}" for state in TaskState if counts[state])


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _last_words(shot: RunSnapshot) -> str:
    """Return the last line that the first failed task has written, or why it failed."""
    for task in shot.tasks:
        if task.state in _FAILED:
            words = _last_line(shot, task) or task.reason
            label = f"task {task.index}: " if len(shot.tasks) > 1 else ""
            # A program's output may hold what would move the cursor.
            return label + "".join(char if char.isprintable() else "?" for char in words)
    return ""


def _last_line(shot: RunSnapshot, task: TaskSnapshot) -> str:
    for ending in ("err", "out"):
        path = Path(shot.run.directory, "logs", f"{shot.run.entity}.{task.index}.{ending}")
        try:
            with path.open("rb") as stream:
                stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            continue
        if text.strip():
            return text.strip().splitlines()[-1].strip()
    return ""
