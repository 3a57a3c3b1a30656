"""What `hpcorch render` prints and writes of a draft."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hpcorch import byhand, report
from hpcorch.build import Builder, choose_scheduler
from hpcorch.byhand import Draft
from hpcorch.cli import output
from hpcorch.errors import InputError
from hpcorch.sites import load_site


def builder(launcher: str, site: str | None, server: str | None) -> tuple[Builder, str]:
    """Return what plans and renders, and how names of its scripts end.

    `server` is a program that wins over all others.
    """
    environ = dict(os.environ)
    if server is not None:
        if shutil.which(server) is None:
            raise InputError(f"--server is {server!r}: there is no such program")
        environ["REDIS_PATH"] = server
    profile = load_site(environ, site)
    scheduler, _ = choose_scheduler(launcher, profile, os.environ)
    return Builder(profile, scheduler, environ), Path(scheduler.script_name).suffix


def warn(draft: Draft) -> None:
    """Print what is doubtful about a job."""
    for warning in draft.built.job.warnings:
        output.remark(warning, "warning")


def print_script(draft: Draft) -> None:
    """Print the script; of an ensemble with several, all of them."""
    output.print_exactly(report.preview(draft.built))
    if draft.needs_files and not draft.built.plan.table:
        name = draft.built.job.name
        output.remark(f"{name} needs files in its run directory, which -o puts there", "warning")


def write(draft: Draft, first: Path) -> None:
    """Write the scripts and what they need."""
    for warning in byhand.write(draft, first):
        output.remark(warning, "warning")


def tell(draft: Draft, first: Path) -> None:
    """Print which scripts were written, and how to run them."""
    for file, submit in byhand.submissions(draft, first):
        output.remark(f"{file} is written; to run it: {submit}")


def facts(draft: Draft, first: Path | None) -> dict[str, object]:
    """Return what docs/cli.md tells of a rendered job."""
    job, script = draft.built.job, draft.built.script
    return {
        "kind": job.kind,
        "name": job.name,
        "run_dir": job.run_dir,
        "elements": job.elements,
        "sha256": script.sha256,
        "warnings": list(job.warnings),
        "file": None if first is None else str(first.absolute()),
        "submit": [] if first is None else [text for _, text in byhand.submissions(draft, first)],
        "script": script.text,
    }
