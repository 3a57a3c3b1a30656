"""Job scripts of every kind, made for one site and looked at; nothing is submitted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hpcorch import rundir, shell
from hpcorch.cli.finding import Finding
from hpcorch.cli.template_check import check_directories, new_complaints
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import HpcorchError
from hpcorch.rehearse import Rehearsal, rehearsals, render
from hpcorch.schedulers.base import Scheduler, Submittable
from hpcorch.sites import Site, template_dirs


def check_scripts(scheduler: Scheduler, site: Site, batch: BatchSettings) -> Iterator[Finding]:
    """Lint the site's templates, then make and look at a script of every kind."""
    dirs = template_dirs(site, os.environ)
    for folder in dirs:
        if Path(folder).is_dir():
            found = check_directories([Path(folder)], site, ())
            detail = found[0].text() if found else folder
            cure = f"hpcorch template lint {folder}" if found else ""
            yield Finding("templates", "fail" if found else "ok", detail, cure)
    for item in rehearsals(scheduler.name, site, batch):
        yield _check_script(item, scheduler, dirs)


def _check_script(item: Rehearsal, scheduler: Scheduler, dirs: tuple[str, ...]) -> Finding:
    try:
        text = render(item, scheduler.name, dirs).text
        problems = new_complaints(item, scheduler.name, text)
        if problems:
            cure = f"hpcorch template diff --scheduler {scheduler.name}"
            return Finding(item.title, "fail", "; ".join(problems), cure)
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
