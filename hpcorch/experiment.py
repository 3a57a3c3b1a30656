"""The API that people type: describe entities, start them, watch them, stop them.

An Experiment holds no state that matters: everything is in the run directories and the journal,
so the process that made it may end at any time and another one can take over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from hpcorch import placement, progress, report, rundir
from hpcorch.build import Builder, choose_scheduler
from hpcorch.database import Database
from hpcorch.describe import check
from hpcorch.describe.container import Container
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import DEFAULT_IDENTIFIER, Orchestrator
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.describe.strategies import Strategy, Value
from hpcorch.describe.workers import Workers
from hpcorch.errors import InputError, RunNotFound
from hpcorch.journal import Journal, Run, find_runs
from hpcorch.ledger import Ledger
from hpcorch.log import get_logger
from hpcorch.roster import Entity, Roster
from hpcorch.schedulers.base import TaskState
from hpcorch.sites import load_site
from hpcorch.snapshots import RunSnapshot
from hpcorch.starter import Starter
from hpcorch.startup import Startup


class Experiment:
    """A named set of databases and programs that run together.

    `exp_path` (default: a directory `name` where you are) holds one run directory per entity.
    `launcher` is auto, local, slurm or pbs; `site` is a site profile file that wins over the
    machine's own. Raises InputError, InputTypeError or SiteError.
    """

    def __init__(
        self,
        name: str,
        exp_path: str | os.PathLike[str] | None = None,
        launcher: str = "auto",
        site: str | None = None,
    ) -> None:
        self.name = check.name("name", name)
        chosen = Path.cwd() / name if exp_path is None else Path(check.path("exp_path", exp_path))
        self.exp_path = str(chosen.absolute())
        self._site = load_site(os.environ, site)
        self._scheduler, reason = choose_scheduler(
            check.text("launcher", launcher), self._site, os.environ
        )
        self._builder = Builder(self._site, self._scheduler, os.environ)
        self._ledger = Ledger(Path(self.exp_path), self._scheduler)
        self._roster = Roster(Path(self.exp_path))
        self._log = get_logger(name)
        self._starter = Starter(
            self._builder, self._ledger, self._roster, self._scheduler, self._log
        )
        self._log.info("experiment %s uses the launcher %s: %s", name, self.launcher, reason)

    @classmethod
    def attach(cls, path: str | os.PathLike[str]) -> Experiment:
        """Take over the experiment that another process started in `path`.

        Its runs can be watched and stopped. Raises RunNotFound.
        """
        where = Path(check.path("path", path)).absolute()
        journal = Journal(where)
        if not journal.exists():
            raise RunNotFound(f"{where} holds no experiment: there is no .hpcorch/journal.jsonl")
        # The directory may be called what no entity may be called.
        name = re.sub(r"[^A-Za-z0-9_]", "_", where.name) or "experiment"
        found = cls(name[:64], exp_path=where)
        found._ledger.own(run.token for run in journal.runs())
        return found

    @property
    def launcher(self) -> str:
        """The scheduler in use."""
        return self._scheduler.name

    def create_database(
        self,
        port: int = 6379,
        path: str | None = None,
        db_nodes: int = 1,
        interface: str | Sequence[str] | None = None,
        db_identifier: str = DEFAULT_IDENTIFIER,
        security: str = "password",
        threads: int = 1,
        maxmemory: str | None = None,
        module_paths: Sequence[str] = (),
        ai_commands: bool | None = None,
        layout: str = "array",
        hosts: str | Sequence[str] | None = None,
        account: str = "",
        time: str = "",
        queue: str = "",
        shards_per_host: int = 1,
        db_cpus: int | None = None,
        custom_pinning: Iterable[int | Iterable[int]] | None = None,
        checkpoint: bool = False,
        restore: str | None = None,
        workers: Workers | int | None = None,
    ) -> Orchestrator:
        """Describe a database of `db_nodes` shards; the arguments are those of Orchestrator.

        Raises InputError when the identifier is in use in this experiment.
        """
        database = Orchestrator(
            db_identifier=db_identifier,
            db_nodes=db_nodes,
            port=port,
            interface=interface,
            path=path,
            security=security,
            threads=threads,
            maxmemory=maxmemory,
            module_paths=module_paths,
            ai_commands=ai_commands,
            layout=layout,
            batch_settings=BatchSettings(time=time, queue=queue, account=account),
            shards_per_host=shards_per_host,
            db_cpus=db_cpus,
            custom_pinning=custom_pinning,
            checkpoint=checkpoint,
            restore=restore,
            workers=workers,
        )
        if hosts is not None:
            database.set_hosts(hosts)
        self._roster.add(database)
        return database

    def create_model(
        self,
        name: str,
        run_settings: RunSettings,
        params: Mapping[str, str | int | float] | None = None,
        path: str | None = None,
        enable_key_prefixing: bool = False,
        batch_settings: BatchSettings | None = None,
    ) -> Model:
        """Describe a program to run; raises InputError when the name is in use."""
        model = Model(name, run_settings, params, path, batch_settings, enable_key_prefixing)
        self._roster.add(model)
        return model

    def create_ensemble(
        self,
        name: str,
        params: Mapping[str, Value | Sequence[Value]] | None = None,
        batch_settings: BatchSettings | None = None,
        run_settings: RunSettings | None = None,
        replicas: int | None = None,
        perm_strategy: str | Strategy = "all_perm",
        path: str | None = None,
        params_as_args: Sequence[str] = (),
        n_models: int = 0,
        seed: int = 0,
        max_running: int | None = None,
    ) -> Ensemble:
        """Describe programs that run as one job array; the arguments are those of Ensemble.

        Raises InputError when the name is in use.
        """
        ensemble = Ensemble(
            name,
            params,
            batch_settings,
            run_settings,
            replicas,
            perm_strategy,
            path,
            params_as_args,
            n_models,
            seed,
            max_running,
        )
        self._roster.add(ensemble)
        return ensemble

    def create_run_settings(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_command: str | None = "auto",
        run_args: Mapping[str, str | int | float | None] | None = None,
        env_vars: Mapping[str, str | int | float] | None = None,
        container: Container | None = None,
    ) -> RunSettings:
        """Describe how a program is run; the arguments are those of RunSettings."""
        return RunSettings(exe, exe_args, run_command, run_args, env_vars, container)

    def create_batch_settings(
        self,
        nodes: int | None = None,
        time: str = "",
        queue: str = "",
        account: str = "",
        batch_args: Mapping[str, str | int | None] | None = None,
    ) -> BatchSettings:
        """Describe what to ask a batch system for; the arguments are those of BatchSettings."""
        return BatchSettings(nodes, time, queue, account, batch_args)

    def generate(self, *entities: Entity, tag: str | None = None, overwrite: bool = False) -> None:
        """Make the run directories and put the attached files there.

        `tag` is the text that stands on both sides of a marker in files to configure, by default a
        semicolon. A directory that holds an earlier run or its files is refused unless `overwrite`
        is true; then what that run left is removed, and files of the same names are replaced.
        All of this is checked before anything is written. Raises InputError.
        """
        marker = placement.checked_marker(tag)
        chosen = self._roster.checked(entities)
        orders = placement.survey_all(self._roster.programs(chosen), marker)
        for entity in chosen:
            directory = self._roster.directory(entity)
            holds_run = (directory / self._scheduler.script_name).exists()
            if (holds_run or placement.is_generated(directory)) and not overwrite:
                raise InputError(
                    f"{directory} holds an earlier run of {entity.name}", "say overwrite=True"
                )
        self._ledger.refuse_if_running(self._ledger.submitted([item.name for item in chosen]))
        for entity in chosen:
            directory = self._roster.directory(entity)
            members = list(entity.peek()) if isinstance(entity, Ensemble) else []
            rundir.prepare(directory, entity.name, len(members) or 1)
            for model in members:
                rundir.make_private(Path(model.path or directory / model.name))
        self._place(orders)

    def _place(self, orders: Sequence[placement.Order]) -> None:
        for order in orders:
            for warning in placement.carry_out(order):
                self._log.warning(warning)

    def preview(self, *entities: Entity) -> str:
        """Return the scripts that start would submit now; every start has a token of its own.

        After those of an ensemble stand its members, up to 20 of them. For ensembles the cluster
        is asked how large an array may be.
        """
        chosen = self._roster.checked(entities)
        exact = any(isinstance(entity, Ensemble) for entity in chosen)
        limits = self._builder.limits() if exact else None
        plans = self._starter.plan(chosen)
        return "\n".join(report.preview(self._builder.finish(plan, limits)) for _, plan in plans)

    def start(
        self,
        *entities: Entity,
        block: bool = True,
        summary: bool = False,
        kill_on_interrupt: bool = True,
        wait: bool = True,
        queue_timeout: float | None = None,
        only: str | None = None,
    ) -> None:
        """Start databases, wait until they answer, then start the programs.

        `block` waits for the programs to end. `wait=False` submits everything at once: programs
        then wait for their databases themselves, and block is without effect. `summary` logs the
        table before returning. `kill_on_interrupt` stops what this call started on Ctrl-C and on
        SIGTERM; when something cannot be started, what this call started before is stopped in any
        case. `queue_timeout` is how many seconds a database's shards may stay queued (default: any
        time). `only` starts ensembles again: "failed" those members that failed, were lost or ran
        out of time, "unfinished" those that were stopped as well.
        All input is checked before anything starts. Raises InputError, SecurityError,
        ServerNotFound, SchedulerError, or StartFailed with the cause.
        """
        chosen = self._roster.checked(entities)
        if queue_timeout is not None:
            check.seconds("queue_timeout", queue_timeout)
            if not wait:
                raise InputError("queue_timeout is for start that waits: leave out wait=False")
        names = [entity.name for entity in chosen]
        self._ledger.refuse_if_running(self._ledger.submitted(names))
        numbers = {} if only is None else self._starter.to_run_again(chosen, only)
        plans = self._starter.plan(chosen, numbers)
        orders = placement.survey_all(self._roster.programs(chosen))
        rundir.make_private(Path(self.exp_path))
        limits = self._builder.limits() if plans else None
        built = [(entity, self._builder.finish(plan, limits)) for entity, plan in plans]
        for entity, item in built:
            for warning in item.job.warnings:
                self._log.warning(warning)
            rundir.make_private(self._roster.directory(entity))
        self._place(orders)
        begun: list[Run] = []
        with self._starter.all_or_nothing(begun, kill_on_interrupt):
            databases = self._starter.start_databases(built, begun)
            startup = Startup(self._scheduler, self._ledger.tracker, self._log, queue_timeout)
            for run, database in databases if wait else ():
                startup.wait(run, database)
            for entity, item in built:
                if not isinstance(entity, Orchestrator):
                    begun.append(self._starter.submit(item, begun))
            programs = begun[len(databases) :]
            if block and wait and programs:
                with progress.watching(self._log) as show:
                    self._ledger.wait(programs, show)
        if summary:
            self._log.info("\n%s", self.summary())

    def stop(self, *entities: Entity) -> None:
        """Stop entities, programs before databases; without arguments everything.

        A member of an ensemble is stopped while the others go on. Stopping what has ended, or
        twice, does nothing. Raises SchedulerError when something cannot be stopped.
        """
        members: dict[str, set[int]] = {}
        others = []
        for item in entities:
            owner = self._roster.member(item)
            if owner is None:
                others.append(item)
            else:
                members.setdefault(owner[0].name, set()).add(owner[1])
        names = {entity.name for entity in self._roster.checked(others)}
        if not entities:
            names = {run.entity for run in self._ledger.runs()}
        self._ledger.stop(names, members)
        self._starter.detach(names)

    def poll(self, *, verbose: bool = True) -> None:
        """Wait until no program of this experiment runs any more; databases are not waited for."""
        runs = [run for run in self._ledger.runs() if not run.is_service]
        with progress.watching(self._log) if verbose else nullcontext(_ignore) as show:
            self._ledger.wait(runs, show)

    def finished(self, entity: Entity) -> bool:
        """Whether the last run of `entity` has ended; raises InputError if it never started."""
        states = self.get_status(entity)
        if TaskState.NEW in states:
            raise InputError(f"{entity.name} was never started in this experiment")
        return all(state.terminal for state in states)

    def get_status(self, *entities: Entity) -> list[TaskState]:
        """Return the state of each entity's last run, `New` for one that never started.

        An ensemble has one state for each member, in their order.
        """
        last = {shot.run.entity: shot for shot in self._ledger.snapshots()}
        states: list[TaskState] = []
        for item in entities:
            found = self._roster.member(item)
            entity, number = found or (self._roster.checked([item])[0], None)
            shot = last.get(entity.name)
            tasks = {} if shot is None else {task.index: task.state for task in shot.tasks}
            if isinstance(entity, Ensemble):
                wanted = range(len(entity)) if number is None else [number]
                states += [tasks.get(place, TaskState.NEW) for place in wanted]
            else:
                states.append(TaskState.NEW if shot is None else shot.state)
        return states

    def reconnect_orchestrator(self, checkpoint: str | os.PathLike[str]) -> Orchestrator:
        """Take over a database that any process of yours has started; it must run.

        `checkpoint` is its run directory or a file in there. Programs that are started from now on
        are told of it, and stop ends it. Raises RunNotFound, or NotActive when it does not answer.
        """
        where = Path(check.path("checkpoint", checkpoint)).absolute()
        where = where if where.is_dir() else where.parent
        runs = [run for run in find_runs(where) if run.is_service]
        if not runs:
            raise RunNotFound(f"{where} holds no database", "name a database's directory")
        run = runs[-1]
        running = Database(where, run.mark)
        running.register()
        database = self._roster.database_in(where)
        if database is None:
            database = Orchestrator(
                db_identifier=run.entity, db_nodes=run.elements, path=str(where)
            )
            self._roster.add(database)
        database.attach(running)
        self._ledger.take_over(Journal(where.parent), run)
        return database

    def summary(self, style: str = "github") -> str:
        """Return a table of all runs; `style` is a table format of the tabulate package."""
        rows = self._ledger.snapshots()
        return report.table(rows, {self._scheduler.name: self._scheduler}, style)


def _ignore(_: Sequence[RunSnapshot]) -> None:
    """Show nothing."""
