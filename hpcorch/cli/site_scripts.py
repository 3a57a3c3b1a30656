"""Job scripts of every kind, made for one site and looked at; nothing is submitted."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hpcorch import rundir, shell
from hpcorch.cli.finding import Finding
from hpcorch.cli.script_check import new_complaints, traced
from hpcorch.cli.template_check import check_directories, missing
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import HpcorchError
from hpcorch.rehearse import Rehearsal, rehearsals, render
from hpcorch.schedulers.base import Scheduler, Submittable
from hpcorch.sites import Site, template_dirs


def check_scripts(scheduler: Scheduler, site: Site, batch: BatchSettings) -> Iterator[Finding]:
    """Lint the site's templates, then make and look at a script of every kind."""
    dirs = template_dirs(site, os.environ)
    for folder in dirs:
        yield _check_templates(folder, site)
    for item in rehearsals(scheduler.name, site, batch):
        yield _check_script(item, scheduler, dirs)


def _check_templates(folder: str, site: Site) -> Finding:
    refusal = missing(folder, site)
    if refusal is not None:
        return Finding("templates", "fail", refusal.message, refusal.hint)
    problems = check_directories([Path(folder)], site, ())
    faults = [problem for problem in problems if problem.fault]
    if not problems:
        return Finding("templates", "ok", folder)
    first = (faults or problems)[0]
    others = f" (and {len(problems) - 1} more)" if problems[1:] else ""
    cure = f"hpcorch template lint {shlex.quote(folder)}"
    detail = f"{first.place}: {first.message}{others}"
    return Finding("templates", "fail" if faults else "warn", detail, cure)


def _check_script(item: Rehearsal, scheduler: Scheduler, dirs: tuple[str, ...]) -> Finding:
    try:
        text = render(item, scheduler.name, dirs).text
        complaints = new_complaints(item, scheduler.name, text)
        if complaints:
            first = traced(complaints[0], "script", dirs)
            others = f" (and {len(complaints) - 1} more)" if complaints[1:] else ""
            detail = f"{first.place}: {first.message}{others}"
            cure = f"hpcorch template lint --scheduler {scheduler.name}"
            return Finding(item.title, "fail", detail, cure)
        said = _try(item, scheduler, text)
    except HpcorchError as error:
        return Finding(item.title, "fail", error.message, error.hint)
    return Finding(item.title, "ok", said or f"{len(text.splitlines())} lines, no complaint")


def _try(item: Rehearsal, scheduler: Scheduler, text: str) -> str:
    """Let the scheduler itself look at the script, where it offers that."""
    with tempfile.TemporaryDirectory(prefix="hpcorch-") as folder:
        script = Path(folder, scheduler.script_name)
        rundir.write_whole(script, text, 0o700)
        job = item.job
        command = scheduler.try_command(
            Submittable(job.name, job.token, str(script), "/dev/null", is_array=job.elements > 1)
        )
        return "" if command is None else scheduler.parse_try(shell.run(command))
