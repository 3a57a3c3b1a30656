"""One job of every kind, planned and rendered for a scheduler and a site: nothing is submitted.

This is what checks a site's profile and templates before users meet them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcorch import __version__, schedulers
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.paths import templates_dir
from hpcorch.plan import (
    DatabaseUse,
    Job,
    Machine,
    Target,
    chunked,
    plan_database,
    plan_ensemble,
    plan_model,
)
from hpcorch.render import Renderer, Script
from hpcorch.sites import Site

# A rehearsed script is the same every time, so that two of them can be compared.
_TOKEN = "0123456789abcdef"
_RUN_DIR = "/path/of/the/experiment"
_MEMORY = 1000


@dataclass(frozen=True)
class StandInServer:
    """Facts of a server that needs not be there."""

    path: str = "/path/of/redis-server"
    flavour: str = "redis"
    version: tuple[int, int, int] = (7, 2, 4)
    tls: bool = True


@dataclass(frozen=True)
class Rehearsal:
    """A job to rehearse: `title` says which kind it is."""

    title: str
    job: Job


def rehearsals(scheduler: str, site: Site, batch: BatchSettings | None = None) -> list[Rehearsal]:
    """Plan one job of every kind that `scheduler` can run.

    `batch` is what batch jobs ask for; without it they have all that a site may require.
    """
    return [Rehearsal(title, job) for title, job in _jobs(scheduler, site, batch or _sample(site))]


def _sample(site: Site) -> BatchSettings:
    queue = site.queue or next(iter(site.queues), "queue")
    limit = site.queues[queue].max_time if queue in site.queues else ""
    batch = BatchSettings(time=limit or "1:00:00", queue=queue, account=site.account or "account")
    if "memory_per_node" in site.required:
        batch.set_memory_per_node(_MEMORY)
    return batch


def render(rehearsal: Rehearsal, scheduler: str, template_dirs: Sequence[str]) -> Script:
    """Render a rehearsal with a site's templates; raises what Renderer.render raises."""
    return Renderer(templates_dir(), template_dirs).render(rehearsal.job, scheduler, __version__)


def _jobs(scheduler: str, site: Site, batch: BatchSettings) -> Iterator[tuple[str, Job]]:
    # Some schedulers describe themselves by the job they are in.
    made = schedulers.create(scheduler, templates_dir(), {"SLURM_JOB_ID": "1"}, site.options())
    machine = Machine(server=StandInServer(), server_environment={})
    batch = batch if made.is_batch else BatchSettings()

    def target(name: str) -> Target:
        return Target(made, site, f"{_RUN_DIR}/{name}", _TOKEN)

    shapes = [("database of 1 shard", 1, "array"), ("database of 3 shards", 3, "array")]
    if made.is_batch:
        shapes.append(("database of 3 shards, gang", 3, "gang"))
    for title, shards, layout in shapes:
        database = Orchestrator("db", shards, layout=layout, batch_settings=batch)
        yield title, plan_database(database, machine, target("db"))
    database = Orchestrator("db", batch_settings=batch, workers=1)
    yield "database with AI model workers", plan_database(database, machine, target("db"))
    uses = [DatabaseUse(f"{_RUN_DIR}/db", "_db")]
    for transport in ("", "tcp", "uds"):
        model = Model("sim", RunSettings("/path/of/sim", ["--steps", "8"]), batch_settings=batch)
        if transport == "tcp":
            model.colocate_db_tcp()
        elif transport == "uds":
            model.colocate_db_uds()
        title = f"model with a database over {transport}" if transport else "model"
        yield title, plan_model(model, "/path/of/sim", uses, machine, target("sim"))
    settings = RunSettings("/path/of/sim", ["--steps", "8"])
    ensemble = Ensemble("many", {"x": [1, 2, 3]}, batch_settings=batch, run_settings=settings)
    plan = plan_ensemble(ensemble, lambda _: ["/path/of/sim"], uses, lambda _: None, target("many"))
    yield "ensemble", chunked(plan.jobs, made, None)[0]
