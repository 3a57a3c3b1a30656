"""`hpcorch logs -f`: what tasks print, as it comes; runs that begin meanwhile are joined."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

from hpcorch import rundir
from hpcorch.cli import output
from hpcorch.cli.logfiles import Found, LogFile, Wanted
from hpcorch.cli.runs import Watcher, latest, locate
from hpcorch.errors import RunNotFound
from hpcorch.journal import Run
from hpcorch.snapshots import RunSnapshot

_POLL_SECONDS = 0.2
# Of many logs each is looked at more rarely: a shared file system serves others too.
_LOOKS_PER_SECOND = 500
# How often somebody other than the tasks themselves is asked whether they have ended.
_ASK_SECONDS = 2.0
# How often runs are looked for that have begun meanwhile.
_FIND_SECONDS = 1.0
# How long a run that was announced is taken for one that a driver is submitting just now.
_SUBMISSION_SECONDS = 10.0
_PIECE = 1024 * 1024


def follow(wanted: Wanted, lines: int | None) -> None:
    """Print the last `lines` of what is there, and what comes, until everything has ended."""
    feed, ends = _Feed(lines), _Ends()
    found = _first(wanted, ends)
    found_at = time.monotonic()
    while True:
        feed.take_in(found)
        # Asked before reading: what a task wrote before its end is then read after it.
        last = ends.all_ended(found.runs, found.number)
        now = found
        if last or time.monotonic() - found_at > _FIND_SECONDS:
            now, found_at = wanted.find(found), time.monotonic()
            last = last and now.tokens == found.tokens
        feed.copy_new(last=last)
        if last:
            return
        found = now
        # Nothing tells when a file on a shared file system grows.
        time.sleep(max(_POLL_SECONDS, len(found.files) / _LOOKS_PER_SECOND))


def _first(wanted: Wanted, ends: _Ends) -> Found:
    """Return what is meant; while others run, one that has not begun yet is waited for."""
    told = False
    while True:
        try:
            return wanted.find()
        except RunNotFound as error:
            if ends.all_ended(latest(locate(wanted.where)), None):
                raise
            if not told:
                output.remark(f"{error.message} yet, it is waited for; {error.hint}")
            told = True
        # Nothing tells when a driver in another process starts it.
        time.sleep(_FIND_SECONDS)


class _Feed:
    """Prints what is new in the logs of all runs that are known so far."""

    def __init__(self, lines: int | None) -> None:
        self._lines = lines
        self._tokens: set[str] = set()
        self._followers: dict[Path, _Follower] = {}

    def take_in(self, found: Found) -> None:
        """Follow the logs of these runs too; those of an entity that runs anew begin anew."""
        for run in found.runs:
            # A script that was started by hand writes on where its last run has ended.
            if self._tokens and run.token not in self._tokens and run.run_id:
                self._begin_anew(run)
            self._tokens.add(run.token)
        for file in found.files:
            if file.path not in self._followers:
                self._followers[file.path] = _Follower(file, self._lines)

    def _begin_anew(self, run: Run) -> None:
        directory, numbers = Path(run.directory), set(run.numbers)
        for follower in self._followers.values():
            file = follower.file
            # Members that run again do not clear the servers' logs.
            kept = run.again and file.stream == "server"
            if file.path.parent.parent == directory and file.index in numbers and not kept:
                follower.begin_anew()

    def copy_new(self, *, last: bool) -> None:
        """Print the new lines; `last`: also those that have no end yet."""
        out = sys.stdout.buffer
        labelled = len(self._followers) > 1
        for follower in self._followers.values():
            prefix = f"{follower.file.label}: ".encode() if labelled else b""
            follower.copy_new(out, prefix, last=last)
        out.flush()
        # Whatever comes after the first look is new, and is printed whole.
        self._lines = None


class _Follower:
    """Reads what is new in one log; the file may not be there yet, or be replaced by a new one."""

    def __init__(self, file: LogFile, lines: int | None) -> None:
        self.file = file
        self._lines = lines
        self._read = 0
        self._rest = b""
        self._cleared = False

    def begin_anew(self) -> None:
        """Read from the beginning what another run writes, unless that was seen already."""
        if not self._cleared:
            self._read = 0
        self._cleared = False

    def copy_new(self, out: BinaryIO, prefix: bytes, *, last: bool) -> None:
        """Print the new lines; `last`: also one that has no end yet."""
        size = self._size()
        if size < self._read:
            self._read, self._cleared = 0, True
        if not self._read:
            self._end_line(out, prefix)
        if size > self._read:
            with self.file.path.open("rb") as stream:
                stream.seek(self._read)
                self._copy_from(stream, out, prefix)
        self._lines = None
        if last:
            self._end_line(out, prefix)

    def _size(self) -> int:
        try:
            return self.file.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _end_line(self, out: BinaryIO, prefix: bytes) -> None:
        if self._rest:
            out.write(prefix + self._rest + b"\n")
            self._rest = b""

    def _copy_from(self, stream: BinaryIO, out: BinaryIO, prefix: bytes) -> None:
        if self._lines is not None:
            tail = b"".join(deque(stream, maxlen=self._lines))
            self._read = stream.tell()
            self._emit(tail, out, prefix)
        while piece := stream.read(_PIECE):
            self._read += len(piece)
            self._emit(piece, out, prefix)

    def _emit(self, piece: bytes, out: BinaryIO, prefix: bytes) -> None:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        out.writelines(prefix + line + b"\n" for line in whole)


class _Ends:
    """Whether runs have ended: their own records are looked at often, the scheduler rarely."""

    def __init__(self) -> None:
        self._watcher = Watcher()
        self._asked_at = float("-inf")
        self._announced: dict[str, float] = {}

    def all_ended(self, runs: list[Run], number: int | None) -> bool:
        """Say whether nothing more will be written, by the task of that number if one is given."""
        if all(self._has_records(run, number) for run in runs):
            return True
        if time.monotonic() - self._asked_at < _ASK_SECONDS:
            return False
        self._asked_at = time.monotonic()
        return all(self._is_over(shot, number) for shot in self._watcher.snapshot(runs))

    def _has_records(self, run: Run, number: int | None) -> bool:
        if run.job is None:
            return self._was_never_submitted(run)
        records = rundir.exit_records(Path(run.directory), run.mark)
        return len(records) >= run.elements if number is None else number in records

    def _is_over(self, shot: RunSnapshot, number: int | None) -> bool:
        if shot.run.job is None:
            return self._was_never_submitted(shot.run)
        return all(task.state.terminal for task in shot.tasks if number in (None, task.index))

    def _was_never_submitted(self, run: Run) -> bool:
        now = time.monotonic()
        return (
            run.rejected or now - self._announced.setdefault(run.token, now) > _SUBMISSION_SECONDS
        )
