"""From a description to a checked script: looks up what planning must know, plans, renders.

Nothing is submitted or written here; every refusal comes before anything has started.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpcorch import __version__, schedulers, server, shell
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError, SchedulerError
from hpcorch.paths import templates_dir
from hpcorch.plan import (
    DatabaseUse,
    Job,
    Machine,
    Target,
    WorkerPlan,
    check_limits,
    plan_database,
    plan_model,
)
from hpcorch.render import Renderer, Script
from hpcorch.schedulers.base import Limits, Scheduler
from hpcorch.sites import Site

_INTERFACES = Path("/sys/class/net")
# qsub prints its version without asking anybody.
_VERSION_SECONDS = 10.0
# A Python on a slow network file system takes its time to start.
_PYTHON_SECONDS = 60.0
# What to install for each framework.
PACKAGES = {
    "ONNX": "onnxruntime",
    "TFLITE": "ai-edge-litert",
    "TORCH": "torch",
    "TF": "tensorflow",
}
# Where Slurm's clients look; the last one is where a cluster without local files puts its own.
_SLURM_CONFS = (
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/usr/local/etc/slurm.conf",
    "/run/slurm/conf/slurm.conf",
)


@dataclass(frozen=True)
class Built:
    """A job and the script that runs it."""

    job: Job
    script: Script


def choose_scheduler(
    launcher: str, site: Site, environ: Mapping[str, str]
) -> tuple[Scheduler, str]:
    """Return the scheduler for `launcher` and the reason for the choice."""
    if launcher != "auto":
        name, reason = launcher, "it was asked for"
    elif site.scheduler != "auto":
        name, reason = site.scheduler, f"{site.origins['scheduler']} says so"
    else:
        name, reason = _detect(environ)
    if name == "slurm" and environ.get("SLURM_JOB_ID"):
        name, reason = "slurm-steps", f"this is inside the Slurm job {environ['SLURM_JOB_ID']}"
    return schedulers.create(name, templates_dir(), environ, site.pbs_place), reason


def _detect(environ: Mapping[str, str]) -> tuple[str, str]:
    """Find the batch system: programs alone do not make one, a configuration must be there too."""
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


class Builder:
    """Plans and renders for one scheduler and site; the server is looked up when first needed."""

    def __init__(self, site: Site, scheduler: Scheduler, environ: Mapping[str, str]) -> None:
        self._site = site if site.python else replace(site, python=sys.executable)
        self._scheduler = scheduler
        self._environ = environ
        self._renderer = Renderer(templates_dir(), site.template_dirs)
        self._machine: Machine | None = None
        self._limits: Limits | None = None

    def machine(self) -> Machine:
        """Return what is known of the server and the tools around it; raises ServerNotFound."""
        if self._machine is None:
            found = server.find_server(self._environ, self._site.server or None)
            conf = server.conf_from_environment(self._environ) or self._site.server_conf
            self._machine = Machine(
                server=found,
                server_environment=server.allocator_environment(found),
                server_conf=conf,
                cli=server.find_cli(self._environ, found) or "",
                openssl=shutil.which("openssl", path=self._environ.get("PATH")) is not None,
            )
        return self._machine

    def database(self, database: Orchestrator, run_dir: Path) -> Built:
        """Plan and render a standard database; raises InputError, SecurityError, TemplateError."""
        self._check_interfaces("interface", database.interfaces)
        _check_modules(database.module_paths)
        return self._built(plan_database(database, self.machine(), self._target(run_dir)))

    def model(self, model: Model, uses: Sequence[DatabaseUse], run_dir: Path) -> Built:
        """Plan and render a program; raises InputError or TemplateError."""
        machine = None
        if model.colocation is not None:
            self._check_interfaces("ifname", model.colocation.interfaces)
            machine = self.machine()
        executable = self._executable(model)
        return self._built(plan_model(model, executable, uses, machine, self._target(run_dir)))

    def check_limits(self, built: Sequence[Built]) -> None:
        """Ask the cluster for its limits, once, and hold the jobs against them.

        Raises LimitError, or SchedulerError when the cluster does not answer.
        """
        commands = self._scheduler.limits_commands()
        if not commands or not built:
            return
        if self._limits is None:
            results = [shell.run(command) for command in commands]
            self._limits = self._scheduler.parse_limits(results)
        for item in built:
            check_limits(item.job.resources, self._limits)

    def _target(self, run_dir: Path) -> Target:
        return Target(self._scheduler, self._site, str(run_dir), secrets.token_hex(8))

    def _built(self, job: Job) -> Built:
        if job.workers is not None:
            check_frameworks(job.name, job.workers)
        return Built(job, self._renderer.render(job, self._scheduler.name, __version__))

    def _executable(self, model: Model) -> str:
        """Return the path of the program, which will run in another directory.

        A batch system's nodes may have programs that this machine lacks: a bare name is then left
        to them.
        """
        settings = model.run_settings
        search = settings.env_vars.get("PATH", self._environ.get("PATH"))
        for what in (settings.exe, _launcher_program(settings.run_command)):
            elsewhere = self._scheduler.is_remote and "/" not in what
            if what and not elsewhere and shutil.which(what, path=search) is None:
                raise InputError(
                    f"exe of {model.name} is {what!r}: there is no such program on this machine"
                )
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


def check_frameworks(name: str, workers: WorkerPlan) -> None:
    """Refuse workers whose Python lacks hpcorch or a framework; raises InputError."""
    there = frameworks(workers.python)
    for wanted in workers.frameworks:
        if not there.get(wanted):
            raise InputError(
                f"the model workers of {name} need {wanted}: {workers.python} has no "
                f"{PACKAGES[wanted]}",
                f"{workers.python} -m pip install {PACKAGES[wanted]}",
            )


def frameworks(python: str) -> dict[str, str]:
    """Ask a Python for its frameworks: names as in Client.set_model, then what there is, or "".

    Raises InputError when it cannot run model workers.
    """
    words = (python, "-m", "hpcorch.inference", "frameworks")
    try:
        done = shell.run(shell.Command(words, timeout=_PYTHON_SECONDS))
        found: dict[str, str] = json.loads(done.out) if done.code == 0 else {}
    except (SchedulerError, ValueError) as error:
        raise InputError(f"{python} cannot run model workers: {error}") from error
    if not found:
        last = (done.err.strip().splitlines() or [f"exit code {done.code}"])[-1]
        raise InputError(f"{python} cannot run model workers: {last}", "install hpcorch there")
    return found


def _launcher_program(run_command: str) -> str:
    return "" if run_command in ("auto", "none") else run_command


def _check_modules(paths: Sequence[str]) -> None:
    for path in paths:
        if not os.access(path, os.R_OK):
            raise InputError(f"module_paths holds {path!r}: there is no such readable file")
