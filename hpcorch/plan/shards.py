"""How the CPUs of a host are dealt out to the shards that share it, and what they must ask for."""

from __future__ import annotations

from collections.abc import Sequence

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError


def shard_cpus(database: Orchestrator, per_host: int) -> tuple[tuple[int, ...], ...]:
    """Return each shard's CPUs, counted inside those that the job may use; none: no pinning.

    Raises InputError when what is named is not what `per_host` shards take.
    """
    pool, each = database.pinning, database.db_cpus
    if each is None and not pool:
        return ()
    if pool is None:
        pool = tuple(range(per_host * (each or 1)))
    each = each or max(len(pool) // per_host, 1)
    if each * per_host != len(pool):
        raise InputError(
            f"custom_pinning of {database.name} names {len(pool)} CPUs: {_shards(per_host)} with "
            f"{each} each take {each * per_host}"
        )
    if database.threads > each:
        raise InputError(
            f"threads of {database.name} is {database.threads}: each shard has {each} CPUs"
        )
    return tuple(pool[place * each : (place + 1) * each] for place in range(per_host))


def _shards(per_host: int) -> str:
    return "1 shard" if per_host == 1 else f"{per_host} shards of a host"


def cpus_of_each(database: Orchestrator, pins: Sequence[Sequence[int]]) -> int | None:
    """Return how many CPUs each shard asks for, so that its host has all that are pinned.

    Raises InputError when fewer were asked for.
    """
    if not pins:
        return database.cpus
    needed = -(-(max(map(max, pins)) + 1) // len(pins))
    if database.cpus is not None and database.cpus < needed:
        raise InputError(
            f"cpus of {database.name} is {database.cpus}: its pinning needs {needed} a shard",
            "leave it out, and as many are asked for",
        )
    return database.cpus or needed
