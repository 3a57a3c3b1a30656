"""How runs and their tasks stand: one state from all sources. Nothing here asks anybody."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hpcorch.journal import Run
from hpcorch.rundir import ExitRecord
from hpcorch.schedulers.base import TaskState, TaskStatus

# The worst end of any task is the end of its run.
_SEVERITY = (
    TaskState.FAILED,
    TaskState.LOST,
    TaskState.TIMED_OUT,
    TaskState.CANCELLED,
    TaskState.COMPLETED,
)


_TASK_WORDS = {"database": "shard", "ensemble": "member"}
# What a shell reports for SIGKILL and SIGTERM.
_KILLED = (137, 143)
# Scripts ask their batch system for it shortly before the walltime ends.
_WALLTIME_SIGNAL = "USR1"
_TIME_IS_OVER = "its walltime was over"


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
        if self.run.kind == "ensemble" and any(state.terminal for state in states):
            return TaskState.RUNNING
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
        told = [task for task in self.tasks if task.reason and task.state.terminal]
        told = told or [task for task in self.tasks if task.reason]
        causes = [task for task in told if not _blames_another(task.reason)]
        for task in causes or told:
            return f"{self._label(task)}{task.reason}"
        return ""

    def _label(self, task: TaskSnapshot) -> str:
        if len(self.tasks) == 1:
            return ""
        return f"{_TASK_WORDS.get(self.run.kind, 'task')} {task.index}: "


def fold(shots: Iterable[RunSnapshot]) -> list[RunSnapshot]:
    """Put runs of an ensemble's failed members together with the run that they complete.

    What an earlier run says of other members still holds.
    """
    folded: list[RunSnapshot] = []
    for shot in shots:
        if not shot.run.again:
            folded.append(shot)
            continue
        earlier = [old for old in folded if old.run.directory == shot.run.directory][-1:]
        tasks = {task.index: task for old in (*earlier, shot) for task in old.tasks}
        folded = [old for old in folded if old not in earlier]
        folded.append(replace(shot, tasks=tuple(tasks[index] for index in sorted(tasks))))
    return folded


def _blames_another(reason: str) -> bool:
    return reason.startswith("shard ") and "ended before" in reason


def merge(
    index: int,
    previous: TaskSnapshot | None,
    native: TaskStatus | None,
    record: ExitRecord | None,
    *,
    service: bool = False,
    stop_wanted: bool = False,
    gone: bool = False,
) -> TaskSnapshot:
    """Return the state of a task from all sources; a terminal state never changes.

    `native` is what the scheduler says now. `service`: the task has no end of its own, so that a
    clean end was wanted by somebody. `stop_wanted`: the task was asked to end, so that being killed
    is no failure. `gone`: the scheduler answered and does not know the task; without that, absence
    means nothing.
    """
    if previous is not None and previous.state.terminal:
        return previous
    if record is not None and _is_final(record, native, stop_wanted=stop_wanted, gone=gone):
        state = _ended(record, native, service=service, stop_wanted=stop_wanted)
        reason = record.reason or (_TIME_IS_OVER if state is TaskState.TIMED_OUT else "")
        return TaskSnapshot(index, state, record.code, record.elapsed, reason)
    if native is not None and native.state is TaskState.UNKNOWN and previous is not None:
        return previous
    if native is not None:
        ended = native.state.terminal
        state = TaskState.CANCELLED if ended and stop_wanted else native.state
        return TaskSnapshot(
            index, state, native.code, reason=_words(native) if ended else native.reason
        )
    if gone:
        state = TaskState.CANCELLED if stop_wanted else TaskState.LOST
        return TaskSnapshot(index, state, reason="the task is gone and left no exit record")
    return previous or TaskSnapshot(index, TaskState.UNKNOWN)


def begun_since(native: TaskStatus) -> TaskStatus:
    """Correct what the queue said a while ago of a task that has begun meanwhile."""
    return TaskStatus(TaskState.RUNNING) if native.state is TaskState.QUEUED else native


def _words(native: TaskStatus) -> str:
    """Return what is known of the end of a task that has told nothing itself."""
    detail = f" ({native.reason})" if native.reason and native.reason != native.native else ""
    return f"{native.native.lower()}{detail}, and the task left no exit record"


def _is_final(
    record: ExitRecord, native: TaskStatus | None, *, stop_wanted: bool, gone: bool
) -> bool:
    """Say whether the task that wrote `record` will not run again.

    A task that was sent a signal may have been put back into the queue: only the scheduler knows.
    """
    if not record.signal or stop_wanted or gone or record.signal == _WALLTIME_SIGNAL:
        return True
    return native is not None and native.state.terminal


def _ended(
    record: ExitRecord, native: TaskStatus | None, *, service: bool, stop_wanted: bool
) -> TaskState:
    if record.signal == _WALLTIME_SIGNAL or (native and native.state is TaskState.TIMED_OUT):
        return TaskState.TIMED_OUT
    if record.signal or (stop_wanted and record.code in _KILLED):
        return TaskState.CANCELLED
    # The signal reaches tasks one after the other; one may see another's end before it comes.
    if stop_wanted and _blames_another(record.reason):
        return TaskState.CANCELLED
    if record.code == 0:
        return TaskState.CANCELLED if service else TaskState.COMPLETED
    return TaskState.FAILED
