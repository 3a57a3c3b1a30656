"""What an experiment knows of its runs before it starts something again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hpcorch import ledger
from hpcorch.errors import InputError
from hpcorch.journal import Run
from hpcorch.ledger import Ledger
from hpcorch.schedulers.base import TaskState
from hpcorch.schedulers.local import LocalScheduler
from hpcorch.snapshots import RunSnapshot, TaskSnapshot


def run(*, stopped: bool) -> Run:
    return Run("db", "database", "/exp/db", 1, 1, "token", "local", 0.0, stopped=stopped)


def book(mocker, tmp_path, found: Run, states: list[TaskState]) -> Ledger:
    """Return a ledger that finds the run in one of the states after the other."""
    shots = [[RunSnapshot(found, (TaskSnapshot(0, state),))] for state in states]
    tracker = SimpleNamespace(glance=0.0, snapshot=mocker.Mock(side_effect=shots))
    made = Ledger(tmp_path, LocalScheduler("hpcorch-local"))
    mocker.patch.object(ledger, "Tracker", return_value=tracker)
    return made


def test_what_was_stopped_gets_a_moment_to_be_gone(mocker, tmp_path):
    states = [TaskState.RUNNING, TaskState.QUEUED, TaskState.CANCELLED]
    found = run(stopped=True)
    made = book(mocker, tmp_path, found, states)
    made.refuse_if_running([found])
    with pytest.raises(StopIteration):
        # It has looked until the run was gone, and no longer.
        made.refuse_if_running([found])


def test_what_was_seen_to_end_gets_a_moment_to_be_gone_though_its_records_are_replaced(
    mocker, tmp_path
):
    found = run(stopped=False)
    states = [TaskState.COMPLETED, TaskState.QUEUED, TaskState.LOST]
    made = book(mocker, tmp_path, found, states)
    made.refuse_if_running([found])
    made.refuse_if_running([found])


def test_what_runs_and_was_not_stopped_is_refused_at_once(mocker, tmp_path):
    states = [TaskState.RUNNING, TaskState.CANCELLED]
    found = run(stopped=False)
    made = book(mocker, tmp_path, found, states)
    with pytest.raises(InputError, match="db is Running already, as job unknown"):
        made.refuse_if_running([found])


def test_what_was_stopped_and_does_not_go_is_refused(mocker, tmp_path):
    mocker.patch.object(ledger, "_GOING_SECONDS", -1.0)
    found = run(stopped=True)
    made = book(mocker, tmp_path, found, [TaskState.RUNNING])
    with pytest.raises(InputError, match="db is Running already"):
        made.refuse_if_running([found])
