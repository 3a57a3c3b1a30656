"""`hpcorch demo`: runs the example and leaves nothing running, whatever happens."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.cli import output
from hpcorch.cli.runs import Watcher, journal_of, latest, locate
from hpcorch.cli.status import described
from hpcorch.errors import InputError, RunNotFound
from hpcorch.schedulers.base import TaskState
from hpcorch.stop import stop as stop_runs

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_GOOD_ENDS = (TaskState.COMPLETED, TaskState.CANCELLED)
_EPILOG = "example: hpcorch demo --path /tmp"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--path", default=".", metavar="DIR", help="where to make the experiment's directory"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the runs as a JSON object, all else on stderr"
    )


def run(args: Namespace) -> int:
    """Run the example; 1 when one of its runs went wrong."""
    from hpcorch.demo import driver

    if not Path(args.path).is_dir():
        raise InputError(f"--path is {args.path!r}: there is no such directory")
    where = Path(args.path, driver.NAME)
    out = contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext()
    try:
        with out:
            driver.main(args.path)
    except BaseException:
        _clean_up(str(where))
        raise
    shots = Watcher().snapshot(latest(locate(str(where))))
    if args.json:
        runs = [described(shot, None) for shot in shots]
        output.print_json(directory=str(where.absolute()), runs=runs)
    return 0 if all(shot.state in _GOOD_ENDS for shot in shots) else 1


def _clean_up(where: str) -> None:
    """Stop what the example had started before it broke off."""
    watcher = Watcher()
    try:
        shots = watcher.snapshot(locate(where))
    except RunNotFound:
        return
    runs = [shot.run for shot in shots if not shot.state.terminal]
    for name in {item.scheduler for item in runs}:
        mine = [item for item in runs if item.scheduler == name]
        stop_runs(mine, watcher.scheduler(name), journal_of(where))
