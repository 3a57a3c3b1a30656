"""The API that people type: describe entities, start them, watch them, stop them.

An Experiment holds no state that matters: everything is in the run directories and the journal,
so the process that made it may end at any time and another one can take over.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hpcorch import report, rundir
from hpcorch.build import Builder, Built, choose_scheduler
from hpcorch.database import Database
from hpcorch.describe import check
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import DEFAULT_IDENTIFIER, Orchestrator
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.describe.workers import Workers
from hpcorch.errors import HpcorchError, InputError, RunNotFound, StartFailed
from hpcorch.log import get_logger
from hpcorch.plan import DatabaseUse, suffix
from hpcorch.roster import Entity, Roster
from hpcorch.rundir import Journal, Run
from hpcorch.schedulers.base import TaskState
from hpcorch.sites import load_site
from hpcorch.stop import stop as stop_runs
from hpcorch.submit import recover, submit
from hpcorch.track import RunSnapshot, Tracker, glance_seconds, wait_for


class Experiment:
    """A named set of databases and programs that run together.

    `exp_path` (default: a directory `name` where you are) holds one run directory per entity.
    `launcher` is auto or local; `site` is a site profile file that wins over the machine's own.
    Raises InputError, InputTypeError or SiteError.
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
        self._journal = Journal(Path(self.exp_path))
        self._tracker = Tracker(self._scheduler)
        self._roster = Roster(Path(self.exp_path))
        self._tokens: list[str] = []
        self._log = get_logger(name)
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
        found._tokens = [run.token for run in journal.runs()]
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
        layout: str = "array",
        hosts: str | Sequence[str] | None = None,
        account: str = "",
        time: str = "",
        queue: str = "",
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
            layout=layout,
            batch_settings=BatchSettings(time=time, queue=queue, account=account),
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
        batch_settings: BatchSettings | None = None,
    ) -> Model:
        """Describe a program to run; raises InputError when the name is in use."""
        model = Model(name, run_settings, params, path, batch_settings)
        self._roster.add(model)
        return model

    def create_run_settings(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_command: str | None = "auto",
        run_args: Mapping[str, str | int | float | None] | None = None,
        env_vars: Mapping[str, str | int | float] | None = None,
    ) -> RunSettings:
        """Describe how a program is run; the arguments are those of RunSettings."""
        return RunSettings(exe, exe_args, run_command, run_args, env_vars)

    def create_batch_settings(
        self,
        nodes: int = 1,
        time: str = "",
        queue: str = "",
        account: str = "",
        batch_args: Mapping[str, str | int | None] | None = None,
    ) -> BatchSettings:
        """Describe what to ask a batch system for; the arguments are those of BatchSettings."""
        return BatchSettings(nodes, time, queue, account, batch_args)

    def generate(self, *entities: Entity, overwrite: bool = False) -> None:
        """Make the run directories.

        One that holds an earlier run is refused unless `overwrite` is true; then what that run
        left is removed. Raises InputError.
        """
        for entity in self._roster.checked(entities):
            directory = self._roster.directory(entity)
            if (directory / self._scheduler.script_name).exists() and not overwrite:
                raise InputError(
                    f"{directory} holds an earlier run of {entity.name}", "say overwrite=True"
                )
            self._refuse_if_running(self._submitted([entity]))
            rundir.prepare(directory, entity.name, 1)

    def preview(self, *entities: Entity) -> str:
        """Return the scripts that start would submit now; every start has a token of its own."""
        return "\n".join(
            built.script.text for _, built in self._build(self._roster.checked(entities))
        )

    def start(
        self,
        *entities: Entity,
        block: bool = True,
        summary: bool = False,
        kill_on_interrupt: bool = True,
        wait: bool = True,
    ) -> None:
        """Start databases, wait until they answer, then start the programs.

        `block` waits for the programs to end. `wait=False` submits everything at once: programs
        then wait for their databases themselves, and block is without effect. `summary` logs the
        table before returning. `kill_on_interrupt` stops what this call started on Ctrl-C; when
        something cannot be started, what this call started before is stopped in any case.
        All input is checked before anything starts. Raises InputError, SecurityError,
        ServerNotFound, SchedulerError, or StartFailed with the cause.
        """
        chosen = self._roster.checked(entities)
        self._refuse_if_running(self._submitted(chosen))
        built = self._build(chosen)
        rundir.make_private(Path(self.exp_path))
        self._builder.check_limits([item for _, item in built])
        for entity, item in built:
            for warning in item.job.warnings:
                self._log.warning(warning)
            rundir.make_private(self._roster.directory(entity))
        begun: list[Run] = []
        with self._all_or_nothing(begun, kill_on_interrupt):
            self._start_databases(built, begun, wait)
            databases = len(begun)
            for entity, item in built:
                if isinstance(entity, Model):
                    begun.append(self._submit(item))
            programs = begun[databases:]
            if block and wait and programs:
                wait_for(self._tracker, programs, self._report_changes())
        if summary:
            self._log.info("\n%s", self.summary())

    def _start_databases(
        self, built: Sequence[tuple[Entity, Built]], begun: list[Run], wait: bool
    ) -> None:
        started: list[tuple[Orchestrator, Run, Database]] = []
        for entity, item in built:
            if isinstance(entity, Orchestrator):
                run = self._submit(item)
                begun.append(run)
                database = Database(Path(run.directory), run.job.job if run.job else None)
                entity.attach(database)
                started.append((entity, run, database))
        for entity, run, database in started if wait else ():
            self._await_database(entity, run, database)

    def _submit(self, built: Built) -> Run:
        with self._journal.lock():
            earlier = [run for run in self._journal.runs() if run.entity == built.job.name]
            self._refuse_if_running(recover(earlier, self._scheduler, self._journal))
            run = submit(built.job, built.script, self._scheduler, self._journal, len(earlier))
        self._tokens.append(run.token)
        label = self._scheduler.job_label(run.ref) if run.ref else ""
        self._log.info("submitted %s as job %s", run.entity, label)
        # The journal knows when it was submitted; this process would read another clock.
        return next(item for item in self._journal.runs() if item.token == run.token)

    def _await_database(self, entity: Orchestrator, run: Run, database: Database) -> None:
        began = time.monotonic()
        while not database.is_published():
            shot = self._tracker.snapshot([run])[0]
            # One shard that has ended is enough: the others may be queued for hours.
            if any(task.state.terminal for task in shot.tasks):
                raise StartFailed(
                    f"database {entity.name} did not start: {report.why(shot)}",
                    f"its logs are in {Path(run.directory) / 'logs'}",
                )
            time.sleep(glance_seconds(self._scheduler) / 5)
        database.register()
        took = time.monotonic() - began
        self._log.info(
            "database %s answers at %s after %.2f s",
            entity.name,
            ",".join(database.addresses()),
            took,
        )

    def stop(self, *entities: Entity) -> None:
        """Stop entities, programs before databases; without arguments everything.

        Stopping what has ended, or twice, does nothing. Raises SchedulerError when something
        cannot be stopped.
        """
        names = {entity.name for entity in self._roster.checked(entities)}
        runs = [run for run in self._runs() if not entities or run.entity in names]
        stop_runs(runs, self._scheduler, self._journal)
        for entity in self._roster:
            if isinstance(entity, Orchestrator) and (not entities or entity.name in names):
                entity.attach(None)

    def poll(self, *, verbose: bool = True) -> None:
        """Wait until no program of this experiment runs any more; databases are not waited for."""
        runs = [run for run in self._runs() if run.kind == "model"]
        wait_for(self._tracker, runs, self._report_changes() if verbose else _ignore)

    def finished(self, entity: Entity) -> bool:
        """Whether the last run of `entity` has ended; raises InputError if it never started."""
        state = self.get_status(entity)[0]
        if state is TaskState.NEW:
            raise InputError(f"{entity.name} was never started in this experiment")
        return state.terminal

    def get_status(self, *entities: Entity) -> list[TaskState]:
        """Return the state of each entity's last run, `New` for one that never started."""
        last = {shot.run.entity: shot.state for shot in self._snapshots()}
        return [last.get(entity.name, TaskState.NEW) for entity in self._roster.checked(entities)]

    def summary(self, style: str = "github") -> str:
        """Return a table of all runs; `style` is a table format of the tabulate package."""
        rows = self._snapshots()
        return report.table(rows, {self._scheduler.name: self._scheduler}, style)

    def _submitted(self, entities: Sequence[Entity]) -> list[Run]:
        """Return what any driver has submitted here under the names of `entities`."""
        names = {entity.name for entity in entities}
        return [run for run in self._journal.runs() if run.entity in names and run.job]

    def _refuse_if_running(self, runs: Sequence[Run]) -> None:
        """Refuse to start what any driver has started here and nobody has stopped."""
        for shot in Tracker(self._scheduler).snapshot(runs):
            if not shot.state.terminal:
                label = self._scheduler.job_label(shot.run.ref) if shot.run.ref else "unknown"
                raise InputError(
                    f"{shot.run.entity} is {shot.state} already, as job {label}",
                    f"hpcorch stop {self.exp_path}",
                )

    def _build(self, entities: Sequence[Entity]) -> list[tuple[Entity, Built]]:
        """Plan and render everything, databases first, so that all refusals come together."""
        uses = self._databases_in_use(entities)
        ordered = sorted(entities, key=lambda entity: isinstance(entity, Model))
        return [
            (
                entity,
                self._builder.database(entity, self._roster.directory(entity))
                if isinstance(entity, Orchestrator)
                else self._builder.model(entity, uses, self._roster.directory(entity)),
            )
            for entity in ordered
        ]

    def _databases_in_use(self, entities: Sequence[Entity]) -> list[DatabaseUse]:
        """Return the databases that programs started now will be told of."""
        directories: dict[str, str] = {}
        for shot in self._snapshots():
            if shot.run.kind == "database" and not shot.state.terminal:
                directories[shot.run.entity] = shot.run.directory
        for entity in entities:
            if isinstance(entity, Orchestrator):
                directories[entity.name] = str(self._roster.directory(entity))
        return [DatabaseUse(where, suffix(name)) for name, where in directories.items()]

    def _runs(self) -> list[Run]:
        mine = set(self._tokens)
        return [run for run in self._journal.runs() if run.token in mine]

    def _snapshots(self) -> list[RunSnapshot]:
        return self._tracker.snapshot(self._runs())

    def _report_changes(self) -> Callable[[Sequence[RunSnapshot]], None]:
        seen: dict[str, TaskState] = {}

        def report_changes(shots: Sequence[RunSnapshot]) -> None:
            for shot in shots:
                if seen.get(shot.run.token) is not shot.state:
                    seen[shot.run.token] = shot.state
                    self._log.info(report.change(shot))

        return report_changes

    @contextmanager
    def _all_or_nothing(self, begun: list[Run], kill_on_interrupt: bool) -> Iterator[None]:
        """Stop what one call of start has begun when the rest of it cannot be."""
        try:
            yield
        except HpcorchError:
            self._give_up(begun)
            raise
        except KeyboardInterrupt:
            if kill_on_interrupt:
                self._log.warning("interrupted: stopping what was started")
                self._give_up(begun)
            raise

    def _give_up(self, begun: Sequence[Run]) -> None:
        stop_runs(begun, self._scheduler, self._journal)
        names = {run.entity for run in begun}
        for entity in self._roster:
            if isinstance(entity, Orchestrator) and entity.name in names:
                entity.attach(None)


def _ignore(_: Sequence[RunSnapshot]) -> None:
    """Report nothing."""
