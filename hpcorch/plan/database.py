"""A standard database: its shards, ports, slots and what it asks the batch system for."""

from __future__ import annotations

from hpcorch import slots
from hpcorch.describe.orchestrator import HIGHEST_CLUSTER_PORT, Orchestrator
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError
from hpcorch.plan.jobs import DatabaseJob, Machine, Target, suffix
from hpcorch.plan.server import bus_security, server_plan
from hpcorch.plan.shards import shard_cpus
from hpcorch.plan.workers import model_files, worker_plan
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
    shards = database.db_nodes
    remote = target.scheduler.is_remote
    default = ("auto",) if remote else ("lo",)
    interfaces = database.interfaces or target.site.interface or default
    bus_tls, warnings = bus_security(database, machine, interfaces)
    gang = remote and (not target.scheduler.is_batch or (database.layout == "gang" and shards > 1))
    per_host = _shards_per_host(database, target.scheduler, gang=gang)
    resources = _resources(database, target, gang=gang)
    # On a node of its own a shard takes the first port; on a shared one shard i starts i further.
    port_step = per_host if resources.exclusive else shards
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
            ai_commands=database.ai_commands,
            settings=_settings(database),
            threads=database.threads,
        ),
        warnings=warnings,
        gang_starter=target.site.pbs_starter,
        shard_cpus=tuple(" ".join(map(str, cpus)) for cpus in shard_cpus(database, per_host)),
        preamble="\n".join(database.batch.preamble),
        restore=restore,
        run_args=_run_args(database, target.scheduler, gang=gang),
        walltime_seconds=walltime_seconds(database.batch.walltime),
        workers=worker_plan(database.workers, database.attachments, target, own=True),
        files=model_files(database.attachments),
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


def _shards_per_host(database: Orchestrator, scheduler: Scheduler, *, gang: bool) -> int:
    """Return how many shards share a host: on this machine all of them do."""
    asked = f"shards_per_host of {database.name} is {database.shards_per_host}"
    if not scheduler.is_remote:
        return database.db_nodes
    if database.shards_per_host > 1 and not scheduler.name.startswith("slurm"):
        raise InputError(
            f"{asked}: on {scheduler.name} this version gives each shard a node of its own"
        )
    if database.shards_per_host > 1 and database.db_nodes > 1 and not gang:
        raise InputError(
            f"{asked}: the elements of a job array are not told which of them share a node",
            'say layout="gang"',
        )
    return min(database.shards_per_host, database.db_nodes)


def _resources(database: Orchestrator, target: Target, *, gang: bool) -> Resources:
    batch = database.batch
    per_host = min(database.shards_per_host, database.db_nodes)
    return Resources(
        name=database.name,
        token=target.token,
        elements=1 if gang else database.db_nodes,
        nodes=-(-database.db_nodes // per_host) if gang else 1,
        tasks_per_node=per_host if gang else 1,
        cpus_per_task=database.cpus,
        walltime=batch.walltime,
        queue=batch.queue,
        account=batch.account,
        hosts=batch.hosts,
        # A shard has its node to itself whatever the settings say.
        exclusive=target.scheduler.is_remote,
        memory=batch.memory_per_node,
        excluded_hosts=batch.excluded_hosts,
        features=batch.node_features,
        warn_seconds=_warn_seconds(database),
        extra=tuple(batch.args.items()),
    )


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


def _warn_seconds(database: Orchestrator) -> int:
    walltime = walltime_seconds(database.batch.walltime)
    if walltime < _SHORTEST_WARNED_WALLTIME:
        return 0
    if database.checkpoint_seconds is None:
        return _WARN_SECONDS
    return max(_WARN_SECONDS, min(walltime // 10, _LONGEST_SAVING))


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
    freq = database.checkpoint_seconds
    saving = {} if freq is None else {"save": f"{freq} 1"}
    return {**limit, **database.settings, **saving}


def walltime_seconds(walltime: str) -> int:
    """Return the seconds of [D-]HH:MM:SS, 0 for an empty text."""
    if not walltime:
        return 0
    days, dash, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return ((int(days) if dash else 0) * 24 + hours) * 3600 + minutes * 60 + seconds
