"""Asks how runs stand: the queue, the accounting, and what the tasks themselves recorded.

A task that is missing from the queue has not therefore ended well, and a query that failed says
nothing: a task is Completed, Failed or Cancelled by its own record, Lost without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpcorch import pastruns, rundir, shell
from hpcorch.errors import SchedulerError
from hpcorch.journal import Part, Run, this_host
from hpcorch.pollcache import Answer, PollCache
from hpcorch.rundir import ExitRecord
from hpcorch.schedulers.base import (
    Command,
    JobId,
    JobRef,
    QueueReport,
    Scheduler,
    TaskState,
    TaskStatus,
)
from hpcorch.snapshots import RunSnapshot, TaskSnapshot, begun_since, merge

# Records are files and cheaper to look at than the queue (Scheduler.poll_floor), but a shared file
# system is not asked as often as a local one.
_LOCAL_GLANCE, _SHARED_GLANCE = 0.05, 0.5


def glance_seconds(scheduler: Scheduler) -> float:
    """Return how often the records of running tasks may be looked at."""
    return _SHARED_GLANCE if scheduler.is_batch else _LOCAL_GLANCE


def wait_for(
    tracker: Tracker,
    runs: Sequence[Run],
    each: Callable[[Sequence[RunSnapshot]], None],
    interval: float = 0.0,
) -> list[RunSnapshot]:
    """Wait until all `runs` have ended; `each` sees a snapshot every `interval` seconds."""
    while True:
        shots = tracker.snapshot(runs)
        each(shots)
        if all(shot.state.terminal for shot in shots):
            return shots
        time.sleep(max(tracker.glance, interval))


def _by_own_word(run: Run) -> Run:
    """Return `run` with the job that it names itself, if its driver died before it wrote that down.

    A run of several jobs names none of them.
    """
    part = run.parts[0]
    if len(run.parts) > 1 or part.job is not None or part.rejected:
        return run
    job = rundir.job_of_token(Path(run.directory), part.token)
    return run if job is None else run.with_part(replace(part, job=job))


class Tracker:
    """Follows runs with one query for all of them, no more often than the scheduler allows.

    `poll_seconds` may shorten the scheduler's own poll_floor for a moment. A tracker that looks
    only once is not `patient`: it takes the word of the scheduler for tasks that have no record.
    `cache` is the directory by which processes share a batch system's answers. A `blind` one never
    asks the scheduler and knows only what the tasks themselves recorded. What is a process of
    another machine and has left no record is Unknown here, or with `near_only` taken to be gone.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        poll_seconds: float | None = None,
        *,
        patient: bool = True,
        cache: Path | None = None,
        blind: bool = False,
        near_only: bool = False,
    ) -> None:
        self._blind = blind
        self._near_only = near_only
        self._scheduler = scheduler
        self._patient = patient
        floor = scheduler.poll_floor
        self._floor = floor if poll_seconds is None else min(floor, poll_seconds)
        self.glance = glance_seconds(scheduler)
        self._cache = PollCache(cache if scheduler.is_batch else None)
        self._known: dict[tuple[str, int], TaskSnapshot] = {}
        self._ended: dict[str, set[int]] = {}
        self._begun: dict[str, set[int]] = {}
        self._missing_since: dict[tuple[str, int], float] = {}
        self._asked_for: frozenset[JobId] = frozenset()
        self._asked_at = float("-inf")
        # Whether the last answer was that of another process, given a while ago.
        self._outdated = False
        self._failure = ""

    def snapshot(self, runs: Sequence[Run]) -> list[RunSnapshot]:
        """Return the state of `runs`, in their order."""
        runs = [_by_own_word(run) for run in runs]
        # A task writes its record before it leaves the queue, so records are read after asking;
        # reading them before as well saves the question when everything has ended.
        self._update(runs, None)
        open_parts = self._open_parts(runs)
        if open_parts and self._may_ask(list(open_parts)):
            self._update(runs, self._ask(open_parts))
        return [self._one(run) for run in runs]

    def has_ended(self, run: Run) -> bool:
        """Whether all tasks of a run had ended when it was last looked at; nobody is asked."""
        return len(self._ended.get(run.token, ())) == len(run.numbers)

    def _open_parts(self, runs: Iterable[Run]) -> dict[JobRef, tuple[int, ...]]:
        """Return the jobs that have not ended, with their living elements."""
        found = {}
        for run in runs:
            ended = self._ended[run.token]
            for part, numbers in () if self.has_ended(run) else run.by_part():
                alive = run.elements_of(number not in ended for number in numbers)
                if part.job is not None and alive:
                    found[JobRef(part.job, part.token, part.elements, run.gang)] = alive
        return found

    def _may_ask(self, refs: Sequence[JobRef]) -> bool:
        if self._blind:
            return False
        wanted = frozenset(ref.id for ref in refs)
        now = time.monotonic()
        if wanted <= self._asked_for and now - self._asked_at < self._floor:
            return False
        self._asked_at, self._asked_for = now, wanted
        return True

    def _ask(self, open_parts: Mapping[JobRef, Sequence[int]]) -> QueueReport | None:
        """Ask the queue, and the accounting about what left it; None if the queue is silent."""
        refs = list(open_parts)
        try:
            answer = self._answer("queue", self._scheduler.queue_command(refs), refs)
            report = dict(self._scheduler.parse_queue(answer.result, refs))
        except SchedulerError as error:
            self._failure = error.message
            self._asked_at = time.monotonic()
            return None
        self._failure = ""
        self._asked_at = time.monotonic() - answer.age
        self._outdated = answer.age > 0
        missing = [
            ref
            for ref, places in open_parts.items()
            if any((ref.id, place) not in report for place in places)
        ]
        return {**self._ask_history(missing), **report} if missing else report

    def _ask_history(self, refs: Sequence[JobRef]) -> QueueReport:
        """Ask the accounting; while it does not answer, what the queue misses stays as it was."""
        command = self._scheduler.history_command(refs)
        if command is None:
            return {}
        try:
            return self._scheduler.parse_history(
                self._answer("history", command, refs).result, refs
            )
        except SchedulerError as error:
            self._failure = error.message
            silence = TaskStatus(TaskState.UNKNOWN, "UNKNOWN", reason="the accounting is silent")
            return {(ref.id, index): silence for ref in refs for index in range(ref.elements)}

    def _answer(self, query: str, command: Command, refs: Sequence[JobRef]) -> Answer:
        jobs = [f"{ref.id.job};{ref.id.cluster}" for ref in refs]
        name = f"{self._scheduler.name}-{query}"
        return self._cache.answer(name, jobs, self._floor, lambda: shell.run(command))

    def _update(self, runs: Iterable[Run], report: QueueReport | None) -> None:
        for run in runs:
            if self.has_ended(run):
                continue
            directory = Path(run.directory)
            fresh = run.token not in self._ended
            ended = self._ended.setdefault(run.token, set())
            # Of a loop's many earlier runs no directory needs to be read.
            if fresh and self._take_noted(run, {}, sure=True):
                continue
            begun = self._begun.setdefault(run.token, set())
            records = rundir.exit_records(directory, run.mark, ended)
            begun |= rundir.started_tasks(directory, run.mark, begun)
            # A later run removes the records after it has noted this, so this is looked at last.
            self._take_noted(run, records)
            for part, numbers in run.by_part():
                for place, index in enumerate(numbers):
                    if index in ended:
                        continue
                    if part.job is None:
                        self._note_unsubmitted(run, part, index)
                        continue
                    started = index in begun
                    element = place // run.per_element
                    native = None if report is None else report.get((part.job, element))
                    if report is None and started:
                        native = self._first_sign(run, index)
                    elif native is not None and started and self._outdated:
                        native = begun_since(native)
                    asked = report is not None
                    self._settle(run, index, native, records.get(index), asked=asked, begun=started)

    def _take_noted(
        self, run: Run, records: Mapping[int, ExitRecord], *, sure: bool = False
    ) -> bool:
        """Take what was noted of tasks without a record; say whether the run has ended by that.

        `sure`: only if no task was given up, whose record may still have come.
        """
        noted = pastruns.noted(run.directory, run.token)
        if not sure or all(task.state is not TaskState.LOST for task in noted):
            for task in noted:
                if task.index not in records and task.index not in self._ended[run.token]:
                    self._keep(run, task)
        return self.has_ended(run)

    def _note_unsubmitted(self, run: Run, part: Part, index: int) -> None:
        state, reason = TaskState.UNKNOWN, "submission unfinished"
        if part.rejected:
            state, reason = TaskState.FAILED, part.refusal or "the scheduler refused the job"
        self._keep(run, TaskSnapshot(index, state, reason=reason))

    def _keep(self, run: Run, task: TaskSnapshot) -> None:
        self._known[run.token, task.index] = task
        if task.state.terminal:
            self._ended[run.token].add(task.index)

    def _first_sign(self, run: Run, index: int) -> TaskStatus | None:
        """Take a task's mark that it has begun for RUNNING while the queue was not asked yet."""
        known = self._known.get((run.token, index))
        waiting = known is None or known.state in (TaskState.UNKNOWN, TaskState.QUEUED)
        return TaskStatus(TaskState.RUNNING) if waiting else None

    def _settle(
        self,
        run: Run,
        index: int,
        native: TaskStatus | None,
        record: ExitRecord | None,
        *,
        asked: bool,
        begun: bool,
    ) -> None:
        key = (run.token, index)
        stop_wanted = run.stop_wanted(index)
        unseen = asked and native is None and record is None and not self._near_only
        if unseen and run.elsewhere:
            there = f"it is a process of {run.elsewhere}, and this is {this_host()}"
            native = TaskStatus(TaskState.RUNNING if begun else TaskState.UNKNOWN, reason=there)
        ended = native is None or (native.state.terminal and native.code is None)
        gone = asked and ended
        # A task that the scheduler ended before it began will never write a record.
        awaited = record is None and not stop_wanted and (begun or native is None)
        if gone and awaited and self._patient and not self._is_overdue(key):
            # The record may still be on its way through a network file system.
            gone, native = False, None
        elif gone and awaited and not begun and self._scheduler.is_batch:
            native = TaskStatus(TaskState.CANCELLED, "it left the queue before it began")
        elif asked and not ended:
            self._missing_since.pop(key, None)
        merged = merge(
            index,
            self._known.get(key),
            native,
            record,
            service=run.kind == "database",
            stop_wanted=stop_wanted,
            gone=gone,
        )
        self._keep(run, merged)

    def _is_overdue(self, key: tuple[str, int]) -> bool:
        now = time.monotonic()
        return now - self._missing_since.setdefault(key, now) >= self._scheduler.record_grace

    def _one(self, run: Run) -> RunSnapshot:
        tasks = tuple(self._known[run.token, index] for index in sorted(run.numbers))
        return RunSnapshot(run, tasks, self._failure)
