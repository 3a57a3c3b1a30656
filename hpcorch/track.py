"""The state of runs: what the queue says, merged with what the tasks themselves recorded.

A task that is missing from the queue has not therefore ended well, and a query that failed says
nothing: a task is Completed, Failed or Cancelled by its own record, Lost without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcorch import rundir, shell
from hpcorch.errors import SchedulerError
from hpcorch.rundir import ExitRecord, Run
from hpcorch.schedulers.base import JobId, JobRef, QueueReport, Scheduler, TaskState, TaskStatus

# The worst end of any task is the end of its run.
_SEVERITY = (
    TaskState.FAILED,
    TaskState.LOST,
    TaskState.TIMED_OUT,
    TaskState.CANCELLED,
    TaskState.COMPLETED,
)


# What a shell reports for SIGKILL and SIGTERM.
_KILLED = (137, 143)
# Scripts ask their batch system for it shortly before the walltime ends.
_WALLTIME_SIGNAL = "USR1"
# Records are files and cheap to look at; the queue is asked less often (Scheduler.poll_floor).
_GLANCE_SECONDS = 0.05


@dataclass(frozen=True)
class TaskSnapshot:
    """One task: its state, and once it has ended its code, time in seconds and reason."""

    index: int
    state: TaskState
    code: int | None = None
    elapsed: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class RunSnapshot:
    """One run and all its tasks; `stale` tells why the scheduler could not be asked."""

    run: Run
    tasks: tuple[TaskSnapshot, ...]
    stale: str = ""

    @property
    def state(self) -> TaskState:
        """The state of the whole run: the worst end, or how far its tasks have come."""
        states = {task.state for task in self.tasks}
        if all(state.terminal for state in states):
            return next(state for state in _SEVERITY if state in states)
        for state in (TaskState.RUNNING, TaskState.UNKNOWN, TaskState.QUEUED):
            if state in states:
                return state
        return TaskState.NEW

    @property
    def code(self) -> int | None:
        """The highest exit code, None until all tasks have ended."""
        if not self.state.terminal:
            return None
        return max((task.code for task in self.tasks if task.code is not None), default=None)

    @property
    def elapsed(self) -> float:
        """Seconds that the longest task has taken, or since submission while it runs."""
        times = [task.elapsed for task in self.tasks if task.elapsed is not None]
        if self.state.terminal:
            return max(times, default=0.0)
        return max(0.0, time.time() - self.run.submitted_at)

    @property
    def reason(self) -> str:
        """Why the run did not end well: the first cause that is not another task's end."""
        reasons = [task.reason for task in self.tasks if task.reason]
        causes = [text for text in reasons if not _blames_another(text)]
        return (causes or reasons or [""])[0]


def _blames_another(reason: str) -> bool:
    return reason.startswith("shard ") and "ended before" in reason


def merge(
    index: int,
    previous: TaskSnapshot | None,
    queued: TaskStatus | None,
    record: ExitRecord | None,
    *,
    service: bool = False,
    stop_wanted: bool = False,
    gone: bool = False,
) -> TaskSnapshot:
    """Return the state of a task from all sources; a terminal state never changes.

    `service`: the task has no end of its own, so that a clean end was wanted by somebody.
    `stop_wanted`: the task was asked to end, so that being killed is no failure. `gone`: the queue
    answered and does not list the task; without that, absence from the queue means nothing.
    """
    if previous is not None and previous.state.terminal:
        return previous
    if record is not None:
        state = _ended(record, service, stop_wanted)
        return TaskSnapshot(index, state, record.code, record.elapsed, record.reason)
    if queued is not None:
        return TaskSnapshot(index, queued.state, reason=queued.reason)
    if gone and stop_wanted:
        return TaskSnapshot(index, TaskState.CANCELLED, reason="the task was killed")
    if gone:
        reason = "the task is gone and left no exit record"
        return TaskSnapshot(index, TaskState.LOST, reason=reason)
    return previous or TaskSnapshot(index, TaskState.UNKNOWN)


def _ended(record: ExitRecord, service: bool, stop_wanted: bool) -> TaskState:
    if record.signal == _WALLTIME_SIGNAL:
        return TaskState.TIMED_OUT
    if record.signal or (stop_wanted and record.code in _KILLED):
        return TaskState.CANCELLED
    if record.code == 0:
        return TaskState.CANCELLED if service else TaskState.COMPLETED
    return TaskState.FAILED


def wait_for(
    tracker: Tracker, runs: Sequence[Run], each: Callable[[Sequence[RunSnapshot]], None]
) -> list[RunSnapshot]:
    """Wait until all `runs` have ended; `each` sees every snapshot on the way."""
    while True:
        shots = tracker.snapshot(runs)
        each(shots)
        if all(shot.state.terminal for shot in shots):
            return shots
        time.sleep(_GLANCE_SECONDS)


class Tracker:
    """Follows runs with one query for all of them, no more often than the scheduler allows."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._known: dict[tuple[str, int], TaskSnapshot] = {}
        self._missing_since: dict[tuple[str, int], float] = {}
        self._report: QueueReport = {}
        self._asked_for: frozenset[JobId] = frozenset()
        self._asked_at = float("-inf")
        self._failure = ""

    def snapshot(self, runs: Sequence[Run]) -> list[RunSnapshot]:
        """Return the state of `runs`, in their order."""
        self._take_records(runs)
        open_refs = [run.ref for run in runs if run.ref is not None and not self._all_ended(run)]
        asked = bool(open_refs) and self._ask(open_refs)
        return [self._one(run, asked) for run in runs]

    def _take_records(self, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.job is None or self._all_ended(run):
                continue
            records = rundir.exit_records(Path(run.directory), run.job.job)
            for index, record in records.items():
                self._known[run.token, index] = merge(
                    index,
                    self._known.get((run.token, index)),
                    None,
                    record,
                    service=run.kind == "database",
                    stop_wanted=run.stopped,
                )

    def _all_ended(self, run: Run) -> bool:
        known = (self._known.get((run.token, index)) for index in range(run.elements))
        return all(task is not None and task.state.terminal for task in known)

    def _ask(self, refs: Sequence[JobRef]) -> bool:
        """Query the queue unless it was done a moment ago; say whether the answer is fresh."""
        wanted = frozenset(ref.id for ref in refs)
        now = time.monotonic()
        if wanted <= self._asked_for and now - self._asked_at < self._scheduler.poll_floor:
            return False
        self._asked_at, self._asked_for = now, wanted
        try:
            result = shell.run(self._scheduler.queue_command(refs))
            self._report = self._scheduler.parse_queue(result, refs)
        except SchedulerError as error:
            self._failure = error.message
            return False
        self._failure = ""
        return True

    def _one(self, run: Run, asked: bool) -> RunSnapshot:
        if run.job is None:
            state = TaskState.FAILED if run.rejected else TaskState.UNKNOWN
            reason = "the scheduler refused the job" if run.rejected else "submission unfinished"
            return RunSnapshot(run, (TaskSnapshot(0, state, reason=reason),))
        if asked and not self._all_ended(run):
            # A task writes its record before it leaves the queue: look again after asking.
            self._take_records([run])
        started = rundir.started_tasks(Path(run.directory), run.job.job) if not asked else set()
        tasks = tuple(
            self._task(run, run.job, index, asked, index in started)
            for index in range(run.elements)
        )
        return RunSnapshot(run, tasks, self._failure)

    def _task(self, run: Run, job: JobId, index: int, asked: bool, started: bool) -> TaskSnapshot:
        key = (run.token, index)
        queued = self._report.get((job, index))
        known = self._known.get(key)
        if queued is None and started and known is None:
            queued = TaskStatus(TaskState.RUNNING)
        gone = asked and queued is None and self._is_overdue(key)
        if queued is not None:
            self._missing_since.pop(key, None)
        task = merge(index, known, queued, None, stop_wanted=run.stopped, gone=gone)
        if task.state is not TaskState.UNKNOWN:
            self._known[key] = task
        return task

    def _is_overdue(self, key: tuple[str, int]) -> bool:
        now = time.monotonic()
        return now - self._missing_since.setdefault(key, now) >= self._scheduler.record_grace
