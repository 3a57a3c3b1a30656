"""What a driver logs while it waits, where there is no terminal."""

from __future__ import annotations

import logging

from hpcorch.journal import Run
from hpcorch.progress import watching
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
