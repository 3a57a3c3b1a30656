"""How the CPUs of a host are dealt out to the shards that share it."""

from __future__ import annotations

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError


def shard_cpus(database: Orchestrator, per_host: int) -> tuple[tuple[int, ...], ...]:
    """Return each shard's CPUs, counted inside those that the job may use; none: no pinning.

    Raises InputError when there are too few for `per_host` shards.
    """
    pool, each = database.pinning, database.db_cpus
    if pool == () or (pool is None and each is None):
        return ()
    if pool is None:
        pool = tuple(range(per_host * (each or 1)))
    each = each or len(pool) // per_host
    if each == 0 or each * per_host > len(pool):
        raise InputError(
            f"custom_pinning of {database.name} names {len(pool)} CPUs: "
            f"{per_host} shards of a host need {per_host * max(each, 1)}"
        )
    if database.threads > each:
        raise InputError(
            f"threads of {database.name} is {database.threads}: each shard has {each} CPUs"
        )
    return tuple(pool[place * each : (place + 1) * each] for place in range(per_host))
