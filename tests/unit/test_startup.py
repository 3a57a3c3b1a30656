"""What is told while a database's shards are queued."""

from __future__ import annotations

import logging

import pytest

from hpcorch import Experiment
from hpcorch.errors import InputError, InputTypeError
from hpcorch.journal import Run
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot
from hpcorch.startup import Progress, has_moved

RUNNING, QUEUED = TaskState.RUNNING, TaskState.QUEUED


def shot(*tasks: tuple[TaskState, str]) -> RunSnapshot:
    run = Run("db", "database", "/x/db", len(tasks), 0, "t", "slurm", 0.0)
    return RunSnapshot(run, tuple(TaskSnapshot(i, *task) for i, task in enumerate(reasons(tasks))))


def reasons(tasks):
    return [(state, None, None, reason) for state, reason in tasks]


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def progress(shards: int, floor: float = 0.0) -> Progress:
    run = Run("db", "database", "/x/db", shards, 0, "t", "slurm", 0.0)
    return Progress(run, logging.getLogger("test"), floor)


def test_every_change_is_told_once(told):
    seen = progress(3)
    for _ in range(3):
        seen.see(shot((QUEUED, "Resources"), (QUEUED, "Priority"), (QUEUED, "Resources")))
    for _ in range(3):
        seen.see(shot((RUNNING, ""), (QUEUED, "Priority"), (QUEUED, "Priority")))
    seen.see(shot((RUNNING, ""), (RUNNING, ""), (RUNNING, "")))
    assert told() == [
        "database db: 0 of 3 shards run; all are queued: Priority, Resources",
        "database db: 1 of 3 shards run; the others are queued: Priority",
        "database db: all 3 shards run",
    ]


def test_what_starts_at_once_is_not_worth_a_line(told):
    seen = progress(1, floor=3600)
    seen.see(shot((QUEUED, "")))
    seen.see(shot((RUNNING, "")))
    assert told() == []


def test_changes_are_not_told_faster_than_the_queue_is_asked(told):
    seen = progress(2, floor=3600)
    seen.see(shot((QUEUED, "Resources"), (QUEUED, "Resources")))
    seen.see(shot((RUNNING, ""), (QUEUED, "Resources")))
    assert told() == ["database db: 0 of 2 shards run; all are queued: Resources"]


def test_the_last_known_reason_is_kept_while_the_scheduler_is_silent():
    seen = progress(2)
    seen.see(shot((QUEUED, "ReqNodeNotAvail"), (QUEUED, "Priority")))
    seen.see(shot((RUNNING, ""), (QUEUED, "")))
    assert seen.queued() == "still queued: shard 1 (Priority)"
    seen.see(shot((RUNNING, ""), (RUNNING, "")))
    assert seen.queued() == ""


@pytest.mark.parametrize(
    ("value", "error"), [(0, InputError), (float("inf"), InputError), ("9", InputTypeError)]
)
def test_a_queue_timeout_is_seconds(tmp_path, value, error):
    exp = Experiment("lab", exp_path=tmp_path, launcher="local")
    with pytest.raises(error, match="queue_timeout is "):
        exp.start(exp.create_database(), queue_timeout=value)


def test_a_start_that_does_not_wait_takes_no_queue_timeout(tmp_path):
    exp = Experiment("lab", exp_path=tmp_path, launcher="local")
    with pytest.raises(InputError, match="leave out wait=False"):
        exp.start(exp.create_database(), wait=False, queue_timeout=1)


@pytest.mark.parametrize(
    ("ports", "moved"),
    [((7000,), False), ((7001,), True), ((7001, 7000, 7002), False), ((7003, 7001, 7002), True)],
)
def test_a_port_that_was_taken_shows_in_the_addresses(ports, moved):
    assert has_moved(7000, [f"127.0.0.1:{port}" for port in ports]) is moved
