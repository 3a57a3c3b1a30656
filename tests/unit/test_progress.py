"""What a driver logs while it waits, where there is no terminal."""

from __future__ import annotations

import logging
from dataclasses import replace

from hpcorch.journal import Run
from hpcorch.progress import rows, watching
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot


def test_each_change_is_logged_once_and_why_a_run_is_queued(caplog):
    run = Run("m", "model", "/x/m", 1, 0, "t0", "slurm", 0.0)
    queued, running, ended = TaskState.QUEUED, TaskState.RUNNING, TaskState.COMPLETED
    seen = [(queued, ""), (queued, "Priority"), (queued, "Priority"), (queued, "Resources")]
    seen += [(running, ""), (running, ""), (ended, "")]
    with caplog.at_level(logging.INFO), watching(logging.getLogger("driver")) as show:
        for state, reason in seen:
            show([RunSnapshot(run, (TaskSnapshot(0, state, reason=reason),))])
    assert caplog.messages == [
        "m is Queued",
        "m is Queued: Priority",
        "m is Queued: Resources",
        "m is Running",
        "m is Completed",
    ]


def test_the_live_table_tells_why_a_run_is_queued():
    run = Run("e", "ensemble", "/x/e", 2, 0, "t0", "slurm", 0.0)
    tasks = tuple(TaskSnapshot(i, TaskState.QUEUED, reason="Priority") for i in range(2))
    (row,) = rows([RunSnapshot(run, tasks)])
    assert row[:2] == ("e", "Queued: member 0: Priority")
    (row,) = rows([RunSnapshot(run, (replace(tasks[0], state=TaskState.RUNNING), tasks[1]))])
    assert row[1] == "1 Queued, 1 Running"
