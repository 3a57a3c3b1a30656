"""An ensemble: a row of a table for each member, a job array for all that ask for the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.errors import InputError
from hpcorch.plan.jobs import DatabaseUse, Machine, ModelJob, Plan, Target
from hpcorch.plan.model import plan_model
from hpcorch.plan.table import TABLE_ROWS, NodeFiles, line

# In an allocation every member is a step, started by a process of the driver's own node.
_MOST_STEPS = 64


def plan_ensemble(
    ensemble: Ensemble,
    programs: Callable[[Model], Sequence[str]],
    databases: Sequence[DatabaseUse],
    machine: Callable[[Model], Machine | None],
    target: Target,
    only: Collection[int] | None = None,
    mpi: Callable[[Model], str] | None = None,
    files: Callable[[Model], NodeFiles | None] | None = None,
) -> Plan:
    """Plan an ensemble, or of its members those of the numbers `only`; raises InputError.

    `programs` tells a member's program, and those that make_mpmd added, as its node will find them,
    `machine` what a database colocated with it needs, `mpi` the library of its launch command if
    that is known, `files` what its node puts into its directory, if anything.
    """
    groups: dict[ModelJob, list[int]] = {}
    rows: dict[int, str] = {}
    lists: dict[NodeFiles, int] = {}
    places: dict[str, Target] = {}
    for number, model in enumerate(ensemble.peek()):
        if only is not None and number not in only:
            continue
        prepared = _prepared(ensemble, model, target)
        program, *further = programs(model)
        library = target.mpi if mpi is None else mpi(model)
        if library not in places:
            places[library] = replace(target, mpi=library)
        place = places[library]
        job = plan_model(prepared, program, databases, machine(model), place, further)
        found = files(model) if files else None
        listed = None if found is None else lists.setdefault(found, len(lists))
        rows[number] = _row(number, model, job, target, listed)
        groups.setdefault(_shared(job, ensemble), []).append(number)
    if not rows:
        raise InputError(f"ensemble {ensemble.name} has no members", "add_model adds some")
    return _assembled(ensemble, groups, rows, lists, target, whole=only is None)


def _assembled(
    ensemble: Ensemble,
    groups: Mapping[ModelJob, Sequence[int]],
    rows: Mapping[int, str],
    lists: Mapping[NodeFiles, int],
    target: Target,
    *,
    whole: bool,
) -> Plan:
    """Return the plan of members that are grouped by their job; not `whole`: of some only."""
    order = [number for numbers in groups.values() for number in numbers]
    jobs = [_sized(job, len(numbers), len(rows), target) for job, numbers in groups.items()]
    odd = (text for item in lists for text in item.warnings)
    jobs[0] = replace(jobs[0], warnings=(*_warnings(ensemble, len(rows)), *odd))
    if lists:
        jobs = [replace(job, puts_files=True) for job in jobs]
    lines = [rows[number] for number in order]
    table = ["".join(lines[at : at + TABLE_ROWS]) for at in range(0, len(lines), TABLE_ROWS)]
    plain = whole and order == sorted(order)
    return Plan(
        tuple(jobs),
        tuple(table),
        () if plain else tuple(order),
        tuple(ensemble.member_names),
        again=not whole,
        file_lists=tuple(item.text for item in lists),
    )


def _prepared(ensemble: Ensemble, model: Model, target: Target) -> Model:
    """Return the member as it is planned: with what the ensemble and the launcher add to it."""
    made = copy.copy(model)
    if not model.batch.wanted():
        made.batch = ensemble.batch
    if target.scheduler.name == "slurm-steps" and model.run_settings.run_command == "auto":
        made.run_settings = copy.copy(model.run_settings)
        made.run_settings.run_command = "srun"
        # A step would else keep the whole node to itself, and the other members waiting.
        made.run_settings.run_args = {"exact": None, **model.run_settings.run_args}
    return made


def _warnings(ensemble: Ensemble, members: int) -> tuple[str, ...]:
    batch = ensemble.batch
    nodes = batch.nodes or len(batch.hosts) or 1
    if nodes == 1 or members == 1:
        return ()
    told = f"nodes in batch_settings of {ensemble.name} is {nodes}"
    if not batch.nodes:
        told = f"host_list in batch_settings of {ensemble.name} has {nodes} hosts"
    return (f"{told}: each of its {members} members gets as many nodes",)


def _shared(job: ModelJob, ensemble: Ensemble) -> ModelJob:
    """Return the job without what is the member's own; equal ones are one job array."""
    resources = replace(job.resources, name=ensemble.name, max_running=ensemble.max_running)
    return replace(
        job,
        name=ensemble.name,
        directives=(),
        resources=resources,
        work_dir="",
        program=(),
        program_env=(),
        table_rows=TABLE_ROWS,
        kind="ensemble",
    )


def _sized(job: ModelJob, tasks: int, all_tasks: int, target: Target) -> ModelJob:
    resources = replace(job.resources, elements=tasks)
    scheduler = target.scheduler
    unlimited = _MOST_STEPS if scheduler.is_remote and not scheduler.is_batch else 0
    return replace(
        job,
        elements=all_tasks,
        resources=resources,
        directives=scheduler.directives(resources),
        max_running=resources.max_running or unlimited,
    )


def _row(number: int, model: Model, job: ModelJob, target: Target, listed: int | None) -> str:
    """Return a member's line of the table; hpcorch_take_task of templates/lib/task.sh reads it."""
    return line(
        (
            str(number),
            model.name,
            model.path or f"{target.run_dir}/{model.name}",
            "-" if listed is None else str(listed),
            str(len(model.params)),
            *(word for pair in model.params.items() for word in map(str, pair)),
            str(len(job.program_env)),
            *job.program_env,
            *job.program,
        )
    )
