"""A site's profile against the machine: its queues, its programs, what a job has to say there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping

from hpcorch import shell
from hpcorch.cli.finding import Finding, judged
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import HpcorchError, InputError
from hpcorch.plan import check_site
from hpcorch.rehearse import rehearsals
from hpcorch.schedulers.base import Limits, Scheduler
from hpcorch.sites import Site


def check_profile(scheduler: Scheduler, site: Site, batch: BatchSettings) -> Iterator[Finding]:
    """Check what the profile names, and that jobs with `batch` have all that it requires."""
    if scheduler.is_batch:
        if site.queues:
            yield _queues(scheduler, site)
        yield _request(scheduler, site, batch)
    if site.run_command != "auto":
        yield _run_command(site.run_command)
    if not shutil.which("shellcheck"):
        cure = "install it, where scripts are checked: no job needs it"
        yield Finding("shellcheck", "warn", "is not there: scripts are checked by bash only", cure)


def _run_command(name: str) -> Finding:
    found = shutil.which(name)
    # A login node may lack what its compute nodes have.
    cure = "see that compute nodes have it"
    return judged(
        "run_command", found is not None, found or "", cure, "warn", f"{name} is not here"
    )


def _queues(scheduler: Scheduler, site: Site) -> Finding:
    """Compare the profile's queues with those that the batch system tells of."""
    try:
        results = [shell.run(command) for command in scheduler.limits_commands()]
        limits = scheduler.parse_limits(results)
    except HpcorchError as error:
        return Finding("queues", "warn", f"could not be compared: {error.message}", error.hint)
    if not limits.queues:
        return Finding("queues", "warn", "could not be compared: the batch system names none")
    missing = [name for name in site.queues if name not in limits.queues]
    if missing:
        source = site.origin(f"queues.{missing[0]}")
        there = ", ".join(limits.queues)
        cure = f"the batch system has {there}: correct {source}"
        return Finding("queues", "fail", f"there is no queue {', '.join(missing)}", cure)
    wide = list(_wider(site, limits))
    if wide:
        return Finding("queues", "warn", "; ".join(wide), "what is above would never run")
    return Finding("queues", "ok", ", ".join(site.queues))


def _wider(site: Site, limits: Limits) -> Iterator[str]:
    for name, queue in site.queues.items():
        nodes = limits.queues[name].nodes
        if nodes is not None and queue.max_nodes > nodes:
            yield f"queue {name} allows {queue.max_nodes} nodes and has {nodes}"


def _request(scheduler: Scheduler, site: Site, batch: BatchSettings) -> Finding:
    """Say what a job of this check asks for, or what it lacks."""
    job = rehearsals(scheduler.name, site, batch)[0].job
    try:
        check_site(job, site, batch=True)
    except InputError as error:
        return Finding("what jobs must say", "fail", error.message, error.hint)
    wanted: Mapping[str, str] = {
        "account": job.resources.account,
        "queue": job.resources.queue,
        "time": job.resources.walltime,
    }
    said = ", ".join(f"{key} {value}" for key, value in wanted.items() if value)
    return Finding("what jobs must say", "ok", said or "nothing")
