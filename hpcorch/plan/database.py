"""A standard database: its shards, ports, slots and what it asks the batch system for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpcorch import slots
from hpcorch.describe.check import walltime_seconds
from hpcorch.describe.orchestrator import HIGHEST_CLUSTER_PORT, Orchestrator
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError
from hpcorch.plan.directives import directives
from hpcorch.plan.frame import frame
from hpcorch.plan.jobs import DatabaseJob, Machine, ServerPlan, Target, suffix
from hpcorch.plan.requests import with_defaults
from hpcorch.plan.server import bus_security, server_plan
from hpcorch.plan.shards import cpus_of_each, shard_cpus
from hpcorch.plan.spread import Spread, spread
from hpcorch.plan.starters import refuse_unlike
from hpcorch.plan.workers import worker_plan
from hpcorch.schedulers.base import Resources, Scheduler

# The bus port of a cluster with TLS on the bus only: data port + this + 10000 (lib/server.sh).
_TLS_OFFSET = 5000
# A walltime shorter than this leaves no room for a warning: Slurm may send it a minute early.
_SHORTEST_WARNED_WALLTIME = 300
_WARN_SECONDS = 60
# Saving takes as long as the file system lets it: a tenth of the walltime, but no more than this.
_LONGEST_SAVING = 600
_OWN_RUN_ARGS = frozenset({"nodes", "ntasks", "ntasks-per-node", "kill-on-bad-exit", "jobid"})


def plan_database(
    database: Orchestrator, machine: Machine, target: Target, restore: str = ""
) -> DatabaseJob:
    """Plan a standard database; raises InputError or SecurityError.

    `restore` is the directory of the checkpoints that it starts from.
    """
    refuse_unless_batch(database.name, database.batch, target.scheduler, cpus=database.cpus)
    refuse_unlike(database, target.scheduler, target.site)
    shards = database.db_nodes
    placed = spread(database, target.scheduler)
    interfaces = database.interfaces or target.site.interface or _usual_interfaces(placed)
    bus_tls, warnings = bus_security(database, machine, interfaces)
    pins = shard_cpus(database, placed.per_host)
    resources = _resources(database, target, placed, pins)
    # On a node of its own a shard takes the first port; on a shared one shard i starts i further.
    port_step = placed.per_host if resources.exclusive else shards
    return DatabaseJob(
        **frame(resources, target, database.batch.preamble, database.attachments),
        elements=shards,
        identifier=database.db_identifier,
        suffix=suffix(database.db_identifier),
        gang=placed.gang,
        shards_per_host=placed.per_host,
        shards_per_element=placed.per_element,
        cluster=shards > 1,
        node_ids=tuple(slots.node_id(target.token, index) for index in range(shards)),
        slots=tuple(f"{low}-{high}" for low, high in slots.ranges(shards)),
        interfaces=interfaces,
        first_port=database.port,
        port_step=port_step,
        last_port=_last_port(database, port_step, bus_tls=bus_tls),
        deadline_seconds=target.site.deadline_seconds,
        server=_server(database, machine, target, bus_tls=bus_tls),
        warnings=warnings,
        gang_starter=target.site.pbs_starter,
        shard_cpus=tuple(" ".join(map(str, cpus)) for cpus in pins),
        restore=restore,
        run_args=_run_args(database, target.scheduler, gang=placed.gang),
        workers=worker_plan(database.workers, database.attachments, target, own=True),
    )


def _usual_interfaces(placed: Spread) -> tuple[str, ...]:
    return ("auto",) if placed.remote else ("lo",)


def _server(
    database: Orchestrator, machine: Machine, target: Target, *, bus_tls: bool
) -> ServerPlan:
    return server_plan(
        machine,
        target.site,
        security=database.security,
        bus_tls=bus_tls,
        modules=database.module_paths,
        ai_commands=database.ai_commands,
        settings=directives(database),
        threads=database.threads,
    )


def refuse_unless_batch(
    name: str, batch: BatchSettings, scheduler: Scheduler, cpus: int | None = None
) -> None:
    """Refuse what only a batch system can honour."""
    if scheduler.is_batch:
        return
    for field, value in {**batch.wanted(), **({"cpus": cpus} if cpus else {})}.items():
        raise InputError(
            f"{field} of {name} is {value!r}: the launcher {scheduler.name} has no batch system "
            "to ask for it"
        )


def _resources(
    database: Orchestrator, target: Target, placed: Spread, pins: Sequence[Sequence[int]]
) -> Resources:
    batch = database.batch
    wanted = Resources(
        name=database.name,
        token=target.token,
        elements=placed.elements,
        nodes=placed.nodes,
        tasks_per_node=placed.per_host if placed.remote else 1,
        cpus_per_task=cpus_of_each(database, pins),
        walltime=batch.walltime,
        queue=batch.queue,
        account=batch.account,
        hosts=batch.hosts,
        # A host's shards have it to themselves whatever the settings say.
        exclusive=placed.remote,
        memory=batch.memory_per_node,
        excluded_hosts=batch.excluded_hosts,
        features=batch.node_features,
        extra=tuple(batch.args.items()),
    )
    return _warned(database, with_defaults(wanted, target))


def _run_args(database: Orchestrator, scheduler: Scheduler, *, gang: bool) -> tuple[str, ...]:
    """Return the options of srun; raises InputError where no srun starts the shards."""
    for key in database.run_args:
        if not (gang and scheduler.name.startswith("slurm")):
            raise InputError(
                f"run_args of {database.name} holds {key!r}: no srun starts these shards",
                'use set_batch_arg, or layout="gang" on Slurm',
            )
        if key in _OWN_RUN_ARGS:
            raise InputError(f"run_args of {database.name} holds {key!r}: hpcorch sets it itself")
    # Slurm's steps do not inherit it from their job.
    cpus = {} if database.cpus is None else {"cpus-per-task": str(database.cpus)}
    given = {**cpus, **database.run_args}
    return tuple(
        f"--{key}" if value is None else f"--{key}={value}" for key, value in given.items()
    )


def _warned(database: Orchestrator, resources: Resources) -> Resources:
    """Return the request with how long before its walltime ends the script wants a signal."""
    walltime = walltime_seconds(resources.walltime)
    if walltime < _SHORTEST_WARNED_WALLTIME:
        return resources
    seconds = _WARN_SECONDS
    if database.checkpoint_seconds is not None:
        seconds = max(_WARN_SECONDS, min(walltime // 10, _LONGEST_SAVING))
    return replace(resources, warn_seconds=seconds)


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
