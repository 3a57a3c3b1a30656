"""The runs in a directory, whoever started them: what status, logs and stop work on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcorch import schedulers
from hpcorch.errors import RunNotFound
from hpcorch.journal import Journal, Run, find_runs
from hpcorch.paths import templates_dir
from hpcorch.rundir import member_names
from hpcorch.schedulers.base import Scheduler
from hpcorch.sites import load_site
from hpcorch.snapshots import RunSnapshot, fold
from hpcorch.track import Tracker


def locate(where: str) -> list[Run]:
    """Return the runs of an experiment's or an entity's directory; raises RunNotFound."""
    path = Path(where)
    if not path.is_dir():
        raise RunNotFound(
            f"there is no directory {path}",
            "the first argument is an experiment's directory; '.' is where you are",
        )
    return find_runs(path)


@dataclass(frozen=True)
class Choice:
    """Runs, and for those of which only members are meant, by token, the members' numbers."""

    runs: list[Run]
    members: dict[str, set[int]]


def chosen(runs: Sequence[Run], names: Sequence[str]) -> Choice:
    """Return the runs of these entities and members, of all when none is named.

    Raises RunNotFound.
    """
    known = list(dict.fromkeys(run.entity for run in runs))
    whole = {name for name in names if name in known}
    members: dict[str, set[int]] = {}
    for name in set(names) - whole:
        found = {
            run.token: numbers
            for run in runs
            if run.entity not in whole and (numbers := _member(run, name))
        }
        if not found:
            raise RunNotFound(f"there is no {name!r} here", "there are: " + ", ".join(known))
        for token, numbers in found.items():
            members.setdefault(token, set()).update(numbers)
    wanted = [run for run in runs if not names or run.entity in whole or run.token in members]
    return Choice(wanted, members)


def _member(run: Run, name: str) -> set[int]:
    """Return the number of the member of that name, if the run's ensemble has one."""
    names = member_names(Path(run.directory)) if run.kind == "ensemble" else []
    return {names.index(name)} if name in names else set()


def latest(runs: Sequence[Run]) -> list[Run]:
    """Return the last run of each directory: what it holds belongs to that one."""
    return list({run.directory: run for run in runs}.values())


def journal_of(where: str) -> Journal:
    """Return the journal that speaks of this directory."""
    path = Path(where).absolute()
    here, above = Journal(path), Journal(path.parent)
    return above if above.exists() and not here.exists() else here


class Watcher:
    """Follows runs of any number of schedulers, each asked once for all of its runs.

    One that looks only once is not `patient`: it takes the schedulers' word for what has ended.
    `where` is a directory whose processes share what schedulers answer; `near_only` is as in
    Tracker.
    """

    def __init__(
        self, *, patient: bool = True, where: str | None = None, near_only: bool = False
    ) -> None:
        self._patient = patient
        self._near_only = near_only
        self._cache = None if where is None else journal_of(where).directory
        self.schedulers: dict[str, Scheduler] = {}
        self._trackers: dict[str, Tracker] = {}

    def scheduler(self, name: str) -> Scheduler:
        """Return the scheduler of that name; raises InputError for an unknown one."""
        if name not in self.schedulers:
            options = load_site(os.environ).options()
            self.schedulers[name] = schedulers.create(name, templates_dir(), os.environ, options)
        return self.schedulers[name]

    def snapshot(self, runs: Sequence[Run]) -> list[RunSnapshot]:
        """Return how the runs stand, without earlier runs that were replaced and have ended.

        The directory of a replaced run no longer tells how it ended.
        """
        shots: dict[int, RunSnapshot] = {}
        for name in {run.scheduler for run in runs}:
            if name not in self._trackers:
                self._trackers[name] = Tracker(
                    self.scheduler(name),
                    patient=self._patient,
                    cache=self._cache,
                    near_only=self._near_only,
                )
            places = [place for place, run in enumerate(runs) if run.scheduler == name]
            found = self._trackers[name].snapshot([runs[place] for place in places])
            shots.update(zip(places, found, strict=True))
        folded = fold(shots[place] for place in range(len(runs)))
        last = {shot.run.directory: place for place, shot in enumerate(folded)}
        return [
            shot
            for place, shot in enumerate(folded)
            if last[shot.run.directory] == place or not shot.state.terminal
        ]


def over(shot: RunSnapshot) -> bool:
    """Whether nothing more will happen: it has ended, or was never submitted."""
    return shot.state.terminal or shot.run.job is None
