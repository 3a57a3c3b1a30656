"""`hpcorch logs`: what the tasks of runs have printed, once or as it comes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hpcorch.cli import output
from hpcorch.cli.completers import complete, run_names
from hpcorch.cli.follow import follow
from hpcorch.cli.logfiles import LogFile, Wanted
from hpcorch.errors import InputError, RunNotFound

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_PIECE = 1024 * 1024
_EPILOG = """\
example: hpcorch logs my-experiment simulation -n 20 -f

A file's lines are printed as they are; several files get a header each, or with -f a prefix.
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "dir", nargs="?", default=".", metavar="DIR", help="of an experiment or one of its parts"
    )
    entity = parser.add_argument(
        "entity", nargs="?", metavar="ENTITY", help="only this one, or this member; default: all"
    )
    complete(entity, run_names)
    parser.add_argument(
        "--shard", type=int, metavar="I", help="only this shard, or this member of an ensemble"
    )
    parser.add_argument("-n", type=int, dest="lines", metavar="LINES", help="only the last LINES")
    parser.add_argument(
        "-f", action="store_true", dest="follow", help="print what comes until all has ended"
    )
    parser.add_argument(
        "--server", action="store_true", help="the logs of the database servers instead"
    )
    parser.add_argument("--json", action="store_true", help="print where the files are")


def run(args: Namespace) -> int:
    """Print, follow or list the logs."""
    if args.lines is not None and args.lines < 0:
        raise InputError(f"-n is {args.lines}: it must be 0 or more")
    if args.json and args.follow:
        raise InputError("--json lists files and -f prints what is in them", "leave one out")
    wanted = Wanted(args.dir, args.entity, args.shard, args.server)
    if args.follow:
        follow(wanted, args.lines)
        return 0
    files = wanted.find().files
    there = [file for file in files if file.path.is_file()]
    if args.json:
        items = [
            {
                "entity": file.entity,
                "index": file.index,
                "name": file.name,
                "stream": file.stream,
                "path": str(file.path),
            }
            for file in there
        ]
        output.print_json(directory=str(Path(args.dir).absolute()), logs=items)
        return 0
    if not there:
        raise RunNotFound("there is no such log", f"the first one expected is {files[0].path}")
    _print(there, args.lines)
    return 0


def _print(files: Sequence[LogFile], lines: int | None) -> None:
    """Print the files like tail; of several, those that hold something."""
    full = [file for file in files if file.path.stat().st_size] if len(files) > 1 else files
    out = sys.stdout.buffer
    sys.stdout.flush()
    for place, file in enumerate(full):
        if len(full) > 1:
            gap = "\n" if place else ""
            out.write(f"{gap}==> {file.path} <==\n".encode("utf-8", "surrogateescape"))
        with file.path.open("rb") as stream:
            _copy(stream, out, lines)
    out.flush()


def _copy(stream: BinaryIO, out: BinaryIO, lines: int | None) -> None:
    if lines is not None:
        out.writelines(deque(stream, maxlen=lines))
        return
    while piece := stream.read(_PIECE):
        out.write(piece)
