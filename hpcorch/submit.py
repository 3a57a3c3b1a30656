"""Submission: the intent is written first, the call is made once, its outcome is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpcorch import rundir, shell
from hpcorch.errors import CommandFailed, CommandTimeout, SchedulerError, SubmitAmbiguous
from hpcorch.plan import Job
from hpcorch.render import Script
from hpcorch.rundir import Journal, Run
from hpcorch.schedulers.base import JobId, Scheduler, Submittable


def place(job: Job, script: Script, scheduler: Scheduler) -> None:
    """Make the run directory ready and put the script there; nothing is submitted."""
    directory = Path(job.run_dir)
    rundir.prepare(directory, job.name, job.elements)
    for file in job.files:
        rundir.make_private((directory / file.path).parent)
        rundir.write_bytes(directory / file.path, file.data)
    rundir.write_whole(directory / scheduler.script_name, script.text, 0o700)


def submit(job: Job, script: Script, scheduler: Scheduler, journal: Journal, run_id: int) -> Run:
    """Submit `job` and return its run; raises CommandFailed, or SubmitAmbiguous if unknown.

    When the call breaks off, the job's token is looked up, so that no job is submitted twice.
    """
    directory = Path(job.run_dir)
    place(job, script, scheduler)
    run = Run(
        entity=job.name,
        kind=job.kind,
        directory=job.run_dir,
        elements=job.elements,
        run_id=run_id,
        token=job.token,
        scheduler=scheduler.name,
        submitted_at=0.0,
        gang=job.gang,
    )
    journal.intend(run)
    request = Submittable(
        name=job.name,
        token=job.token,
        script_path=str(directory / scheduler.script_name),
        log_path=str(directory / "logs" / "job.log"),
        is_array=job.elements > 1 and not job.gang,
    )
    try:
        run = replace(run, job=_call(request, scheduler))
    except CommandFailed as error:
        journal.rejected(run, error.message)
        raise
    journal.submitted(run)
    return run


def look_up(run: Run, scheduler: Scheduler) -> Run:
    """Return `run` with its job if a driver died between submitting it and writing its id."""
    if run.job is not None or run.rejected:
        return run
    asked = shell.run(scheduler.find_command(run.entity, run.token))
    found = scheduler.parse_find(asked, run.token)
    return replace(run, job=found)


def recover(runs: Sequence[Run], scheduler: Scheduler, journal: Journal) -> list[Run]:
    """Settle submissions that a dead driver left open; the caller holds the journal's lock."""
    settled = []
    for run in runs:
        known = look_up(run, scheduler)
        if known.job is None and not known.rejected:
            journal.rejected(run, "the driver ended before the job was accepted")
            known = replace(run, rejected=True)
        elif known is not run:
            journal.submitted(known)
        settled.append(known)
    return settled


def _call(request: Submittable, scheduler: Scheduler) -> JobId:
    try:
        return scheduler.parse_submit(shell.run(scheduler.submit_command(request)))
    except (CommandTimeout, SubmitAmbiguous) as error:
        found = _find(request, scheduler, error)
        if found is not None:
            return found
        raise _unknown(request, error) from error


def _find(request: Submittable, scheduler: Scheduler, cause: SchedulerError) -> JobId | None:
    try:
        asked = shell.run(scheduler.find_command(request.name, request.token))
        return scheduler.parse_find(asked, request.token)
    except SchedulerError as error:
        raise _unknown(request, cause) from error


def _unknown(request: Submittable, cause: SchedulerError) -> SubmitAmbiguous:
    return SubmitAmbiguous(
        f"it is unknown whether the job {request.name} was accepted: {cause.message}",
        f"look for a job with the token {request.token} before you submit it again",
    )
