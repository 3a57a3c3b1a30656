"""Requests against what a site and its cluster accept: refused before anything is submitted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from hpcorch.describe.check import walltime_seconds
from hpcorch.errors import InputError, LimitError
from hpcorch.plan.jobs import Job
from hpcorch.schedulers.base import Limits, Resources
from hpcorch.sites import Queue, Site

# Where each can be given: an argument in Python, an option of the command line.
_WHERE = {
    "account": 'account="..." in BatchSettings or create_database, or --account',
    "queue": 'queue="..." in BatchSettings or create_database, or --queue',
    "time": 'time="HH:MM:SS" in BatchSettings or create_database, or --time',
    "memory_per_node": "set_memory_per_node(MEGABYTES) of the batch or run settings",
}
_OWN = "~/.config/hpcorch/site.toml"


def check_limits(wanted: Resources, limits: Limits) -> None:
    """Raise LimitError that names what is too large, how large it may be, and where."""
    if not limits.queues:
        return
    queue = wanted.queue or limits.default_queue
    if wanted.queue and wanted.queue not in limits.queues:
        raise _unknown_queue(wanted, limits.queues, "this cluster has")
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


def check_site(job: Job, site: Site, *, batch: bool, default_queue: str = "") -> None:
    """Raise InputError for what the profile requires, LimitError for what it does not allow.

    `batch` says whether the job goes to a batch system, `default_queue` where it goes by itself.
    """
    wanted = job.resources
    name = wanted.queue or default_queue
    if batch:
        # First the queue: a job may get its time from there.
        if wanted.queue and site.queues and wanted.queue not in site.queues:
            raise _unknown_queue(wanted, site.queues, "this site has")
        _check_required(wanted, site)
        if name in site.queues:
            _check_queue(wanted, name, site)
    tier = "" if job.server is None else job.server.security
    _check_security(wanted.name, tier, site, name if batch else "")


def array_size(jobs: Iterable[Job], site: Site) -> int | None:
    """Return the most tasks that one job array may have by the profile, None without a limit."""
    queues = (site.queues.get(job.resources.queue) for job in jobs)
    sizes = [site.max_array_size, *(queue.max_array_size for queue in queues if queue)]
    return min(filter(None, sizes), default=None)


def _check_required(wanted: Resources, site: Site) -> None:
    given = {
        "account": wanted.account,
        "queue": wanted.queue,
        "time": wanted.walltime,
        "memory_per_node": wanted.memory,
    }
    for field in site.required:
        if not given[field]:
            # A profile has no memory for everybody.
            own = "" if field == "memory_per_node" else f"; once for all: {field} in {_OWN}"
            raise InputError(
                f"{field} of {wanted.name} is missing: this site requires it "
                f"({site.origin('required')})",
                f"say {_WHERE[field]}{own}",
            )
    if wanted.memory and site.memory_style == "none":
        raise LimitError(
            f"memory_per_node of {wanted.name} is {wanted.memory}: jobs of this site have all of a "
            f"node's memory and must not ask for it ({site.origin('memory_style')})"
        )


def _check_queue(wanted: Resources, name: str, site: Site) -> None:
    limit = site.queues[name]
    if limit.max_nodes and wanted.nodes > limit.max_nodes:
        raise LimitError(
            f"{wanted.name} needs {wanted.nodes} nodes: the queue {name} allows {limit.max_nodes} "
            f"({_source(site, name, 'max_nodes')})",
            _others(wanted, name, site),
        )
    if limit.max_time and walltime_seconds(wanted.walltime) > walltime_seconds(limit.max_time):
        raise LimitError(
            f"time of {wanted.name} is {wanted.walltime}: the queue {name} allows "
            f"{limit.max_time} ({_source(site, name, 'max_time')})",
            _others(wanted, name, site),
        )


def _check_security(name: str, tier: str, site: Site, queue: str) -> None:
    places = [(site.allowed_security, "this site", site.origin("allowed_security"))]
    if queue in site.queues:
        allowed = site.queues[queue].allowed_security
        places.append((allowed, f"the queue {queue}", _source(site, queue, "allowed_security")))
    for allowed, where, source in places:
        if tier and allowed and tier not in allowed:
            tiers = ", ".join(allowed)
            raise LimitError(f"security of {name} is {tier!r}: {where} allows {tiers} ({source})")


def _source(site: Site, queue: str, key: str) -> str:
    return site.origin(f"queues.{queue}.{key}")


def _others(wanted: Resources, name: str, site: Site) -> str:
    """Name the queues that would accept the request."""
    found = [
        other for other, queue in site.queues.items() if other != name and _fits(wanted, queue)
    ]
    return f"accepted in: {', '.join(found)}" if found else ""


def _fits(wanted: Resources, queue: Queue) -> bool:
    nodes = not queue.max_nodes or wanted.nodes <= queue.max_nodes
    seconds = walltime_seconds(wanted.walltime)
    return nodes and (not queue.max_time or seconds <= walltime_seconds(queue.max_time))


def _unknown_queue(wanted: Resources, queues: Iterable[str], has: str) -> LimitError:
    known = list(queues)
    close = difflib.get_close_matches(wanted.queue, known, n=1)
    return LimitError(
        f"queue of {wanted.name} is {wanted.queue!r}: {has} {', '.join(known)}",
        f"did you mean {close[0]!r}?" if close else "",
    )
