"""The end of runs: databases are asked to shut down, jobs are cancelled, both are verified.

Stopping what has ended does nothing; stopping twice does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpcorch import rundir, shell
from hpcorch.database import Database
from hpcorch.errors import HpcorchError, SchedulerError
from hpcorch.log import get_logger
from hpcorch.rundir import Journal, Run
from hpcorch.schedulers.base import JobRef, Scheduler
from hpcorch.submit import look_up
from hpcorch.track import RunSnapshot, Tracker

# How long a task may take to end by itself before it is killed, as batch systems do it.
GRACE_SECONDS = 30.0
# How long a server may take to heed SHUTDOWN before its job is cancelled.
SHUTDOWN_SECONDS = 5.0
# How long the death of a killed process may take to be seen, however impatient the caller is.
_DEATH_SECONDS = 10.0
# Somebody waits for the end: the scheduler is asked a little more often than when tracking.
_QUERY_SECONDS = 2.0


def stop(
    runs: Sequence[Run],
    scheduler: Scheduler,
    journal: Journal,
    grace: float = GRACE_SECONDS,
    *,
    known: Sequence[RunSnapshot] | None = None,
) -> list[RunSnapshot]:
    """End `runs`, programs before databases, and return their final states.

    `known` is how they stood a moment ago, in the same order, and spares a query. Raises
    SchedulerError when something is still alive after it was killed or could not be cancelled.
    """
    if known is None or any(run.job is None for run in runs):
        runs = [look_up(run, scheduler) for run in runs]
        known = Tracker(scheduler).snapshot(runs)
    shots = list(known)
    silence = next((shot.stale for shot in shots if shot.stale), "")
    ending = [_marked(shot) for shot in shots if not shot.state.terminal]
    if not ending:
        return shots
    _note(ending, journal)
    marked = {run.token: run for run in ending}
    runs = [marked.get(run.token, run) for run in runs]
    if silence:
        # Every further question would take as long to fail as this one did.
        get_logger("stop").warning("the scheduler could not be asked: %s", silence)
    failures = []
    for kind in ("model", "database"):
        try:
            _stop_kind([run for run in ending if run.kind == kind], scheduler, grace, silence)
        except SchedulerError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return Tracker(scheduler, patient=False, blind=bool(silence)).snapshot(runs)


def _note(ending: Sequence[Run], journal: Journal) -> None:
    """Write the wish down; a full disk must not keep anything alive."""
    try:
        journal.stopping(ending)
    except HpcorchError as error:
        get_logger("stop").warning(error.message)


def _record(run: Run) -> None:
    try:
        rundir.record_never_started(run)
    except HpcorchError as error:
        get_logger("stop").warning(error.message)


def _marked(shot: RunSnapshot) -> Run:
    """Return the run as one whose end is wanted; a task that had ended before keeps its state."""
    ended = tuple(task.index for task in shot.tasks if task.state.terminal)
    return replace(shot.run, stopped=True, ended_before_stop=ended)


def _stop_kind(runs: Sequence[Run], scheduler: Scheduler, grace: float, silence: str) -> None:
    if not runs:
        return
    tracker = Tracker(scheduler, _QUERY_SECONDS, blind=bool(silence))
    asked = False
    for run in runs:
        if run.kind == "database" and run.job is not None:
            asked |= _shut_down(Database(Path(run.directory), run.job.job))
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
        if run.token not in alive:
            _record(run)
    if left:
        names = ", ".join(scheduler.job_label(ref) for ref in left)
        raise SchedulerError(f"these jobs are still alive after they were killed: {names}")


def _cancel(
    refs: Sequence[JobRef], runs: Sequence[Run], scheduler: Scheduler, *, force: bool, silent: bool
) -> None:
    """Cancel jobs; that some have ended is no failure, that nobody answers is one."""
    done = shell.run(scheduler.cancel_command(refs, force=force))
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
    addresses = database.addresses()
    ending = database.shut_down()
    database.unregister(addresses)
    return ending


def _alive(tracker: Tracker, runs: Sequence[Run]) -> list[JobRef]:
    shots = tracker.snapshot(runs)
    return [shot.run.ref for shot in shots if shot.run.ref is not None and not shot.state.terminal]


def _await_end(tracker: Tracker, runs: Sequence[Run], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _alive(tracker, runs) and time.monotonic() < deadline:
        time.sleep(tracker.glance)
