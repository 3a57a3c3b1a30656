"""Requests against what a cluster accepts: refused before anything is submitted."""

from __future__ import annotations

from hpcorch.errors import LimitError
from hpcorch.plan.database import walltime_seconds
from hpcorch.schedulers.base import Limits, Resources


def check_limits(wanted: Resources, limits: Limits) -> None:
    """Raise LimitError that names what is too large, how large it may be, and where."""
    if not limits.queues:
        return
    queue = wanted.queue or limits.default_queue
    if wanted.queue and wanted.queue not in limits.queues:
        known = ", ".join(limits.queues)
        raise LimitError(f"queue of {wanted.name} is {wanted.queue!r}: this cluster has {known}")
    limit = limits.queues.get(queue)
    if limit is None:
        return
    if limit.nodes is not None and wanted.nodes > limit.nodes:
        raise LimitError(
            f"{wanted.name} needs {wanted.nodes} nodes: the queue {queue} has {limit.nodes}"
        )
    seconds = walltime_seconds(wanted.walltime)
    if limit.walltime_seconds is not None and seconds > limit.walltime_seconds:
        raise LimitError(
            f"time of {wanted.name} is {wanted.walltime}: the queue {queue} allows "
            f"{limit.walltime_seconds // 60} minutes"
        )
