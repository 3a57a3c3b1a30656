"""The runs of an experiment: its own, and those of databases that it has taken over from others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from hpcorch import pastruns, report
from hpcorch.errors import InputError
from hpcorch.journal import Journal, Run
from hpcorch.schedulers.base import Scheduler, TaskState
from hpcorch.snapshots import RunSnapshot, fold
from hpcorch.stop import stop as stop_runs
from hpcorch.track import Tracker, wait_for

# What `only` of start leaves out, by its words.
_DONE = {
    "failed": (TaskState.COMPLETED, TaskState.CANCELLED),
    "unfinished": (TaskState.COMPLETED,),
}
RERUNS = tuple(_DONE)
_GOING_SECONDS = 5.0


class Ledger:
    """Knows which runs in which journals are this experiment's, and how they stand."""

    def __init__(self, exp_path: Path, scheduler: Scheduler) -> None:
        self.journal = Journal(exp_path)
        self._scheduler = scheduler
        self.tracker = Tracker(scheduler, cache=self.journal.directory)
        self._tokens: list[str] = []
        # Tokens of runs that were seen to have ended; their records may be replaced later on.
        self._ended: set[str] = set()
        self._taken_over: list[tuple[Journal, Run]] = []

    def own(self, tokens: Iterable[str]) -> None:
        """Take runs of this experiment's journal for its own."""
        self._tokens += tokens

    def take_over(self, journal: Journal, run: Run) -> None:
        """Take a run of another journal, or one that was started by hand, for one of these."""
        if all(run.token != known.token for _, known in self._taken_over):
            self._taken_over.append((journal, run))

    def _by_journal(self) -> list[tuple[Journal, list[Run]]]:
        mine = set(self._tokens)
        found = [(self.journal, [run for run in self.journal.runs() if run.token in mine])]
        for journal, run in self._taken_over:
            # What was started by hand is in no journal.
            known = [item for item in journal.runs() if item.token == run.token]
            if run.token not in mine:
                found.append((journal, known or [run]))
        return found

    def runs(self) -> list[Run]:
        """Return this experiment's runs, those that it has taken over last."""
        return [run for _, runs in self._by_journal() for run in runs]

    def snapshots(self) -> list[RunSnapshot]:
        """Return how this experiment's runs stand."""
        return fold(self.tracker.snapshot(self.runs()))

    def submitted(self, names: Collection[str]) -> list[Run]:
        """Return what any driver has submitted here under these names."""
        return [run for run in self.journal.runs() if run.entity in names and run.job]

    def refuse_if_running(self, runs: Sequence[Run]) -> str:
        """Refuse to start what any driver has started here and nobody has stopped.

        A job that was stopped or has done its work, and is still on its way out, is waited for a
        little while. How the runs ended is noted: the next one will replace their records. Returns
        the machine on which the last run may still be alive, since it has left no record here.
        """
        self._ended |= {run.token for run in runs if self.tracker.has_ended(run)}
        # Records of tasks that ran again are gone: the scheduler's word is enough here.
        tracker = Tracker(self._scheduler, patient=False, near_only=True)
        end = time.monotonic() + _GOING_SECONDS
        while (shot := _alive(shots := tracker.snapshot(runs))) is not None:
            going = shot.run.stopped or shot.run.token in self._ended
            if not going or time.monotonic() > end:
                label = report.label(shot.run, self._scheduler) or "unknown"
                raise InputError(
                    f"{shot.run.entity} is {shot.state} already, as job {label}",
                    f"hpcorch stop {self.journal.exp_path}",
                )
            # As often as the scheduler may be asked.
            time.sleep(tracker.glance)
        self._ended |= {run.token for run in runs}
        for shot in shots:
            seen = self.tracker.has_ended(shot.run)
            pastruns.note(self.snapshot(shot.run) if seen else shot)
        lost = any(task.state is TaskState.LOST for shot in shots[-1:] for task in shot.tasks)
        return runs[-1].elsewhere if lost else ""

    def to_run_again(self, ensemble: str, members: int, only: str) -> list[int]:
        """Return the numbers of an ensemble's members that are to run again; `only` as in start.

        Raises InputError unless it ran here with as many `members`. What any driver has run of the
        others becomes this experiment's.
        """
        runs = self.submitted([ensemble])
        shots = fold(self.tracker.snapshot(runs))
        if not shots:
            raise InputError(f"only is {only!r}: {ensemble} never ran here")
        if len(shots[-1].tasks) != members:
            ran = len(shots[-1].tasks)
            raise InputError(
                f"only is {only!r}: {ensemble} has {members} members and ran with {ran}",
                "leave out only",
            )
        first = max(place for place, run in enumerate(runs) if not run.again or place == 0)
        self.own(run.token for run in runs[first:])
        return [task.index for task in shots[-1].tasks if task.state not in _DONE[only]]

    def wait(
        self,
        runs: Sequence[Run],
        each: Callable[[Sequence[RunSnapshot]], None],
        interval: float = 0.0,
    ) -> list[RunSnapshot]:
        """Wait until all `runs` have ended; `each` sees a snapshot every `interval` seconds."""
        return wait_for(self.tracker, runs, each, interval)

    def snapshot(self, run: Run) -> RunSnapshot:
        """Return how one run stands."""
        return self.tracker.snapshot([run])[0]

    def stop(self, names: Collection[str], members: Mapping[str, set[int]]) -> None:
        """Stop the runs of these names, and of ensembles the members of these numbers."""
        for journal, runs in self._by_journal():
            whole = [run for run in runs if run.entity in names]
            only = {
                run.token: numbers
                for run in runs
                if run not in whole and (numbers := members.get(run.entity, set()) & {*run.numbers})
            }
            parts = [run for run in runs if run.token in only]
            stop_runs([*whole, *parts], self._scheduler, journal, only=only)


def _alive(shots: Iterable[RunSnapshot]) -> RunSnapshot | None:
    """Return the first run that has not ended."""
    return next((shot for shot in shots if not shot.state.terminal), None)
