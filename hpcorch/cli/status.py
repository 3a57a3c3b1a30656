"""`hpcorch status`: the runs in a directory, and where the databases among them answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import report
from hpcorch.cli import output
from hpcorch.cli.runs import Watcher, locate, over
from hpcorch.database import Database
from hpcorch.errors import HpcorchError
from hpcorch.rundir import member_names
from hpcorch.snapshots import RunSnapshot

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_REFRESH_SECONDS = 2.0
# Cursor to the upper left corner, and clear from there on.
_REDRAW = "\x1b[H\x1b[J"

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
    if not args.watch:
        shots = watcher.snapshot(locate(args.dir))
        _show(args, shots, watcher)
        return 0
    try:
        _watch(args, watcher)
    except KeyboardInterrupt:
        return 0
    return 0


def _watch(args: Namespace, watcher: Watcher) -> None:
    told: dict[str, str] = {}
    while True:
        # New runs may have come since the last look.
        shots = watcher.snapshot(locate(args.dir))
        if sys.stdout.isatty() and not args.json:
            sys.stdout.write(_REDRAW)
            _show(args, shots, watcher)
        else:
            _show_changes(args, shots, told)
        if all(over(shot) for shot in shots):
            return
        # How often a person wants to see it; the scheduler is asked more rarely.
        time.sleep(_REFRESH_SECONDS)


def _show(args: Namespace, shots: Sequence[RunSnapshot], watcher: Watcher) -> None:
    services = [service(shot) for shot in shots]
    _remark_stale(shots)
    if args.json:
        items = map(described, shots, services)
        output.print_json(directory=str(Path(args.dir).absolute()), runs=list(items))
        return
    for shot in shots:
        watcher.scheduler(shot.run.scheduler)
    lines = [report.table(shots, watcher.schedulers)]
    lines += [note for note in map(_note, shots, services, [args.dir] * len(shots)) if note]
    print("\n".join(lines), flush=True)


def _show_changes(args: Namespace, shots: Sequence[RunSnapshot], told: dict[str, str]) -> None:
    """Print what differs from what was `told` already, a line each."""
    for shot in shots:
        now = service(shot)
        note = _note(shot, now, args.dir)
        text = note if shot.state in report.WENT_WRONG else f"{report.change(shot)}\n{note}".strip()
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
            broken = any(task.state.terminal for task in shot.tasks)
            return Service(False, problem=shot.reason if broken else "it is not ready yet")
        addresses = tuple(database.addresses())
        for shard in database.health():
            if shard["state"] != "ok":
                return Service(False, addresses, f"shard {shard['address']}: {shard['state']}")
    except HpcorchError as error:
        return Service(False, problem=error.message)
    return Service(True, addresses)


def _note(shot: RunSnapshot, now: Service | None, where: str) -> str:
    """Return the line below the table that this run deserves, if any."""
    name = shot.run.entity
    if shot.state in report.WENT_WRONG:
        logs = output.command("hpcorch", "logs", where, name)
        return f"{name} is {shot.state}: {shot.reason or 'no reason is known'}; next: {logs}"
    if now is None:
        return ""
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
