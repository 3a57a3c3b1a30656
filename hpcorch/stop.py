"""The end of runs: databases are asked to shut down, jobs are cancelled, both are verified.

Stopping what has ended does nothing; stopping twice does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from hpcorch import rundir, shell
from hpcorch.database import Database
from hpcorch.errors import HpcorchError, SchedulerError
from hpcorch.journal import Journal, Run, this_host
from hpcorch.log import get_logger
from hpcorch.schedulers.base import JobRef, Scheduler
from hpcorch.snapshots import RunSnapshot
from hpcorch.submit import look_up
from hpcorch.track import Tracker, glance_seconds

# How long a task may take to end by itself before it is killed, as batch systems do it.
GRACE_SECONDS = 30.0
# How long a server may take to heed SHUTDOWN before its job is cancelled.
SHUTDOWN_SECONDS = 5.0
# How long the death of a killed process may take to be seen, however impatient the caller is.
_DEATH_SECONDS = 10.0
# How long the shell that started a job's tasks may take to end after the last of them.
_DEPARTURE_SECONDS = 5.0
# Somebody waits for the end: the scheduler is asked a little more often than when tracking.
_QUERY_SECONDS = 2.0


def stop(
    runs: Sequence[Run],
    scheduler: Scheduler,
    journal: Journal,
    grace: float = GRACE_SECONDS,
    *,
    known: Sequence[RunSnapshot] | None = None,
    only: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> list[RunSnapshot]:
    """End `runs`, programs before databases, and return their final states.

    `known` is how they stood a moment ago, in the same order, and spares a query. Of a run whose
    token is in `only`, the tasks of these numbers are ended and the others go on. Raises
    SchedulerError when something is still alive after it was killed or could not be cancelled.
    """
    if known is None or any(not run.settled for run in runs):
        runs = [look_up(run, scheduler) for run in runs]
        known = Tracker(scheduler).snapshot(runs)
    shots = list(known)
    silence = next((shot.stale for shot in shots if shot.stale), "")
    ending = [_marked(shot, only.get(shot.run.token)) for shot in shots if _is_alive(shot, only)]
    if not ending:
        return shots
    # What can be seen on its own machine only; its address may be that of another database here.
    far = [run for run in ending if run.elsewhere]
    ending = [run for run in ending if not run.elsewhere]
    if ending:
        _note(ending, journal)
    marked = {run.token: run for run in ending}
    runs = [marked.get(run.token, run) for run in runs]
    if silence:
        # Every further question would take as long to fail as this one did.
        get_logger("stop").warning("the scheduler could not be asked: %s", silence)
    failures = _out_of_reach(far, scheduler)
    for services in (False, True):
        kind = [run for run in ending if run.is_service == services]
        try:
            _stop_kind(kind, scheduler, grace, silence)
        except SchedulerError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return Tracker(scheduler, patient=False, blind=bool(silence)).snapshot(runs)


def _is_alive(shot: RunSnapshot, only: Mapping[str, Collection[int]]) -> bool:
    numbers = only.get(shot.run.token)
    wanted = (task for task in shot.tasks if numbers is None or task.index in numbers)
    return any(not task.state.terminal for task in wanted)


def _note(ending: Sequence[Run], journal: Journal) -> None:
    """Write the wish down; a full disk must not keep anything alive."""
    try:
        journal.stopping(ending)
    except HpcorchError as error:
        get_logger("stop").warning(error.message)


def _record(run: Run) -> None:
    if run.job is None:
        return
    wanted = [number for number in run.numbers if run.stopped or number in run.stopped_tasks]
    try:
        rundir.record_never_started(Path(run.directory), run.mark, wanted)
    except HpcorchError as error:
        get_logger("stop").warning(error.message)


def _keep_from_starting(runs: Sequence[Run]) -> None:
    """Write the records of waiting tasks that were stopped alone: where nothing queues, that is it.

    Whoever starts the tasks looks for their records.
    """
    for run in runs:
        if not run.stopped:
            _record(run)


def _marked(shot: RunSnapshot, numbers: Collection[int] | None) -> Run:
    """Return the run as one whose end is wanted; a task that had ended before keeps its state."""
    run = shot.run
    if numbers is not None:
        living = {task.index for task in shot.tasks if not task.state.terminal} & {*numbers}
        return replace(run, stopped_tasks=run.stopped_tasks | living)
    ended = {task.index for task in shot.tasks if task.state.terminal} - run.stopped_tasks
    return replace(run, stopped=True, ended_before_stop=tuple(sorted(ended)))


def _stop_kind(runs: Sequence[Run], scheduler: Scheduler, grace: float, silence: str) -> None:
    if not runs:
        return
    tracker = Tracker(scheduler, _QUERY_SECONDS, blind=bool(silence))
    asked = False
    for run in runs:
        if run.is_service and run.job is not None:
            asked |= _shut_down(Database(Path(run.directory), run.mark))
    if asked:
        _await_end(tracker, runs, SHUTDOWN_SECONDS)
    for force, patience in ((False, grace), (True, max(grace, _DEATH_SECONDS))):
        refs = _alive(tracker, runs)
        if refs:
            _cancel(refs, runs, scheduler, force=force, silent=bool(silence))
            if silence:
                # It has answered now.
                tracker, silence = Tracker(scheduler, _QUERY_SECONDS), ""
            _await_end(tracker, runs, patience)
    left = _alive(tracker, runs)
    alive = {ref.token for ref in left}
    for run in runs:
        if all(part.token not in alive for part in run.parts):
            _record(run)
    if left:
        names = ", ".join(scheduler.job_label(ref) for ref in left)
        raise SchedulerError(f"these jobs are still alive after they were killed: {names}")
    _await_departure(scheduler, [run for run in runs if run.stopped])


def _out_of_reach(far: Sequence[Run], scheduler: Scheduler) -> list[SchedulerError]:
    """Return what is to be said of runs that are processes of other machines."""
    return [
        SchedulerError(
            f"{run.entity} is the job {scheduler.job_label(run.refs()[0])} of {run.elsewhere}, and "
            f"this is {this_host()}",
            f"stop it on {run.elsewhere}",
        )
        for run in far
    ]


def _cancel(
    refs: Sequence[JobRef], runs: Sequence[Run], scheduler: Scheduler, *, force: bool, silent: bool
) -> None:
    """Cancel jobs; that some have ended is no failure, that nobody answers is one."""
    done = shell.run(scheduler.cancel_command(refs, force=force))
    if not scheduler.is_batch:
        _keep_from_starting(runs)
    if done.code == 0:
        return
    if not silent and not any(shot.stale for shot in Tracker(scheduler).snapshot(runs)):
        return
    names = ", ".join(scheduler.job_label(ref) for ref in refs)
    said = "; ".join((done.err or done.out).split("\n")).strip("; ")
    raise SchedulerError(
        f"the scheduler does not answer: these jobs could not be cancelled: {names} ({said})",
        "say it again when it does",
    )


def _shut_down(database: Database) -> bool:
    """Ask the shards to end; say whether they will."""
    if not database.is_published():
        return False
    try:
        addresses = database.addresses()
        ending = database.shut_down()
    except HpcorchError as error:
        # It has just taken its address back, or its files are damaged: its job is cancelled then.
        get_logger("stop").warning(error.message)
        return False
    database.unregister(addresses)
    return ending


def _alive(tracker: Tracker, runs: Sequence[Run]) -> list[JobRef]:
    """Return the jobs to end: whole ones, or of them the tasks whose end is wanted."""
    found: list[JobRef] = []
    for shot in tracker.snapshot(runs):
        wanted = {
            task.index
            for task in shot.tasks
            if not task.state.terminal and shot.run.stop_wanted(task.index)
        }
        refs = shot.run.refs(wanted)
        found += [replace(ref, only=()) for ref in refs] if shot.run.stopped else refs
    return found


def _await_end(tracker: Tracker, runs: Sequence[Run], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _alive(tracker, runs) and time.monotonic() < deadline:
        time.sleep(tracker.glance)


def _await_departure(scheduler: Scheduler, runs: Sequence[Run]) -> None:
    """Wait a little for what started local tasks to be gone as well: it writes until its end."""
    refs = [] if scheduler.is_batch else [ref for run in runs for ref in run.refs()]
    deadline = time.monotonic() + _DEPARTURE_SECONDS
    while refs and time.monotonic() < deadline:
        answer = shell.run(scheduler.queue_command(refs))
        if not (answer.code == 0 and scheduler.parse_queue(answer, refs)):
            return
        # Nothing tells when a process of somebody else's session has ended.
        time.sleep(glance_seconds(scheduler))
