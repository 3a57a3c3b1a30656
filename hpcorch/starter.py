"""How an experiment's entities are planned and started, and taken back when that fails."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType

from hpcorch import placement, report
from hpcorch.build import Builder
from hpcorch.database import Database
from hpcorch.describe import check
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError, SchedulerError, StorageError
from hpcorch.interrupt import Terminated, terminable
from hpcorch.journal import Run
from hpcorch.ledger import RERUNS, Ledger
from hpcorch.plan import DatabaseUse, Plan, suffix
from hpcorch.roster import Entity, Roster
from hpcorch.schedulers.base import Scheduler
from hpcorch.stop import stop as stop_runs
from hpcorch.submit import Built, look_up, note_found, recover, submit


class Starter:
    """Plans and submits what one experiment starts."""

    def __init__(
        self,
        builder: Builder,
        ledger: Ledger,
        roster: Roster,
        scheduler: Scheduler,
        log: logging.Logger,
    ) -> None:
        self._builder = builder
        self._ledger = ledger
        self._roster = roster
        self._scheduler = scheduler
        self._log = log

    def to_run_again(self, entities: Sequence[Entity], only: str) -> dict[str, list[int]]:
        """Return the numbers of each ensemble's members that are to run again."""
        check.choice("only", only, RERUNS)
        numbers: dict[str, list[int]] = {}
        for entity in entities:
            if not isinstance(entity, Ensemble):
                raise InputError(f"only is {only!r}: {entity.name} is no ensemble")
            numbers[entity.name] = self._ledger.to_run_again(entity.name, len(entity), only)
        return numbers

    def plan(
        self, entities: Sequence[Entity], only: Mapping[str, list[int]] = MappingProxyType({})
    ) -> list[tuple[Entity, Plan]]:
        """Plan everything, databases first, so that all refusals come together."""
        uses = self.databases_in_use(entities)
        plans: list[tuple[Entity, Plan]] = []
        for entity in sorted(entities, key=lambda item: not isinstance(item, Orchestrator)):
            directory = self._roster.directory(entity)
            numbers = only.get(entity.name)
            if isinstance(entity, Orchestrator):
                plans.append((entity, self._builder.database(entity, directory)))
            elif isinstance(entity, Model):
                plans.append((entity, self._builder.model(entity, uses, directory)))
            elif numbers == []:
                self._log.info("no member of %s has to run again", entity.name)
            else:
                chosen = None if numbers is None else {*numbers}
                marker = placement.noted_marker(directory)
                plan = self._builder.ensemble(entity, uses, directory, chosen, marker)
                plans.append((entity, plan))
        return plans

    def databases_in_use(self, entities: Sequence[Entity]) -> list[DatabaseUse]:
        """Return the databases that programs started now will be told of."""
        directories: dict[str, str] = {}
        for shot in self._ledger.snapshots():
            if shot.run.kind == "database" and not shot.state.terminal:
                directories[shot.run.entity] = shot.run.directory
        for entity in entities:
            if isinstance(entity, Orchestrator):
                directories[entity.name] = str(self._roster.directory(entity))
        return [DatabaseUse(where, suffix(name)) for name, where in directories.items()]

    def start_databases(
        self, built: Sequence[tuple[Entity, Built]], begun: list[Run]
    ) -> list[tuple[Run, Database, int]]:
        """Submit the databases and return them with the ports that they were to have.

        What was submitted is `begun`, whatever happens.
        """
        started: list[tuple[Run, Database, int]] = []
        for entity, item in built:
            if isinstance(entity, Orchestrator):
                run = self.submit(item, begun)
                begun.append(run)
                database = Database(Path(run.directory), run.mark or None)
                entity.attach(database)
                started.append((run, database, entity.port))
        return started

    def start_programs(self, built: Sequence[tuple[Entity, Built]], begun: list[Run]) -> list[Run]:
        """Submit what is no database, and return it; it is `begun` as start_databases says."""
        started: list[Run] = []
        for entity, item in built:
            if not isinstance(entity, Orchestrator):
                run = self.submit(item, begun)
                begun.append(run)
                started.append(run)
        return started

    def submit(self, built: Built, begun: list[Run]) -> Run:
        """Submit an entity; when only some of its jobs are accepted, they are `begun` already."""
        token, journal = built.job.token, self._ledger.journal
        with journal.lock() as missing:
            if missing:
                self._log.warning(f"{missing}: nothing may be started twice at the same time here")
            earlier = [run for run in journal.runs() if run.entity == built.job.name]
            there = self._ledger.refuse_if_running(recover(earlier, self._scheduler, journal))
            if there:
                name = built.job.name
                self._log.warning(f"{name} left no record of its end on {there}: it may run there")
            try:
                submit(built, self._scheduler, journal, len(earlier))
            except (SchedulerError, StorageError, KeyboardInterrupt, Terminated):
                begun += self._accepted(token)
                raise
        self._ledger.own([token])
        # The journal knows when it was submitted; this process would read another clock.
        run = next(item for item in journal.runs() if item.token == token)
        label = report.label(run, self._scheduler)
        self._log.info("submitted %s as job %s", run.entity, label)
        return run

    def _accepted(self, token: str) -> list[Run]:
        """Return what was accepted of a submission that broke off; whoever stops it needs its id.

        What cannot be found may still be accepted: it stays open, and the next start looks again.
        """
        journal = self._ledger.journal
        runs = [run for run in journal.runs() if run.token == token]
        with suppress(SchedulerError):
            found = [look_up(run, self._scheduler) for run in runs]
            with suppress(StorageError):
                for before, after in zip(runs, found, strict=True):
                    note_found(before, after, journal)
            runs = found
        return [run for run in runs if run.job]

    @contextmanager
    def all_or_nothing(self, begun: list[Run], kill_on_interrupt: bool) -> Iterator[None]:
        """Stop what one call of start has begun when the rest of it cannot be."""
        try:
            with self.killable(begun) if kill_on_interrupt else nullcontext():
                yield
        # Nothing that goes wrong here, expected or not, may leave jobs behind.
        except Exception:
            self._give_up(begun)
            raise

    @contextmanager
    def killable(self, runs: Sequence[Run]) -> Iterator[None]:
        """Stop `runs` on Ctrl-C and on SIGTERM."""
        try:
            with terminable():
                yield
        except (KeyboardInterrupt, Terminated):
            self._log.warning("interrupted: stopping what was started")
            self._give_up(runs)
            raise

    def _give_up(self, begun: Sequence[Run]) -> None:
        stop_runs(begun, self._scheduler, self._ledger.journal)
        self.detach({run.entity for run in begun})

    def detach(self, names: Collection[str]) -> None:
        """Let the descriptions of databases that have ended know it."""
        for entity in self._roster:
            if isinstance(entity, Orchestrator) and entity.name in names:
                entity.attach(None)
