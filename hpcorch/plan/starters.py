"""What starts a database's shards, held against what SmartSim's words ask for."""

from __future__ import annotations

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError
from hpcorch.schedulers.base import Scheduler
from hpcorch.sites import Site


def refuse_unlike(database: Orchestrator, scheduler: Scheduler, site: Site) -> None:
    """Raise InputError when `batch` or `run_command` is not what this scheduler does."""
    asked, name = database.own_job, scheduler.name
    if asked is True and not scheduler.is_batch:
        why = "starts steps of the job that you are in" if scheduler.is_remote else "has no jobs"
        raise InputError(
            f"batch of {database.name} is True: the launcher {name} {why}", "leave batch out"
        )
    if asked is False and scheduler.is_batch:
        raise InputError(
            f"batch of {database.name} is False: outside a job the launcher {name} submits one",
            "leave batch out, or start the driver inside an allocation",
        )
    starter = _starter(scheduler, site)
    if database.run_command not in ("auto", starter):
        instead = f"it must be auto or {starter}" if starter else "it must be auto"
        raise InputError(
            f"run_command of {database.name} is {database.run_command!r}: "
            f"on the launcher {name} {instead}"
        )


def _starter(scheduler: Scheduler, site: Site) -> str:
    """Return the command that starts shards on other nodes; none does on this machine."""
    if not scheduler.is_remote:
        return ""
    return "srun" if scheduler.name.startswith("slurm") else site.pbs_starter
