"""Stopping while the scheduler is silent, and when it comes back meanwhile."""

from __future__ import annotations

import pytest

from hpcorch.errors import SchedulerError
from hpcorch.journal import Journal, Part, Run
from hpcorch.schedulers.base import JobId, Result, TaskState
from hpcorch.schedulers.slurm import SlurmScheduler
from hpcorch.stop import stop


@pytest.fixture
def run(tmp_path):
    where = str(tmp_path / "m")
    return Run("m", "model", where, 1, 0, "t", "slurm", 0.0, parts=(Part("t", 1, JobId("7")),))


@pytest.fixture
def slurm(mocker):
    """Answers to commands, by program, in their order; the last one stays. Returns the calls."""
    calls: list[str] = []

    def answer(**results: list[Result]):
        def asked(command):
            name = command.argv[0]
            calls.append(name)
            return results[name].pop(0) if len(results[name]) > 1 else results[name][0]

        mocker.patch("hpcorch.shell.run", side_effect=asked)
        return calls

    return answer


DOWN = Result((), 1, "", "squeue: error: Unable to contact slurm controller")
PENDING = Result((), 0, "7|N/A|PENDING|Resources\n", "")
CANCELLED = Result((), 0, "7|N/A|CANCELLED|None\n", "")
DONE = Result((), 0, "", "")


def test_what_cannot_be_cancelled_is_named_after_one_call_each(slurm, run, tmp_path):
    calls = slurm(squeue=[DOWN], scancel=[DOWN])
    with pytest.raises(SchedulerError, match=r"could not be cancelled: 7 \(squeue: error: Unable"):
        stop([run], SlurmScheduler(), Journal(tmp_path))
    assert calls == ["squeue", "scancel"]


def test_a_scheduler_that_is_back_when_it_shall_cancel_is_asked_again(slurm, run, tmp_path):
    calls = slurm(squeue=[DOWN, CANCELLED], scancel=[DONE])
    (shot,) = stop([run], SlurmScheduler(), Journal(tmp_path))
    assert shot.state is TaskState.CANCELLED
    assert calls == ["squeue", "scancel", "squeue"]


def test_a_scheduler_that_goes_away_meanwhile_is_told_of_at_once(slurm, run, tmp_path):
    calls = slurm(squeue=[PENDING, PENDING, DOWN], scancel=[DOWN])
    with pytest.raises(SchedulerError, match="say it again when it does"):
        stop([run], SlurmScheduler(), Journal(tmp_path))
    assert calls == ["squeue", "squeue", "scancel", "squeue"]
