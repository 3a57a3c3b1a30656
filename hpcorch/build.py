"""From a description to a checked script: looks up what planning must know, plans, renders.

Nothing is submitted or written here; every refusal comes before anything has started.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcorch import __version__, schedulers, server
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError
from hpcorch.paths import templates_dir
from hpcorch.plan import (
    DatabaseUse,
    Job,
    Machine,
    local_by_hand,
    plan_database,
    plan_model,
)
from hpcorch.render import Renderer, Script
from hpcorch.schedulers.base import Scheduler
from hpcorch.sites import Site

_INTERFACES = Path("/sys/class/net")


@dataclass(frozen=True)
class Built:
    """A job and the script that runs it."""

    job: Job
    script: Script


def choose_scheduler(launcher: str, site: Site) -> tuple[Scheduler, str]:
    """Return the scheduler for `launcher` and the reason for the choice."""
    if launcher != "auto":
        return schedulers.create(launcher, templates_dir()), "it was asked for"
    if site.scheduler != "auto":
        origin = site.origins["scheduler"]
        return schedulers.create(site.scheduler, templates_dir()), f"{origin} says so"
    return schedulers.create("local", templates_dir()), "no batch system is known to this version"


class Builder:
    """Plans and renders for one scheduler and site; the server is looked up when first needed."""

    def __init__(self, site: Site, scheduler: Scheduler, environ: Mapping[str, str]) -> None:
        self._site = site
        self._scheduler = scheduler
        self._environ = environ
        self._renderer = Renderer(templates_dir(), site.template_dirs)
        self._machine: Machine | None = None

    def machine(self) -> Machine:
        """Return what is known of the server and the tools around it; raises ServerNotFound."""
        if self._machine is None:
            found = server.find_server(self._environ, self._site.server or None)
            conf = server.conf_from_environment(self._environ) or self._site.server_conf
            self._machine = Machine(
                scheduler=self._scheduler.name,
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
        job = plan_database(
            database,
            self.machine(),
            self._site,
            str(run_dir),
            secrets.token_hex(8),
            self._by_hand(run_dir),
        )
        return self._built(job)

    def model(self, model: Model, uses: Sequence[DatabaseUse], run_dir: Path) -> Built:
        """Plan and render a program; raises InputError or TemplateError."""
        if model.colocation is not None:
            self._check_interfaces("ifname", model.colocation.interfaces)
        job = plan_model(
            model,
            self._executable(model),
            uses,
            self._scheduler.name,
            self.machine() if model.colocation is not None else None,
            self._site,
            str(run_dir),
            secrets.token_hex(8),
            self._by_hand(run_dir),
        )
        return self._built(job)

    def _built(self, job: Job) -> Built:
        return Built(job, self._renderer.render(job, self._scheduler.name, __version__))

    def _by_hand(self, run_dir: Path) -> str:
        return local_by_hand(str(run_dir / self._scheduler.script_name))

    def _executable(self, model: Model) -> str:
        """Return the absolute path of the program; it will run in another directory."""
        settings = model.run_settings
        search = settings.env_vars.get("PATH", self._environ.get("PATH"))
        for what in (settings.exe, _launcher_program(settings.run_command)):
            if what and shutil.which(what, path=search) is None:
                raise InputError(
                    f"exe of {model.name} is {what!r}: there is no such program on this machine"
                )
        found = shutil.which(settings.exe, path=search)
        assert found is not None
        return str(Path(found).absolute())

    def _check_interfaces(self, field: str, names: Sequence[str]) -> None:
        """Refuse an interface that this machine lacks, when it is the one that will be used."""
        if self._scheduler.name != "local" or not _INTERFACES.is_dir():
            return
        here = sorted(item.name for item in _INTERFACES.iterdir())
        for name in names:
            if name not in here:
                raise InputError(
                    f"{field} is {name!r}: this machine has the interfaces " + ", ".join(here)
                )


def _launcher_program(run_command: str) -> str:
    return "" if run_command in ("auto", "none") else run_command


def _check_modules(paths: Sequence[str]) -> None:
    for path in paths:
        if not os.access(path, os.R_OK):
            raise InputError(f"module_paths holds {path!r}: there is no such readable file")
