"""`hpcorch demo`: runs the example and leaves nothing running, whatever happens."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.cli import output
from hpcorch.cli.runs import Watcher, latest
from hpcorch.cli.status import described
from hpcorch.errors import InputError
from hpcorch.journal import Journal, Run
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
    before = {item.token for item in _runs(where)}
    out = contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext()
    try:
        with out:
            driver.main(args.path)
    except BaseException:
        _clean_up(where, before)
        raise
    shots = Watcher().snapshot(latest(_runs(where)))
    if args.json:
        runs = [described(shot, None) for shot in shots]
        output.print_json(directory=str(where.absolute()), runs=runs)
    return 0 if all(shot.state in _GOOD_ENDS for shot in shots) else 1


def _runs(where: Path) -> list[Run]:
    return Journal(where).runs()


def _clean_up(where: Path, before: Container[str]) -> None:
    """Stop what the example had started before it broke off, and nothing that was there before."""
    watcher = Watcher()
    shots = watcher.snapshot([item for item in _runs(where) if item.token not in before])
    runs = [shot.run for shot in shots if not shot.state.terminal]
    for name in {item.scheduler for item in runs}:
        mine = [item for item in runs if item.scheduler == name]
        stop_runs(mine, watcher.scheduler(name), Journal(where))
