"""`hpcorch logs`: what the tasks of runs have printed, once or as it comes."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hpcorch import rundir
from hpcorch.cli import output
from hpcorch.cli.completers import complete, run_names
from hpcorch.cli.runs import Watcher, chosen, latest, locate, over
from hpcorch.errors import InputError, RunNotFound
from hpcorch.journal import Run

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_POLL_SECONDS = 0.2
# Of many logs each is looked at more rarely: a shared file system serves others too.
_LOOKS_PER_SECOND = 500
# How often somebody other than the tasks themselves is asked whether they have ended.
_ASK_SECONDS = 2.0
_PIECE = 1024 * 1024
_EPILOG = """\
example: hpcorch logs my-experiment simulation -n 20 -f

A file's lines are printed as they are; several files get a header each, or with -f a prefix.
"""


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
        "-f", action="store_true", dest="follow", help="print what comes until the runs have ended"
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
    choice = chosen(locate(args.dir), [args.entity] if args.entity else [])
    runs = latest(choice.runs)
    members = {number for numbers in choice.members.values() for number in numbers}
    shard = next(iter(members), args.shard)
    files = log_files(runs, shard, server=args.server)
    if args.follow:
        _follow(runs, files, args.lines)
        return 0
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


def log_files(runs: Sequence[Run], shard: int | None, *, server: bool) -> list[LogFile]:
    """Return the logs that these runs have or will have; raises InputError for a wrong shard."""
    largest = max(map(_task_count, runs))
    if shard is not None and not 0 <= shard < largest:
        raise InputError(f"--shard is {shard}: it must be from 0 to {largest - 1}")
    logs = _server_logs if server else _own_logs
    found = []
    for run in runs:
        names = rundir.member_names(Path(run.directory))
        for index in range(_task_count(run)):
            if shard in (None, index):
                name = names[index] if index < len(names) else ""
                found += [LogFile(run.entity, index, *item, name) for item in logs(run, index)]
    return found


def _task_count(run: Run) -> int:
    """Return how many tasks have logs; a run of failed members is not all that there is."""
    return max(len(rundir.member_names(Path(run.directory))), max(run.numbers) + 1)


def _own_logs(run: Run, index: int) -> list[tuple[str, Path]]:
    logs = Path(run.directory, "logs")
    return [(kind, logs / f"{run.entity}.{index}.{kind}") for kind in ("out", "err")]


def _server_logs(run: Run, index: int) -> list[tuple[str, Path]]:
    """A shard has one; beside a program there is one for each node, which is part of its name."""
    logs, stem = Path(run.directory, "logs"), f"{run.entity}.{index}"
    found = sorted(logs.glob(f"{stem}.*.log"))
    return [("server", path) for path in found or [logs / f"{stem}.log"]]


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


class _Follower:
    """Reads what is new in one log; the file may not be there yet, or be replaced by a new one."""

    def __init__(self, file: LogFile, prefix: bytes, lines: int | None) -> None:
        self._path = file.path
        self._prefix = prefix
        self._lines = lines
        self._read = 0
        self._rest = b""

    def copy_new(self, out: BinaryIO, *, last: bool = False) -> None:
        """Print the new lines; `last`: also one that has no end yet."""
        try:
            size = self._path.stat().st_size
            if size < self._read:
                self._read, self._rest = 0, b""
            if size > self._read:
                with self._path.open("rb") as stream:
                    stream.seek(self._read)
                    self._copy_from(stream, out)
        except FileNotFoundError:
            pass
        # Whatever comes after the first look is new, and is printed whole.
        self._lines = None
        if last and self._rest:
            out.write(self._prefix + self._rest + b"\n")
            self._rest = b""

    def _copy_from(self, stream: BinaryIO, out: BinaryIO) -> None:
        if self._lines is not None:
            tail = b"".join(deque(stream, maxlen=self._lines))
            self._read = stream.tell()
            self._emit(tail, out)
        while piece := stream.read(_PIECE):
            self._read += len(piece)
            self._emit(piece, out)

    def _emit(self, piece: bytes, out: BinaryIO) -> None:
        if not self._prefix:
            out.write(piece)
            return
        *whole, self._rest = (self._rest + piece).split(b"\n")
        out.writelines(self._prefix + line + b"\n" for line in whole)


def _follow(runs: Sequence[Run], files: Sequence[LogFile], lines: int | None) -> None:
    several = len(files) > 1
    followers = [
        _Follower(file, f"{file.label}: ".encode() if several else b"", lines) for file in files
    ]
    out = sys.stdout.buffer
    ended = _Ends(runs)
    while True:
        # Asked before reading: what a task wrote before its end is then read after it.
        last = ended.all_ended()
        for follower in followers:
            follower.copy_new(out, last=last)
        out.flush()
        if last:
            return
        # Nothing tells when a file on a shared file system grows.
        time.sleep(max(_POLL_SECONDS, len(files) / _LOOKS_PER_SECOND))


class _Ends:
    """Whether runs have ended: their own records are looked at often, the scheduler rarely."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._watcher = Watcher()
        self._asked_at = float("-inf")

    def all_ended(self) -> bool:
        """Say whether nothing more will be written."""
        if all(_has_all_records(run) for run in self._runs):
            return True
        if time.monotonic() - self._asked_at < _ASK_SECONDS:
            return False
        self._asked_at = time.monotonic()
        return all(over(shot) for shot in self._watcher.snapshot(self._runs))


def _has_all_records(run: Run) -> bool:
    if run.job is None:
        return True
    return len(rundir.exit_records(Path(run.directory), run.mark)) >= run.elements
