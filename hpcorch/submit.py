"""Submission: the intent is written first, every call is made once, its outcome is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpcorch import rundir, shell
from hpcorch.errors import CommandFailed, CommandTimeout, SchedulerError, SubmitAmbiguous
from hpcorch.journal import Journal, Part, Run, this_host
from hpcorch.plan import DatabaseJob, Job, Plan
from hpcorch.render import Script
from hpcorch.schedulers.base import JobId, Scheduler, Submittable


@dataclass(frozen=True)
class Built:
    """A plan and the scripts of its jobs."""

    plan: Plan
    scripts: tuple[Script, ...]

    @property
    def job(self) -> Job:
        """The first job, which stands for all in everything but its share of the tasks."""
        return self.plan.jobs[0]

    @property
    def script(self) -> Script:
        """The first job's script."""
        return self.scripts[0]


def place(built: Built, scheduler: Scheduler) -> None:
    """Make the run directory ready and put the scripts there; nothing is submitted."""
    job = built.job
    plan = built.plan
    rundir.prepare(Path(job.run_dir), job.name, job.elements, plan.indices if plan.again else ())
    furnish(built)
    first = Path(job.run_dir) / scheduler.script_name
    rundir.write_scripts(first, [script.text for script in built.scripts])
    rundir.remove_scripts(first, len(built.scripts))


def furnish(built: Built) -> None:
    """Put what the scripts need besides themselves into the run directory: tables and models."""
    plan, run_dir = built.plan, Path(built.job.run_dir)
    if plan.table:
        rundir.make_private(run_dir)
        names = () if plan.again else plan.names
        rundir.write_table(run_dir, plan.table, names, plan.file_lists)
    for path, data in {file.path: file.data for item in plan.jobs for file in item.files}.items():
        rundir.make_private((run_dir / path).parent)
        rundir.write_bytes(run_dir / path, data)


def submit(built: Built, scheduler: Scheduler, journal: Journal, run_id: int) -> Run:
    """Submit all jobs and return their run; raises CommandFailed, or SubmitAmbiguous if unknown.

    When a call breaks off, the job's token is looked up, so that no job is submitted twice. When
    one fails, the journal tells which jobs were accepted before it.
    """
    job = built.job
    place(built, scheduler)
    run = Run(
        entity=job.name,
        kind=job.kind,
        directory=job.run_dir,
        elements=job.elements,
        run_id=run_id,
        token=job.token,
        scheduler=scheduler.name,
        submitted_at=0.0,
        parts=tuple(_part(item) for item in built.plan.jobs),
        gang=job.gang,
        indices=built.plan.indices,
        again=built.plan.again,
        per_element=job.shards_per_element if isinstance(job, DatabaseJob) else 1,
    )
    journal.intend(run)
    for item, part in zip(built.plan.jobs, run.parts, strict=True):
        try:
            job_id = _call(_request(item, part, scheduler), scheduler)
            accepted = replace(part, job=job_id, host=_host(scheduler))
        except CommandFailed as error:
            for left in run.parts[item.chunk.part :]:
                journal.rejected(left, error.message)
            raise
        journal.submitted(accepted)
        run = run.with_part(accepted)
    return run


def _host(scheduler: Scheduler) -> str:
    """Return the machine of which a new job is a process, nothing for a batch system's."""
    return "" if scheduler.is_batch else this_host()


def _part(job: Job) -> Part:
    return Part(job.resources.token, job.elements if job.gang else job.resources.elements)


def _request(job: Job, part: Part, scheduler: Scheduler) -> Submittable:
    first = Path(job.run_dir) / scheduler.script_name
    return Submittable(
        name=job.name,
        token=part.token,
        script_path=str(rundir.script_file(first, job.chunk.part)),
        log_path=str(Path(job.run_dir) / "logs" / "job.log"),
        is_array=part.elements > 1 and not job.gang,
    )


def look_up(run: Run, scheduler: Scheduler) -> Run:
    """Return `run` with its jobs if a driver died between submitting one and writing its id."""
    for part in run.parts:
        if part.job is None and not part.rejected:
            asked = shell.run(scheduler.find_command(run.entity, part.token))
            found = scheduler.parse_find(asked, part.token)
            # A job that has ended already is in no queue, but it has left its id.
            job = found or rundir.job_of_token(Path(run.directory), part.token)
            host = _host(scheduler) if found else ""
            run = run.with_part(replace(part, job=job, host=host))
    return run


def note_found(before: Run, after: Run, journal: Journal) -> None:
    """Write down the jobs that looking up has found; raises StorageError."""
    for old, new in zip(before.parts, after.parts, strict=True):
        if new is not old and new.job is not None:
            journal.submitted(new)


def recover(runs: Sequence[Run], scheduler: Scheduler, journal: Journal) -> list[Run]:
    """Settle submissions that a dead driver left open; the caller holds the journal's lock."""
    settled = []
    for run in runs:
        known = look_up(run, scheduler)
        note_found(run, known, journal)
        for part in known.parts:
            if part.job is None and not part.rejected:
                why = "the driver ended before the job was accepted"
                journal.rejected(part, why)
                known = known.with_part(replace(part, rejected=True, refusal=why))
        settled.append(known)
    return settled


def _call(request: Submittable, scheduler: Scheduler) -> JobId:
    try:
        command = replace(scheduler.submit_command(request), own_locale=True)
        return scheduler.parse_submit(shell.run(command))
    except (CommandTimeout, SubmitAmbiguous) as error:
        found = _find(request, scheduler, error) or _own_word(request)
        if found is not None:
            return found
        raise _unknown(request, error) from error


def _find(request: Submittable, scheduler: Scheduler, cause: SchedulerError) -> JobId | None:
    try:
        asked = shell.run(scheduler.find_command(request.name, request.token))
        return scheduler.parse_find(asked, request.token)
    except SchedulerError as error:
        raise _unknown(request, cause) from error


def _own_word(request: Submittable) -> JobId | None:
    return rundir.job_of_token(Path(request.script_path).parent, request.token)


def _unknown(request: Submittable, cause: SchedulerError) -> SubmitAmbiguous:
    return SubmitAmbiguous(
        f"it is unknown whether the job {request.name} was accepted: {cause.message}",
        f"look for a job with the token {request.token} before you submit it again",
    )
