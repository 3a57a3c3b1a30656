"""One answer of the scheduler for all processes that follow the same experiment.

The answer lies in `<exp>/.hpcorch/`. Whoever finds it too old asks again while the others wait for
it. Nothing depends on it: where the directory cannot be used, every process asks for itself. Ages
are told by the file system's clock only, so that hosts may share it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hpcorch.schedulers.base import Result

# Longer than a scheduler takes to answer, unless it is in trouble.
_LOCK_SECONDS = 30.0
# Getting a lock that nobody holds takes less.
_NO_WAIT_SECONDS = 0.04


@dataclass(frozen=True)
class Answer:
    """What a query printed, and how many seconds ago."""

    result: Result
    age: float


class PollCache:
    """The answers in `directory`, which must exist to be used; None uses nothing."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def answer(
        self, query: str, jobs: Collection[str], floor: float, ask: Callable[[], Result]
    ) -> Answer:
        """Return the answer about `jobs`, if one is younger than `floor` seconds, else ask.

        `query` tells apart what may be asked, such as the queue and the accounting. An answer about
        more jobs will do. That a query failed is told only to those who waited for it.
        """
        if self._directory is None or not self._directory.is_dir():
            return Answer(ask(), 0.0)
        path = self._directory / f"poll-{query}.json"
        began = time.monotonic()
        lock = FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS, mode=0o600)
        try:
            lock.acquire()
        except (OSError, Timeout, NotImplementedError):
            return Answer(ask(), 0.0)
        try:
            found = _read(path, Path(lock.lock_file), jobs)
            waited = time.monotonic() - began - _NO_WAIT_SECONDS
            if found is not None and found.age < (floor if found.result.code == 0 else waited):
                return found
            result = ask()
            _write(path, jobs, result)
            return Answer(result, 0.0)
        finally:
            lock.release()


def _read(path: Path, clock: Path, jobs: Collection[str]) -> Answer | None:
    """Return the answer in `path`; touching `clock` tells what the file system's time is."""
    try:
        os.utime(clock)
        age = clock.stat().st_mtime - path.stat().st_mtime
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if age < 0 or not set(jobs) <= set(found["jobs"]):
            return None
        words = tuple(found["argv"])
        return Answer(Result(words, int(found["code"]), found["out"], found["err"]), age)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, jobs: Collection[str], result: Result) -> None:
    found = {
        "jobs": sorted(jobs),
        "argv": list(result.argv),
        "code": result.code,
        "out": result.out,
        "err": result.err,
    }
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            json.dump(found, stream)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
