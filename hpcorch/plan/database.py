"""A standard database: its shards, ports, slots and what it asks the batch system for."""

from __future__ import annotations

from hpcorch import slots
from hpcorch.describe.orchestrator import HIGHEST_CLUSTER_PORT, Orchestrator
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError
from hpcorch.plan.jobs import DatabaseJob, Machine, Target, suffix
from hpcorch.plan.server import bus_security, server_plan
from hpcorch.plan.workers import model_files, worker_plan
from hpcorch.schedulers.base import Resources, Scheduler

# The bus port of a cluster with TLS on the bus only: data port + this + 10000 (lib/server.sh).
_TLS_OFFSET = 5000
# A walltime shorter than this leaves no room for a warning: Slurm may send it a minute early.
_SHORTEST_WARNED_WALLTIME = 300
_WARN_SECONDS = 60


def plan_database(database: Orchestrator, machine: Machine, target: Target) -> DatabaseJob:
    """Plan a standard database; raises InputError or SecurityError."""
    refuse_unless_batch(database.name, database.batch, target.scheduler)
    shards = database.db_nodes
    remote = target.scheduler.is_remote
    default = ("auto",) if remote else ("lo",)
    interfaces = database.interfaces or target.site.interface or default
    bus_tls, warnings = bus_security(database, machine, interfaces)
    gang = remote and (not target.scheduler.is_batch or (database.layout == "gang" and shards > 1))
    resources = _resources(database, target, gang=gang)
    # On a node of its own a shard takes the first port; on a shared one shard i starts i further.
    port_step = 1 if resources.exclusive else shards
    return DatabaseJob(
        name=database.name,
        run_dir=target.run_dir,
        token=target.token,
        elements=shards,
        directives=target.scheduler.directives(resources),
        resources=resources,
        by_hand=target.scheduler.by_hand(),
        identifier=database.db_identifier,
        suffix=suffix(database.db_identifier),
        gang=gang,
        cluster=shards > 1,
        node_ids=tuple(slots.node_id(target.token, index) for index in range(shards)),
        slots=tuple(f"{low}-{high}" for low, high in slots.ranges(shards)),
        interfaces=interfaces,
        first_port=database.port,
        port_step=port_step,
        last_port=_last_port(database, port_step, bus_tls=bus_tls),
        deadline_seconds=target.site.deadline_seconds,
        server=server_plan(
            machine,
            target.site,
            security=database.security,
            bus_tls=bus_tls,
            modules=database.module_paths,
            settings=_settings(database),
            threads=database.threads,
        ),
        warnings=warnings,
        gang_starter=target.site.pbs_starter,
        workers=worker_plan(database.workers, database.attachments, target, own=True),
        files=model_files(database.attachments),
    )


def refuse_unless_batch(name: str, batch: BatchSettings, scheduler: Scheduler) -> None:
    """Refuse what only a batch system can honour."""
    if scheduler.is_batch:
        return
    for field, value in batch.wanted().items():
        raise InputError(
            f"{field} of {name} is {value!r}: the launcher {scheduler.name} has no batch system "
            "to ask for it"
        )


def _resources(database: Orchestrator, target: Target, *, gang: bool) -> Resources:
    batch = database.batch
    warned = walltime_seconds(batch.walltime) >= _SHORTEST_WARNED_WALLTIME
    return Resources(
        name=database.name,
        token=target.token,
        elements=1 if gang else database.db_nodes,
        nodes=database.db_nodes if gang else 1,
        walltime=batch.walltime,
        queue=batch.queue,
        account=batch.account,
        hosts=batch.hosts,
        exclusive=target.scheduler.is_remote,
        warn_seconds=_WARN_SECONDS if warned else 0,
        extra=tuple(batch.args.items()),
    )


def _last_port(database: Orchestrator, port_step: int, *, bus_tls: bool) -> int:
    last = 65535
    if database.db_nodes > 1:
        last = HIGHEST_CLUSTER_PORT - (_TLS_OFFSET if bus_tls else 0)
    highest_first = database.port + port_step - 1
    if highest_first > last:
        raise InputError(
            f"port is {database.port}: {database.db_nodes} shards need ports up to "
            f"{highest_first}, and the highest one possible is {last}"
        )
    return last


def _settings(database: Orchestrator) -> dict[str, str]:
    limit = {"maxmemory": database.maxmemory} if database.maxmemory else {}
    return {**limit, **database.settings}


def walltime_seconds(walltime: str) -> int:
    """Return the seconds of [D-]HH:MM:SS, 0 for an empty text."""
    if not walltime:
        return 0
    days, dash, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return ((int(days) if dash else 0) * 24 + hours) * 3600 + minutes * 60 + seconds
