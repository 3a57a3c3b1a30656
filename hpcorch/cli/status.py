"""`hpcorch status`: the runs in a directory, and where the databases among them answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import report
from hpcorch.cli import output
from hpcorch.cli.runs import Watcher, locate, over
from hpcorch.database import Database
from hpcorch.errors import HpcorchError
from hpcorch.progress import is_live
from hpcorch.rundir import member_names
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import RunSnapshot

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_REFRESH_SECONDS = 2.0

_EPILOG = """\
example: hpcorch status my-experiment --watch

The exit code is 0 whenever the state could be told, whatever it is.
"""


@dataclass(frozen=True)
class Service:
    """A database as programs see it: whether it answers, where, and if not, why."""

    answers: bool
    addresses: tuple[str, ...] = ()
    problem: str = ""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "dir", nargs="?", default=".", metavar="DIR", help="of an experiment or one of its parts"
    )
    parser.add_argument(
        "--watch", action="store_true", help="refresh every 2 s until everything has ended"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: Namespace) -> int:
    """Show the runs once, or until they have ended."""
    watcher = Watcher(patient=args.watch, where=args.dir)
    try:
        if not args.watch:
            _show_once(args, watcher)
        elif is_live() and not args.json:
            _watch_live(args, watcher)
        else:
            _watch_changes(args, watcher)
    except KeyboardInterrupt:
        if not args.watch:
            raise
    return 0


def _show_once(args: Namespace, watcher: Watcher) -> None:
    shots = watcher.snapshot(locate(args.dir))
    if args.json:
        _remark_stale(shots)
        items = [described(shot, service(shot)) for shot in shots]
        output.print_json(directory=str(Path(args.dir).absolute()), runs=items)
    else:
        show(args.dir, shots, watcher)


def show(where: str, shots: Sequence[RunSnapshot], watcher: Watcher) -> None:
    """Print the table of runs, and below it what there is to say about them."""
    _remark_stale(shots)
    print(_text(where, shots, watcher), flush=True)


def _text(where: str, shots: Sequence[RunSnapshot], watcher: Watcher) -> str:
    for shot in shots:
        watcher.scheduler(shot.run.scheduler)
    lines = [report.table(shots, watcher.schedulers, word=output.state)]
    lines += [note for shot in shots if (note := _note(shot, service(shot), where))]
    return "\n".join(lines)


def _looks(args: Namespace, watcher: Watcher) -> Iterator[list[RunSnapshot]]:
    """Yield how the runs stand, every 2 s until all have ended."""
    while True:
        # New runs may have come since the last look.
        shots = watcher.snapshot(locate(args.dir))
        yield shots
        if all(over(shot) for shot in shots):
            return
        # How often a person wants to see it; the scheduler is asked more rarely.
        time.sleep(_REFRESH_SECONDS)


def _watch_live(args: Namespace, watcher: Watcher) -> None:
    """Show a table that is written over; the last one stays."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for shots in _looks(args, watcher):
            stale = dict.fromkeys(shot.stale for shot in shots if shot.stale)
            notes = [f"the scheduler could not be asked: {reason}" for reason in stale]
            lines = [_text(args.dir, shots, watcher), *notes]
            live.update(Text.from_ansi("\n".join(lines)), refresh=True)


def _watch_changes(args: Namespace, watcher: Watcher) -> None:
    told: dict[str, str] = {}
    for shots in _looks(args, watcher):
        _show_changes(args, shots, told)


def _show_changes(args: Namespace, shots: Sequence[RunSnapshot], told: dict[str, str]) -> None:
    """Print what differs from what was `told` already, a line each."""
    for shot in shots:
        now = service(shot)
        note = _note(shot, now, args.dir)
        first = [] if shot.state in report.WENT_WRONG else [report.change(shot)]
        text = "\n".join(line for line in dict.fromkeys([*first, note]) if line)
        key = f"{shot.run.directory} {shot.run.job}"
        if told.get(key) == text:
            continue
        before = told.get(key, "").splitlines()
        told[key] = text
        if args.json:
            output.print_json(indent=None, run=described(shot, now))
        else:
            new = [line for line in text.splitlines() if line not in before]
            print("\n".join(new), flush=True)


def _remark_stale(shots: Sequence[RunSnapshot]) -> None:
    for reason in dict.fromkeys(shot.stale for shot in shots if shot.stale):
        output.remark(f"the scheduler could not be asked: {reason}", "warning")


def service(shot: RunSnapshot) -> Service | None:
    """Return how a database answers; None for programs and for databases that do not run."""
    if shot.run.kind != "database" or shot.run.job is None or shot.state.terminal:
        return None
    database = Database(Path(shot.run.directory), shot.run.mark)
    try:
        if not database.is_published():
            return Service(False, problem=_not_ready(shot))
        addresses = tuple(database.addresses())
        for shard in database.health():
            if shard["state"] != "ok":
                return Service(False, addresses, f"shard {shard['address']}: {shard['state']}")
    except HpcorchError as error:
        return Service(False, problem=error.message)
    return Service(True, addresses)


def _not_ready(shot: RunSnapshot) -> str:
    if any(task.state.terminal for task in shot.tasks):
        return shot.reason
    if shot.state is TaskState.QUEUED and shot.reason:
        return f"it is queued: {shot.reason}"
    return "it is not ready yet"


def _note(shot: RunSnapshot, now: Service | None, where: str) -> str:
    """Return the line below the table that this run deserves, if any."""
    name = shot.run.entity
    if shot.state in report.WENT_WRONG:
        told = f"{name} is {shot.state}: {shot.reason or 'no reason is known'}"
        # What was never accepted has no logs.
        logs = output.command("hpcorch", "logs", where, name)
        return f"{told}; next: {logs}" if shot.run.job else told
    if shot.run.elsewhere and not shot.state.terminal:
        return f"{name} may have ended: {shot.reason}"
    if now is None:
        waits = shot.state is TaskState.QUEUED and shot.reason
        return report.change(shot) if waits else ""
    if now.answers:
        return f"database {name} answers at {','.join(now.addresses)}"
    return f"database {name} does not answer: {now.problem}"


def described(shot: RunSnapshot, now: Service | None) -> dict[str, object]:
    """Return one run as the JSON object of docs/cli.md."""
    item = shot.run
    names = member_names(Path(item.directory)) if item.kind == "ensemble" else []
    return {
        "entity": item.entity,
        "kind": item.kind,
        "directory": item.directory,
        "scheduler": item.scheduler,
        "job": None if item.job is None else str(item.job),
        "run_id": item.run_id,
        "submitted_at": item.submitted_at,
        "state": str(shot.state),
        "code": shot.code,
        "elapsed": round(shot.elapsed, 2),
        "reason": shot.reason,
        "stale": shot.stale,
        "tasks": [
            {
                "index": task.index,
                "name": names[task.index] if task.index < len(names) else "",
                "state": str(task.state),
                "code": task.code,
                "elapsed": task.elapsed,
                "reason": task.reason,
            }
            for task in shot.tasks
        ],
        "database": None
        if now is None
        else {
            "answers": now.answers,
            "addresses": list(now.addresses),
            "problem": now.problem,
        },
    }
