"""Runs of more tasks than an array may have: cut into several arrays, each counted from 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpcorch.plan.jobs import Chunk, Job
from hpcorch.schedulers.base import Scheduler


def chunked(jobs: Sequence[Job], scheduler: Scheduler, array_size: int | None) -> tuple[Job, ...]:
    """Return the jobs of one run with none larger than `array_size`, numbered in their order.

    Each gets its own token, the offset of its first task, and its share of `max_running`.
    """
    shares = [(job, size) for job in jobs for size in _sizes(job, array_size)]
    made: list[Job] = []
    offset = 0
    for part, (job, size) in enumerate(shares):
        chunk = Chunk(size, offset, part, len(shares))
        offset += size
        if len(shares) == 1:
            made.append(replace(job, chunk=chunk))
            continue
        limit = job.resources.max_running
        resources = replace(
            job.resources,
            token=f"{job.token}_{part}",
            elements=size,
            max_running=limit and max(1, limit // len(shares)),
        )
        directives = scheduler.directives(resources)
        made.append(replace(job, resources=resources, directives=directives, chunk=chunk))
    return tuple(made)


def _sizes(job: Job, array_size: int | None) -> list[int]:
    """Return sizes that differ by 1 at most."""
    tasks = job.elements if job.gang else job.resources.elements
    if job.gang or array_size is None or tasks <= array_size:
        return [tasks]
    count = -(-tasks // array_size)
    return [tasks // count + (place < tasks % count) for place in range(count)]
