"""Waiting for a database to answer: what is told meanwhile, and when it is given up."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from hpcorch.database import Database
from hpcorch.errors import StartFailed, StorageError
from hpcorch.journal import Run
from hpcorch.schedulers.base import Scheduler, TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot
from hpcorch.track import Tracker, glance_seconds

_NOT_BEGUN = (TaskState.QUEUED, TaskState.UNKNOWN)
# Somebody wants to know why nothing starts: the queue is asked once more before that is told.
_LAST_QUERY_SECONDS = 2.0


class Startup:
    """Waits for the databases of one call of start, from the moment they were submitted.

    `queue_timeout` is how many seconds a shard may stay queued, None for any time.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        tracker: Tracker,
        log: logging.Logger,
        queue_timeout: float | None,
    ) -> None:
        self._scheduler = scheduler
        self._tracker = tracker
        self._log = log
        self._queue_timeout = queue_timeout
        self._began = time.monotonic()

    def wait(self, run: Run, database: Database, port: int) -> None:
        """Return when `database` answers; raises StartFailed with the cause when it will not.

        It is warned of where it could not have `port`, which drivers may name themselves.
        """
        progress = Progress(run, self._log, self._scheduler.poll_floor)
        while not database.is_published():
            shot = self._tracker.snapshot([run])[0]
            # One shard that has ended is enough: the others may be queued for hours.
            if any(task.state.terminal for task in shot.tasks):
                raise _failed(run, "did not start", [shot.reason or str(shot.state)], progress)
            if self._scheduler.is_batch:
                progress.see(shot)
            self._give_up_if_overdue(run, shot, progress)
            time.sleep(glance_seconds(self._scheduler) / 5)
        try:
            database.register()
        except StorageError as error:
            self._log.warning("%s; %s", error.message, error.hint)
        addresses = database.addresses()
        self._log.info(
            "database %s answers at %s after %.2f s",
            run.entity,
            ",".join(addresses),
            time.monotonic() - self._began,
        )
        if has_moved(port, addresses):
            self._log.warning(
                "database %s could not have port %d: what names that port reaches something else",
                run.entity,
                port,
            )

    def _give_up_if_overdue(self, run: Run, shot: RunSnapshot, progress: Progress) -> None:
        limit = self._queue_timeout
        if limit is None or time.monotonic() - self._began < limit or not _waiting(shot):
            return
        fresh = Tracker(self._scheduler, _LAST_QUERY_SECONDS).snapshot([run])[0]
        if not _waiting(fresh):
            return
        progress.see(fresh)
        raise _failed(run, f"did not leave the queue within {limit:g} s", [], progress)


def has_moved(port: int, addresses: Sequence[str]) -> bool:
    """Say whether a shard is beyond the ports that as many shards on one host have from `port`."""
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    return max(ports) >= port + len(ports)


class Progress:
    """Tells how many shards of a database run: one line a change, none faster than `floor`."""

    def __init__(self, run: Run, log: logging.Logger, floor: float) -> None:
        self._run = run
        self._log = log
        self._floor = floor
        self._told = ""
        self._told_at = time.monotonic()
        self._reasons: dict[int, str] = {}

    def see(self, shot: RunSnapshot) -> None:
        """Take notice of how things stand, and tell it when it is news."""
        waiting = _waiting(shot)
        # What the scheduler said last stays known while it is silent.
        self._reasons = {
            task.index: task.reason or self._reasons.get(task.index, "") for task in waiting
        }
        # A job that has just been submitted mostly starts at once: no reason, nothing to tell.
        known = bool(self._told) or any(self._reasons.values())
        if not known and time.monotonic() - self._told_at < self._floor:
            return
        line = self._line(shot, waiting)
        if line == self._told or (self._told and time.monotonic() - self._told_at < self._floor):
            return
        self._told, self._told_at = line, time.monotonic()
        if line:
            self._log.info(line)

    def _line(self, shot: RunSnapshot, waiting: Sequence[TaskSnapshot]) -> str:
        name, shards = self._run.entity, self._run.elements
        if not waiting:
            some = f"all {shards} shards run" if shards > 1 else "its shard runs"
            return f"database {name}: {some}" if self._told else ""
        reasons = self._why() + (f"; {shot.stale}" if shot.stale else "")
        why = f": {reasons}" if reasons else ""
        if shards == 1:
            return f"database {name} is queued{why}"
        run = shards - len(waiting)
        rest = "the others are" if run else "all are"
        return f"database {name}: {run} of {shards} shards run; {rest} queued{why}"

    def queued(self) -> str:
        """Return which shards were still queued when last seen, and why; empty if none was."""
        if not self._reasons:
            return ""
        numbers = sorted(self._reasons)
        some = "shard" if len(numbers) == 1 else "shards"
        listed = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
        reasons = self._why()
        return f"still queued: {some} {listed}" + (f" ({reasons})" if reasons else "")

    def _why(self) -> str:
        return ", ".join(sorted({reason for reason in self._reasons.values() if reason}))


def _waiting(shot: RunSnapshot) -> list[TaskSnapshot]:
    return [task for task in shot.tasks if task.state in _NOT_BEGUN]


def _failed(run: Run, what: str, causes: Sequence[str], progress: Progress) -> StartFailed:
    told = "; ".join(filter(None, (*causes, progress.queued())))
    logs = Path(run.directory) / "logs"
    return StartFailed(f"database {run.entity} {what}: {told}", f"its logs are in {logs}")
