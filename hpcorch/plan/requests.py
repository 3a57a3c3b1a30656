"""What a job asks its batch system for: the user's words, then those of the site's profile."""

from __future__ import annotations

from dataclasses import replace

from hpcorch.plan.jobs import Target
from hpcorch.schedulers.base import Resources


def with_defaults(wanted: Resources, target: Target) -> Resources:
    """Return the request with the site's account, queue and time where the user gave none."""
    site = target.site
    if not target.scheduler.is_batch:
        return wanted
    queue = wanted.queue or site.queue
    usual = site.queues[queue].time if queue in site.queues else ""
    return replace(
        wanted,
        account=wanted.account or site.account,
        queue=queue,
        walltime=wanted.walltime or usual or site.time,
        memory_style=site.memory_style,
    )
