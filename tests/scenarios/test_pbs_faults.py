"""A PBS that misbehaves: nothing is submitted twice, nothing is lost, nothing is called gone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.scenarios import NEW
from tests.fakebin.pbs import FakePbs
from tests.helpers import kill, processes, until
from tests.scenarios.grounds import Pbs

# A frozen server is given up soon, but not one that is slow on a busy machine; a server is asked
# more often than a real one may be.
QUICK = """
import os
from hpcorch.schedulers import pbs
os.environ.update(HPCORCH_COMMAND_TIMEOUT_SECONDS="5", HPCORCH_POLL_SECONDS="1")
pbs.PbsScheduler.record_grace = 0.5
"""
MODEL = QUICK + NEW + 'model = exp.create_model("m", exp.create_run_settings("sleep", "600"))\n'
SHORT = MODEL.replace('"sleep", "600"', '"sh", ["-c", "exit 6"]')
STATES = "tell(states=[str(state) for state in exp.get_status(model)])\n"
# Looks at the program when it is told to.
WATCH = """
exp.start(model, block=False)
Path("started").touch()
while not Path("go").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def ground(own_surroundings: None, tmp_path: Path) -> Iterator[Pbs]:
    with FakePbs() as pbs:
        yield Pbs(pbs, tmp_path)
        assert pbs.complaints() == ""


def drive(ground: Pbs, code: str) -> list[str]:
    states: list[str] = ground.lab.driver(code, start="")["states"]
    return states


@pytest.mark.parametrize("fault", ["banner", "accepted", "lost", "late"])
def test_one_job_is_submitted_whatever_qsub_says(ground, fault):
    ground.pbs.fault("qsub", fault)
    assert drive(ground, MODEL + "exp.start(model, block=False)\n" + STATES) in (
        ["Running"],
        ["Queued"],
    )
    assert len(ground.queue()) == 1
    # One that is stopped earlier has no exit code of its own.
    until((ground.lab / "m/shards/0.started").exists, "the program")
    assert ground.stop() == {"m": ("Cancelled", "143")}


def test_a_job_that_ends_before_it_can_be_looked_up_is_known_all_the_same(ground):
    """The connection breaks, and the job has left the queue when qselect is called."""
    ground.pbs.fault("qsub", "late")
    assert drive(ground, SHORT + "exp.start(model)\n" + STATES) == ["Failed"]
    assert ground.runs()["m"]["code"] == 6


def test_a_qsub_that_hangs_before_acceptance_leaves_no_job_and_a_clear_error(ground):
    ground.pbs.fault("qsub", "hang")
    code = """
try:
    exp.start(model)
except HpcorchError as error:
    tell(states=[error.message])
"""
    (said,) = drive(ground, MODEL + code)
    assert said.startswith("it is unknown whether the job m was accepted: qsub did not answer")
    assert ground.queue() == []
    ground.pbs.set(faults={})
    # The next start looks again, and does not refuse.
    assert drive(ground, SHORT + "exp.start(model)\n" + STATES) == ["Failed"]


@pytest.mark.parametrize("outage", ["down", "frozen"])
def test_a_server_that_does_not_answer_makes_no_job_disappear(ground, outage):
    # Asked twice: by the second time the first silence would have lasted long enough.
    code = MODEL + WATCH + STATES + "time.sleep(1)\n" + STATES
    with ground.host.popen(_driver(code), cwd=ground.path, stdout=-1, text=True) as driver:
        until((ground.path / "started").exists, "the start")
        until((ground.lab / "m/shards/0.started").exists, "the program")
        if outage == "frozen":
            ground.pbs.freeze()
        else:
            ground.pbs.fault("qstat", "accepted")
        (ground.path / "go").touch()
        said, _ = driver.communicate(timeout=120)
    ground.pbs.resume()
    ground.pbs.set(faults={})
    assert [line for line in said.splitlines() if line.startswith("told")] == [
        'told {"states": ["Running"]}'
    ] * 2
    assert ground.stop() == {"m": ("Cancelled", "143")}


def _driver(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_job_that_the_server_forgot_is_lost_and_not_completed(ground):
    code = MODEL + WATCH + "exp.poll()\n" + STATES
    with ground.host.popen(_driver(code), cwd=ground.path, stdout=-1, text=True) as driver:
        until((ground.lab / "m/shards/0.started").exists, "the program")
        ground.pbs.forget()
        (ground.path / "go").touch()
        said, _ = driver.communicate(timeout=120)
    assert '"Lost"' in said
    # Its processes run on, which nobody but their owner can end now.
    for pid in processes(ground.path):
        kill(pid)


def test_an_array_whose_tasks_all_end_alike_for_pbs_is_known_by_its_records(ground):
    """Without history every task that has ended is shown with exit code 1."""
    code = """
database = exp.create_database(db_nodes=3)
exp.start(database)
tell(states=[str(state) for state in exp.get_status(database)])
"""
    assert drive(ground, QUICK + NEW + code) == ["Running"]
    ground.kill_server(2)
    until(lambda: ground.states()[2] == "Failed", "the news of the killed shard")
    assert ground.states() == ["Running", "Running", "Failed"]
    tasks = ground.runs()["orchestrator"]["tasks"]
    assert [task["code"] for task in tasks] == [None, None, 137]
    assert ground.stop()["orchestrator"][0] == "Failed"
