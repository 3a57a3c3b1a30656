"""A user's program: what it asks for, how it is launched, which databases it is told of."""

from __future__ import annotations

from collections.abc import Sequence

from hpcorch.describe.model import Colocation, Model
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import InputError
from hpcorch.plan.database import refuse_unless_batch
from hpcorch.plan.frame import frame
from hpcorch.plan.jobs import (
    ColocationPlan,
    ContainerPlan,
    DatabaseUse,
    Machine,
    ModelJob,
    ServerPlan,
    Target,
    WorkerPlan,
    suffix,
)
from hpcorch.plan.launch import command_name, launch_words, mpi_library, program_words
from hpcorch.plan.requests import with_defaults
from hpcorch.plan.server import server_plan
from hpcorch.plan.workers import worker_plan
from hpcorch.schedulers.base import Resources

# What Linux lets one argument or variable of a program have, the end included.
_LONGEST_VARIABLE = 131072


def plan_model(
    model: Model,
    executable: str,
    databases: Sequence[DatabaseUse],
    machine: Machine | None,
    target: Target,
    further: Sequence[str] = (),
) -> ModelJob:
    """Plan a user's program; raises InputError when a setting cannot be honoured.

    `executable` is the program as the node will find it, `further` are those that make_mpmd added;
    `machine` is needed for a colocated database.
    """
    refuse_unless_batch(model.name, model.batch, target.scheduler)
    settings = model.run_settings
    resources = with_defaults(_resources(model, target), target)
    request = model.colocation
    launcher = launch_words(model.name, settings, resources, target, wrapped=request is not None)
    program = program_words(settings, (executable, *further), launcher)
    return ModelJob(
        **frame(resources, target, (*model.batch.preamble, *settings.preamble), model.attachments),
        elements=1,
        work_dir=target.run_dir,
        program=(*launcher, *program),
        program_env=(
            *_key_variables(model),
            *(f"{key}={value}" for key, value in settings.env_vars.items()),
        ),
        databases=tuple(databases),
        colocation=None if request is None else _colocation_plan(request),
        server=_server(model, databases, machine, target),
        launcher_words=len(launcher),
        # One process is a step of its own; many are started by srun from a script that runs here.
        gang=target.scheduler.is_remote and not target.scheduler.is_batch and not launcher,
        forward_environment=_forwards(settings, resources, target),
        container=_container_plan(model, databases, target),
        umask=target.umask,
        owns_nodes=_owns_nodes(resources),
        workers=_workers(model, databases, target),
    )


def _server(
    model: Model, databases: Sequence[DatabaseUse], machine: Machine | None, target: Target
) -> ServerPlan | None:
    """Return how the database beside the program is started; raises InputError."""
    request = model.colocation
    if request is None or machine is None:
        return None
    _check_suffix(model, request, databases)
    return server_plan(
        machine,
        target.site,
        security=request.security,
        settings=request.settings,
        threads=request.db_cpus,
        debug=request.debug,
    )


def _key_variables(model: Model) -> list[str]:
    """Return what tells clients under which names keys are written, and whose are read."""
    found = []
    names = ",".join(model.incoming_names)
    if names:
        found.append(f"SSKEYIN={names}")
        if len(found[0].encode()) >= _LONGEST_VARIABLE:
            raise InputError(
                f"the incoming entities of {model.name} have names of {len(names)} bytes: a "
                f"variable holds at most {_LONGEST_VARIABLE}"
            )
    if model.query_key_prefixing():
        found.append(f"SSKEYOUT={model.name}")
    return found


def unreadable(model: Model) -> tuple[str, ...]:
    """Return a warning for each model whose keys are looked for under another name than theirs."""
    return tuple(
        f"{model.name} looks for keys that begin with {name}, and those of {name} do not: "
        f"enable_key_prefixing of {name} lets them"
        for name in model.incoming_without_names
    )


def _resources(model: Model, target: Target) -> Resources:
    settings, batch = model.run_settings, model.batch
    hosts = batch.hosts or settings.hosts
    # On one machine they are a launch command's business.
    named = len(hosts) if target.scheduler.is_remote else 0
    nodes = batch.nodes or settings.nodes or named or 1
    if named > nodes:
        raise InputError(f"host_list of {model.name} has {named} hosts: nodes is {nodes}")
    return Resources(
        name=model.name,
        token=target.token,
        nodes=nodes,
        tasks_per_node=settings.tasks_per_node
        or -(-settings.task_count() // min(nodes, settings.nodes or nodes)),
        cpus_per_task=settings.cpus_per_task,
        walltime=batch.walltime or settings.walltime,
        queue=batch.queue,
        account=batch.account,
        hosts=hosts,
        exclusive=batch.exclusive,
        memory=batch.memory_per_node or settings.memory_per_node,
        excluded_hosts=batch.excluded_hosts or settings.excluded_hosts,
        features=batch.node_features or settings.node_features,
        extra=tuple(batch.args.items()),
    )


def _forwards(settings: RunSettings, resources: Resources, target: Target) -> bool:
    """Say whether Open MPI must be told to carry variables; it takes one way of being told only."""
    library = mpi_library(command_name(settings, resources, target), target.mpi)
    asked = any("x" in part.run_args for part in (settings, *settings.mpmd))
    return library == "openmpi" and not asked


def _container_plan(
    model: Model, databases: Sequence[DatabaseUse], target: Target
) -> ContainerPlan | None:
    container = model.run_settings.container
    if container is None:
        return None
    mounts = (target.run_dir, *(database.directory for database in databases))
    for path in mounts:
        if ":" in path or "," in path:
            raise InputError(
                f"container of {model.name} is {container.image!r}: {path} cannot be mounted in "
                f"it, because {container.runtime} takes no path with ':' or ','"
            )
    return ContainerPlan(container.runtime.upper(), mounts)


def _owns_nodes(resources: Resources) -> bool:
    extra = dict(resources.extra)
    whole = resources.exclusive or "excl" in (extra.get("place") or "")
    return whole and resources.cpus_per_task is None and "select" not in extra


def _workers(model: Model, databases: Sequence[DatabaseUse], target: Target) -> WorkerPlan | None:
    request = model.colocation
    if request is None and model.attachments and len(databases) != 1:
        raise InputError(
            f"{model.name} has models attached and is told of {len(databases)} databases: it is "
            "unclear which one gets them, attach them to a database instead"
        )
    own = request.workers if request is not None else None
    return worker_plan(own, model.attachments, target, own=request is not None)


def _check_suffix(model: Model, request: Colocation, databases: Sequence[DatabaseUse]) -> None:
    for database in databases:
        if database.suffix == suffix(request.identifier):
            raise InputError(
                f"db_identifier of the database colocated with {model.name} is "
                f"{request.identifier!r}: a running database uses the variable "
                f"SSDB{database.suffix} already, choose another identifier"
            )


def _colocation_plan(request: Colocation) -> ColocationPlan:
    tcp = ("lo", *(name for name in request.interfaces if name != "lo"))
    return ColocationPlan(
        transport=request.transport,
        suffix=suffix(request.identifier),
        first_port=request.port,
        interfaces=tcp if request.transport == "tcp" else request.interfaces,
        socket=request.unix_socket,
        socket_mode=f"{request.socket_permissions:o}",
        cpus=request.cpus,
        limit_app=request.limit_app_cpus,
        per=request.per,
    )
