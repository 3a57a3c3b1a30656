"""From a description to checked scripts: looks up what planning must know, plans, renders.

Nothing is submitted or written here; every refusal comes before anything has started.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hpcorch import __version__, rundir, schedulers, server, shell
from hpcorch.checkpoints import find_checkpoint
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import InputError, SchedulerError, SecurityError
from hpcorch.frameworks import check_frameworks
from hpcorch.module.library import find_module
from hpcorch.nodefiles import node_lists
from hpcorch.paths import distrust, templates_dir
from hpcorch.plan import (
    DatabaseUse,
    Machine,
    Plan,
    Target,
    array_size,
    check_limits,
    check_site,
    chunked,
    plan_database,
    plan_ensemble,
    plan_model,
    unreadable,
)
from hpcorch.plan.configure import DEFAULT_MARKER
from hpcorch.plan.launch import usual_command
from hpcorch.render import Renderer
from hpcorch.schedulers.base import Limits, Scheduler
from hpcorch.sites import Site, template_dirs
from hpcorch.submit import Built

T = TypeVar("T")

_INTERFACES = Path("/sys/class/net")
# qsub prints its version without asking anybody.
_VERSION_SECONDS = 10.0
_MPI_COMMANDS = ("mpirun", "mpiexec", "orterun")
_MPI_WORDS = {
    r"open ?mpi|openrte|prrte": "openmpi",
    r"hydra|intel\(r\) mpi": "hydra",
    r"\bpals\b": "pals",
}
# Where Slurm's clients look; the last one is where a cluster without local files puts its own.
_SLURM_CONFS = (
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/usr/local/etc/slurm.conf",
    "/run/slurm/conf/slurm.conf",
)


def choose_scheduler(
    launcher: str, site: Site, environ: Mapping[str, str]
) -> tuple[Scheduler, str]:
    """Return the scheduler for `launcher` and the reason for the choice."""
    if launcher != "auto":
        name, reason = launcher, "it was asked for"
    elif site.scheduler != "auto":
        name, reason = site.scheduler, f"{site.origin('scheduler')} says so"
    else:
        name, reason = _detect(environ)
    if name == "slurm" and environ.get("SLURM_JOB_ID"):
        name, reason = "slurm-steps", f"this is inside the Slurm job {environ['SLURM_JOB_ID']}"
    if name in ("pbs", "torque") and _pbs_job(environ):
        name, reason = "pbs-steps", f"this is inside the PBS job {environ['PBS_JOBID']}"
    if name == "pbs" and site.pbs_dialect == "torque":
        name, reason = "torque", f"{site.origins['pbs_dialect']} says so"
    return schedulers.create(name, templates_dir(), environ, site.options()), reason


def _detect(environ: Mapping[str, str]) -> tuple[str, str]:
    """Find the batch system: programs alone do not make one, a configuration must be there too."""
    if _pbs_job(environ):
        return "pbs", f"this is inside the PBS job {environ['PBS_JOBID']}"
    program = shutil.which("qsub", path=environ.get("PATH"))
    if program is not None and (version := _ask_version(program)):
        return "pbs", f"{program} says {version}"
    program = shutil.which("sbatch", path=environ.get("PATH"))
    if program is None:
        return "local", "there is no batch system here"
    for conf in (environ.get("SLURM_CONF"), *_SLURM_CONFS):
        if conf and Path(conf).is_file():
            return "slurm", f"{program} and {conf} are there"
    return "local", f"{program} is there, but no slurm.conf"


def _pbs_job(environ: Mapping[str, str]) -> bool:
    """Say whether this is a job of PBS: a plugin of Slurm sets PBS's variables in its own jobs."""
    inside = bool(environ.get("PBS_JOBID") and environ.get("PBS_NODEFILE"))
    return inside and "SLURM_JOB_ID" not in environ


def _ask_version(program: str) -> str:
    """Return what a real qsub of PBS says of itself, nothing for any other."""
    try:
        said = shell.run(shell.Command((program, "--version"), timeout=_VERSION_SECONDS)).out
    except SchedulerError:
        return ""
    return pbs_version(said)


def pbs_version(said: str) -> str:
    """Return the line that only PBS prints: Torque and Slurm have a qsub too."""
    found = re.search(r"^pbs_version = \S+$", said, re.MULTILINE)
    return found[0] if found else ""


def mpi_library(said: str) -> str:
    """Return which MPI library a launch command belongs to, by what --version prints."""
    for words, library in _MPI_WORDS.items():
        if re.search(words, said, re.IGNORECASE):
            return library
    return ""


class Builder:
    """Plans and renders for one scheduler and site; the server is looked up when first needed."""

    def __init__(self, site: Site, scheduler: Scheduler, environ: Mapping[str, str]) -> None:
        self._site = site if site.python else replace(site, python=sys.executable)
        self._scheduler = scheduler
        self._environ = environ
        self._renderer = Renderer(templates_dir(), template_dirs(site, environ))
        self._machine: Machine | None = None
        self._mpi_of: dict[str, str] = {}
        self._limits: Limits | None = None

    def machine(self) -> Machine:
        """Return what is known of the server and the tools around it; raises ServerNotFound."""
        if self._machine is None:
            found = server.find_server(self._environ, self._site.server or None)
            self._machine = Machine(
                server=found,
                server_environment=server.allocator_environment(found),
                server_conf=self._server_conf(),
                cli=server.find_cli(self._environ, found) or "",
                openssl=shutil.which("openssl", path=self._environ.get("PATH")) is not None,
                module=str(find_module(self._environ) or ""),
            )
        return self._machine

    def _server_conf(self) -> str:
        """Return the configuration that servers include, which may load code into them.

        Raises SecurityError when others can change the site's.
        """
        named, conf = server.conf_from_environment(self._environ), self._site.server_conf
        if named or not conf:
            return named or ""
        try:
            reason = distrust(Path(conf))
        except OSError:
            # It may be on the nodes only.
            return conf
        if reason is not None:
            raise SecurityError(f"server_conf of the site: {reason[0]}", reason[1])
        return conf

    def database(self, database: Orchestrator, run_dir: Path) -> Plan:
        """Plan a standard database; raises InputError or SecurityError."""
        rundir.refuse_file(database.name, run_dir)
        self._check_interfaces("interface", database.interfaces)
        _check_modules(database.module_paths)
        restore = ""
        if database.restore is not None:
            restore = str(find_checkpoint(database.name, database.restore, database.db_nodes))
        target = self._target(run_dir)
        return Plan((plan_database(database, self.machine(), target, restore),))

    def model(self, model: Model, uses: Sequence[DatabaseUse], run_dir: Path) -> Plan:
        """Plan a program; raises InputError."""
        rundir.refuse_file(model.name, run_dir)
        machine = self._machine_beside(model)
        program, *further = self._programs(model)
        target = replace(self._target(run_dir), mpi=self._mpi(model.run_settings))
        job = plan_model(model, program, uses, machine, target, further)
        return Plan((replace(job, warnings=unreadable(model)),))

    def ensemble(
        self,
        ensemble: Ensemble,
        uses: Sequence[DatabaseUse],
        run_dir: Path,
        only: Collection[int] | None = None,
        marker: str = DEFAULT_MARKER,
    ) -> Plan:
        """Plan an ensemble, or of its members those of the numbers `only`; raises InputError.

        `marker` stands on both sides of markers in files that nodes configure.
        """
        rundir.refuse_file(ensemble.name, run_dir)
        return plan_ensemble(
            ensemble,
            _cached(self._programs),
            uses,
            self._machine_beside,
            self._target(run_dir),
            only,
            _cached(lambda model: self._mpi(model.run_settings)),
            node_lists(ensemble.name, marker),
        )

    def finish(self, plan: Plan, limits: Limits | None = None) -> Built:
        """Cut what is too large for one array, and render; without `limits` the site's say counts.

        Raises LimitError, TemplateError, RenderError; InputError when workers lack a framework.
        """
        batch = self._scheduler.is_batch
        site = array_size(plan.jobs, self._site) if batch else None
        sizes = filter(None, (limits.array_size if limits else None, site))
        jobs = chunked(plan.jobs, self._scheduler, min(sizes, default=None))
        for job in jobs:
            default = limits.default_queue if limits is not None else ""
            check_site(job, self._site, batch=batch, default_queue=default)
            if limits is not None:
                check_limits(job.resources, limits)
        workers = [job.workers for job in jobs if job.workers]
        if workers:
            needed = dict.fromkeys(name for item in workers for name in item.frameworks)
            check_frameworks(jobs[0].name, workers[0].python, needed)
        render, name = self._renderer.render, self._scheduler.name
        scripts = tuple(render(job, name, __version__) for job in jobs)
        return Built(replace(plan, jobs=jobs), scripts)

    def limits(self) -> Limits:
        """Return what the cluster accepts, asked once; raises SchedulerError without an answer."""
        if self._limits is None:
            results = [shell.run(command) for command in self._scheduler.limits_commands()]
            self._limits = self._scheduler.parse_limits(results)
        return self._limits

    def _machine_beside(self, model: Model) -> Machine | None:
        """Return what a colocated database needs, None where there is none."""
        if model.colocation is None:
            return None
        self._check_interfaces("ifname", model.colocation.interfaces)
        return self.machine()

    def _target(self, run_dir: Path) -> Target:
        token = secrets.token_hex(8)
        return Target(self._scheduler, self._site, str(run_dir), token, _own_umask())

    def _mpi(self, settings: RunSettings) -> str:
        """Return the library of the launch command: the site says, or the command itself does."""
        if self._site.mpi != "auto":
            return self._site.mpi
        command = settings.run_command
        if command == "auto":
            command = usual_command(self._scheduler.name, self._site)
        path = shutil.which(command, path=self._environ.get("PATH"))
        if path is None or command not in _MPI_COMMANDS:
            return ""
        if path not in self._mpi_of:
            try:
                said = shell.run(shell.Command((path, "--version"), timeout=_VERSION_SECONDS))
            except SchedulerError:
                return ""
            self._mpi_of[path] = mpi_library(said.out + said.err)
        return self._mpi_of[path]

    def _programs(self, model: Model) -> list[str]:
        """Return the paths of a model's program and of those that make_mpmd added."""
        settings = model.run_settings
        return [self._executable(model.name, item) for item in (settings, *settings.mpmd)]

    def _executable(self, name: str, settings: RunSettings) -> str:
        """Return the path of the program, which will run in another directory.

        A batch system's nodes may have programs that this machine lacks: a bare name is then left
        to them, and the name of a program in a container to the container.
        """
        search = settings.env_vars.get("PATH", self._environ.get("PATH"))
        container = settings.container
        first = ("exe", settings.exe) if container is None else ("container", container.runtime)
        for field, what in (first, ("run_command", _launcher_program(settings.run_command))):
            elsewhere = self._scheduler.is_remote and "/" not in what
            if what and not elsewhere and shutil.which(what, path=search) is None:
                raise InputError(
                    f"{field} of {name} is {what!r}: there is no such program on this machine"
                )
        if container is not None:
            return settings.exe
        found = shutil.which(settings.exe, path=search)
        return settings.exe if found is None else str(Path(found).absolute())

    def _check_interfaces(self, field: str, names: Sequence[str]) -> None:
        """Refuse an interface that this machine lacks, when it is the one that will be used."""
        if self._scheduler.is_remote or not _INTERFACES.is_dir():
            return
        here = sorted(item.name for item in _INTERFACES.iterdir())
        for name in names:
            if name not in here:
                raise InputError(
                    f"{field} is {name!r}: this machine has the interfaces " + ", ".join(here)
                )


def _own_umask() -> str:
    # Asking for it is setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:04o}"


def _cached(find: Callable[[Model], T]) -> Callable[[Model], T]:
    """Return `find` for members of an ensemble, most of which run the same programs."""
    found: dict[tuple[object, ...], T] = {}

    def look_up(model: Model) -> T:
        settings = model.run_settings
        programs = [(item.exe, item.env_vars.get("PATH")) for item in (settings, *settings.mpmd)]
        key = (settings.run_command, settings.container is None, *programs)
        if key not in found:
            found[key] = find(model)
        return found[key]

    return look_up


def _launcher_program(run_command: str) -> str:
    return "" if run_command in ("auto", "none") else run_command


def _check_modules(paths: Sequence[str]) -> None:
    for path in paths:
        if not os.access(path, os.R_OK):
            raise InputError(f"module_paths holds {path!r}: there is no such readable file")
