"""`hpcorch stop`: ends runs, programs before databases, and says how each ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import report
from hpcorch.cli import output
from hpcorch.cli.completers import complete, run_names
from hpcorch.cli.runs import Watcher, chosen, journal_of, locate
from hpcorch.errors import InputError, SchedulerError
from hpcorch.snapshots import RunSnapshot
from hpcorch.stop import GRACE_SECONDS
from hpcorch.stop import stop as stop_runs

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
example: hpcorch stop my-experiment simulation --grace 60

Databases are asked to shut down, programs get SIGTERM; what is left after the grace is killed.
Stopping what has ended does nothing.
"""


@dataclass(frozen=True)
class Outcome:
    """How a run stands now, and whether this command has ended it."""

    shot: RunSnapshot
    was_running: bool


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "dir", nargs="?", default=".", metavar="DIR", help="of an experiment or one of its parts"
    )
    entities = parser.add_argument(
        "entity", nargs="*", metavar="ENTITY", help="only these, or these members; default: all"
    )
    complete(entities, run_names)
    parser.add_argument(
        "--grace",
        type=float,
        default=GRACE_SECONDS,
        metavar="SECONDS",
        help="time to end in before being killed (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: Namespace) -> int:
    """Stop, verify and report."""
    if not 0 < args.grace <= 86400:
        raise InputError(f"--grace is {args.grace:g}: it must be above 0 and at most 86400 s")
    outcomes = _stop(args)
    if args.json:
        items = [
            {
                "entity": item.shot.run.entity,
                "directory": item.shot.run.directory,
                "job": None if item.shot.run.job is None else str(item.shot.run.job),
                "was_running": item.was_running,
                "state": str(item.shot.state),
                "code": item.shot.code,
                "reason": item.shot.reason,
            }
            for item in outcomes
        ]
        output.print_json(directory=str(Path(args.dir).absolute()), runs=items)
    else:
        for item in outcomes:
            before = "" if item.was_running else "nothing to stop: "
            print(before + report.change(item.shot))
    return _verdict(outcomes)


def _verdict(outcomes: Sequence[Outcome]) -> int:
    """Return 1 when a run may still be there: it was submitted, but nobody knows its id."""
    doubtful = [item.shot for item in outcomes if not item.shot.state.terminal]
    for shot in doubtful:
        why = shot.reason or f"it is {shot.state}"
        output.remark(f"{shot.run.entity} may still run: {why}", "warning")
    return 1 if doubtful else 0


def _stop(args: Namespace) -> list[Outcome]:
    output.messages_aside()
    watcher = Watcher(patient=False)
    choice = chosen(locate(args.dir), args.entity)
    shots = watcher.snapshot(choice.runs)
    alive = [shot for shot in shots if not shot.state.terminal]
    ended: dict[int, RunSnapshot] = {}
    failures: list[SchedulerError] = []
    for name in dict.fromkeys(shot.run.scheduler for shot in alive):
        mine = [shot for shot in alive if shot.run.scheduler == name]
        runs = [shot.run for shot in mine]
        scheduler, journal = watcher.scheduler(name), journal_of(args.dir)
        try:
            after = stop_runs(runs, scheduler, journal, args.grace, known=mine, only=choice.members)
        except SchedulerError as error:
            # What other schedulers run can be ended all the same.
            failures.append(error)
            continue
        ended.update({id(shot): final for shot, final in zip(mine, after, strict=True)})
    if failures:
        raise failures[0]
    return _outcomes(shots, ended)


def _outcomes(shots: Sequence[RunSnapshot], ended: dict[int, RunSnapshot]) -> list[Outcome]:
    return [Outcome(ended.get(id(shot), shot), id(shot) in ended) for shot in shots]
