"""The API that people type: describe entities, start them, watch them, stop them.

An Experiment holds no state that matters: everything is in the run directories and the journal,
so the process that made it may end at any time and another one can take over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from hpcorch import byhand, generation, placement, progress, report, rundir
from hpcorch.build import Builder, choose_scheduler
from hpcorch.database import Database
from hpcorch.describe import check
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describer import Describer
from hpcorch.errors import InputError, RunNotFound, StorageError
from hpcorch.journal import Journal, Run, find_runs
from hpcorch.ledger import Ledger
from hpcorch.log import get_logger
from hpcorch.roster import Entity
from hpcorch.schedulers.base import TaskState
from hpcorch.sites import load_site
from hpcorch.snapshots import RunSnapshot
from hpcorch.starter import Starter
from hpcorch.startup import Startup
from hpcorch.submit import Built


class Experiment(Describer):
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
        super().__init__(Path(self.exp_path))
        self._site = load_site(os.environ, None if site is None else check.path("site", site))
        self._scheduler, reason = choose_scheduler(
            check.text("launcher", launcher), self._site, os.environ
        )
        self._builder = Builder(self._site, self._scheduler, os.environ)
        self._ledger = Ledger(Path(self.exp_path), self._scheduler)
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

    def generate(
        self,
        *entities: Entity,
        tag: str | None = None,
        overwrite: bool = False,
        verbose: bool = False,
    ) -> None:
        """Make the run directories and put the attached files there.

        `tag` is the text that stands on both sides of a marker in files to configure, by default a
        semicolon. A directory that holds an earlier run or its files is refused unless `overwrite`
        is true; then what that run left is removed, and files of the same names are replaced.
        `verbose` logs what is put where. All of this is checked before anything is written.
        Raises InputError.
        """
        marker = placement.checked_marker(tag)
        chosen = self._roster.distinct(entities)
        orders = placement.survey_all(self._roster.programs(chosen), marker)
        script = self._scheduler.script_name
        generation.refuse_to_overwrite(chosen, self._roster, script, overwrite=overwrite)
        self._ledger.refuse_if_running(self._ledger.submitted([item.name for item in chosen]))
        generation.prepare(chosen, self._roster, marker)
        generation.carry_out(orders, self._log, verbose=verbose)

    def preview(self, *entities: Entity) -> str:
        """Return the scripts that start would submit now; every start has a token of its own.

        After those of an ensemble stand its members, up to 20 of them. For ensembles the cluster
        is asked how large an array may be.
        """
        chosen = self._roster.distinct(entities)
        exact = any(isinstance(entity, Ensemble) for entity in chosen)
        limits = self._builder.limits() if exact else None
        plans = self._starter.plan(chosen)
        return "\n".join(report.preview(self._builder.finish(plan, limits)) for _, plan in plans)

    def render(self, *entities: Entity, directory: str | os.PathLike[str]) -> list[str]:
        """Write the scripts of entities to `directory`, and return the commands that submit them.

        What they need is put into their run directories; nothing is started and nobody is asked.
        Programs wait for the databases among `entities`, and those of this experiment that run:
        all scripts can be submitted at once. `hpcorch status`, `stop` and `logs` find their runs,
        and reconnect_orchestrator takes a database over. Raises InputError or what start raises.
        """
        folder = Path(check.path("directory", directory))
        chosen = self._roster.distinct(entities)
        uses = self._starter.databases_in_use(chosen)
        drafts = [byhand.drafted(self._builder, self._roster, item, uses) for item in chosen]
        folder.mkdir(parents=True, exist_ok=True)
        commands = []
        for draft in drafts:
            job = draft.built.job
            first = folder / f"{job.name}{Path(self._scheduler.script_name).suffix}"
            for warning in (*job.warnings, *byhand.write(draft, first)):
                self._log.warning(warning)
            commands += [command for _, command in byhand.submissions(draft, first)]
        return commands

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
        chosen = self._roster.distinct(entities)
        _check_timeout(queue_timeout, wait=wait)
        names = [entity.name for entity in chosen]
        self._ledger.refuse_if_running(self._ledger.submitted(names))
        built = self._prepare(chosen, only)
        begun: list[Run] = []
        with self._starter.all_or_nothing(begun, kill_on_interrupt):
            databases = self._starter.start_databases(built, begun)
            startup = Startup(self._scheduler, self._ledger.tracker, self._log, queue_timeout)
            for run, database, port in databases if wait else ():
                startup.wait(run, database, port)
            programs = self._starter.start_programs(built, begun)
            if block and wait and programs:
                with progress.watching(self._log) as show:
                    self._ledger.wait(programs, show)
        if summary:
            self._log.info("\n%s", self.summary())

    def _prepare(self, chosen: Sequence[Entity], only: str | None) -> list[tuple[Entity, Built]]:
        """Return what is to be submitted, databases first; its files are in place then."""
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
        generation.carry_out(orders, self._log)
        return built

    def stop(self, *entities: Entity) -> None:
        """Stop entities, programs before databases; without arguments everything.

        A member of an ensemble is stopped while the others go on. Stopping what has ended, or
        twice, does nothing. Raises SchedulerError when something cannot be stopped.
        """
        members: dict[str, set[int]] = {}
        others = []
        for item in entities:
            owner = self._membership(item)
            if owner is None:
                others.append(item)
            else:
                members.setdefault(owner[0].name, set()).add(owner[1])
        names = {entity.name for entity in self._roster.checked(others)}
        if not entities:
            names = {run.entity for run in self._ledger.runs()}
        self._ledger.stop(names, members)
        self._starter.detach(names)

    def poll(
        self, interval: float | None = None, verbose: bool = True, kill_on_interrupt: bool = True
    ) -> None:
        """Wait until no program of this experiment runs any more; databases are not waited for.

        `interval` is the least number of seconds between two looks (default: as often as it costs
        little). `verbose` shows what changes. `kill_on_interrupt` stops the programs on Ctrl-C and
        on SIGTERM. Raises InputError or InputTypeError.
        """
        pause = 0.0 if interval is None else check.seconds("interval", interval)
        runs = [run for run in self._ledger.runs() if not run.is_service]
        with (
            self._starter.killable(runs) if kill_on_interrupt else nullcontext(),
            progress.watching(self._log) if verbose else nullcontext(_ignore) as show,
        ):
            self._ledger.wait(runs, show, pause)

    def finished(self, entity: Entity) -> bool:
        """Whether the last run of `entity` has ended; raises InputError if it never started."""
        states = self.get_status(entity)
        if TaskState.NEW in states or not states:
            raise InputError(f"{entity.name} was never started in this experiment")
        return all(state.terminal for state in states)

    def get_status(self, *entities: Entity) -> list[TaskState]:
        """Return the state of each entity's last run, `New` for one that never started.

        An ensemble has one state for each member, in their order.
        """
        last = {shot.run.entity: shot for shot in self._ledger.snapshots()}
        states: list[TaskState] = []
        for item in entities:
            found = self._membership(item)
            entity, number = found or (self._roster.checked([item])[0], None)
            shot = last.get(entity.name)
            tasks = {} if shot is None else {task.index: task.state for task in shot.tasks}
            if isinstance(entity, Ensemble):
                wanted = range(len(entity)) if number is None else [number]
                states += [tasks.get(place, TaskState.NEW) for place in wanted]
            else:
                states.append(TaskState.NEW if shot is None else shot.state)
        return states

    def _membership(self, item: Entity) -> tuple[Ensemble, int] | None:
        """Return the ensemble that a model ran in last and its number there, if it is a member."""
        owner = self._roster.member(item)
        if owner is None:
            return None
        names = {item.name, owner[0].name}
        ran = [run.entity for run in self._ledger.runs() if run.entity in names]
        return owner if not ran or ran[-1] == owner[0].name else None

    def reconnect_orchestrator(self, checkpoint: str | os.PathLike[str]) -> Orchestrator:
        """Take over a database that any process of yours has started; it must run.

        `checkpoint` is its run directory or something in there, such as its checkpoint_file.
        Programs that are started from now on are told of it, and stop ends it. Raises RunNotFound,
        or NotActive when it does not answer.
        """
        given = Path(check.path("checkpoint", checkpoint)).absolute()
        near = (given, *list(given.parents)[:2])
        where = next((item for item in near if (item / "shards").is_dir()), given)
        runs = [run for run in find_runs(where) if run.is_service]
        if not runs:
            raise RunNotFound(f"{where} holds no database", "name a database's directory")
        run = runs[-1]
        running = Database(where, run.mark)
        try:
            running.register()
        except StorageError as error:
            self._log.warning("%s; %s", error.message, error.hint)
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


def _check_timeout(seconds: float | None, *, wait: bool) -> None:
    if seconds is None:
        return
    check.seconds("queue_timeout", seconds)
    if not wait:
        raise InputError("queue_timeout is for start that waits: leave out wait=False")


def _ignore(_: Sequence[RunSnapshot]) -> None:
    """Show nothing."""
