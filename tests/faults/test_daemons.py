"""Slurm's own daemons are away while runs are tracked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.faults.lab import ATTACHED, CLI, DATABASE, NEW, Lab
from tests.helpers import until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

# A program that runs until the file comes, and ends with 3.
MODEL = """
model = exp.create_model(
    "m", exp.create_run_settings(
        "/bin/bash", ["-c", 'until [ -e "$1" ]; do sleep 0.05; done; exit 3', "_", sys.argv[2]]
    )
)
"""
WAITING = DATABASE + MODEL + "exp.start(database, model)\nprint('codes', exp.summary())\n"
# Says how the first run stands whenever that changes.
WATCHING = (
    ATTACHED
    + """
import os, time
last = None
while not os.path.exists(sys.argv[2]):
    shot = exp._ledger.snapshots()[0]
    if last != (shot.state, shot.stale):
        last = shot.state, shot.stale
        print(shot.state, "stale:" if shot.stale else "fresh", shot.stale)
    time.sleep(0.05)
"""
)


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Cluster]:
    """A cluster that leaves ended jobs to the accounting at once."""
    with Cluster(nodes=1, accounting=True, settings={"MinJobAge": "2"}) as cluster:
        yield cluster


@pytest.fixture
def used_clusters(request: pytest.FixtureRequest) -> list[Cluster]:
    """The one that the test asks for."""
    names = ("cluster", "accounting_cluster", "forgetful")
    return [request.getfixturevalue(name) for name in names if name in request.fixturenames]


def test_a_tracker_keeps_states_without_the_controller_and_goes_on_afterwards(
    cluster: Cluster, lab: Lab
) -> None:
    end = lab.shared / "end"
    lab.start()
    watcher = lab.begin(WATCHING, end)
    watcher.says("Running fresh")
    cluster.slurmctld_stop()
    watcher.says("Running stale:")
    cluster.slurmctld_start()
    until(lambda: watcher.said().splitlines()[-1].startswith("Running fresh"), "news")
    end.touch()
    assert watcher.end().code == 0
    assert "squeue" in watcher.said()
    lab.stop()
    lab.nothing_runs()


def test_a_driver_that_waits_for_a_program_survives_the_controller_and_knows_its_end(
    cluster: Cluster, lab: Lab
) -> None:
    go = lab.shared / "go"
    driver = lab.begin(WAITING, go)
    driver.says("m is Running")
    cluster.slurmctld_stop()
    status = [sys.executable, "-m", "hpcorch", "status", str(lab.path)]

    def silent() -> subprocess.CompletedProcess[str] | None:
        """What status says, once the driver's last good answer is too old to be shared."""
        said = cluster.run(status, cwd=lab.shared)
        words = "the scheduler could not be asked: squeue failed"
        return said if words in said.stderr else None

    said = until(silent, "the news of the silence")
    assert said is not None
    assert said.stdout.count("Running") == 2
    assert "database orchestrator answers at 10.77.0." in said.stdout
    go.touch()
    assert lab.record(0, "m")["code"] == 3
    cluster.slurmctld_start()
    ended = driver.end()
    assert ended.code == 0, ended.said
    assert "m is Failed, exit code 3" in ended.said
    lab.stop()
    lab.nothing_runs()


def test_stop_ends_a_database_without_the_controller(cluster: Cluster, lab: Lab) -> None:
    lab.start()
    cluster.slurmctld_stop()
    said = lab.stop()
    assert "orchestrator is Cancelled" in said
    assert lab.record(0)["code"] == 0
    cluster.slurmctld_start()
    lab.nothing_runs()


def test_a_stop_without_the_controller_says_at_once_what_it_cannot_cancel(
    cluster: Cluster, lab: Lab
) -> None:
    """Two calls have to fail by themselves: one that asks, and one that cancels."""
    go = lab.shared / "go"
    driver = lab.begin(WAITING, go)
    driver.says("m is Running")
    cluster.slurmctld_stop()
    asked = lab.recorded("squeue", "scancel")
    command = (CLI, "stop", lab.path)
    ended = lab.drive(*command, env=lab.first_in_path(), succeeds=False)
    assert [call.split()[0] for call in asked()] == ["squeue", "scancel"]
    assert ended.code == 4, ended.said
    assert f"these jobs could not be cancelled: {lab.job('m')} (" in ended.said
    assert "say it again when it does" in ended.said
    # The database is gone all the same: its servers were asked, not Slurm.
    assert lab.record(0)["code"] == 0
    cluster.slurmctld_start()
    assert "m is Cancelled" in lab.stop()
    lab.nothing_runs()


def test_a_start_without_the_controller_is_refused_with_slurms_own_words(
    cluster: Cluster, lab: Lab
) -> None:
    cluster.slurmctld_stop()
    ended = lab.drive(DATABASE + "exp.start(database)\n", succeeds=False)
    assert ended.code == 1
    last = ended.said.splitlines()[-1]
    assert last.startswith("hpcorch.errors.")
    assert "Unable to contact slurm controller" in last
    cluster.slurmctld_start()
    lab.nothing_runs()


def test_tracking_goes_on_from_queue_and_records_while_the_accounting_is_down(
    accounting_cluster: Cluster, lab: Lab
) -> None:
    cluster, go = accounting_cluster, lab.shared / "go"
    driver = lab.begin(WAITING, go)
    driver.says("m is Running")
    cluster.slurmdbd_stop()
    assert lab.states() == ["Running"] * 3
    assert lab.answers()
    go.touch()
    ended = driver.end()
    assert ended.code == 0, ended.said
    assert "m is Failed, exit code 3" in ended.said
    assert "orchestrator is Cancelled" in lab.stop()
    cluster.slurmdbd_start()
    lab.nothing_runs()


def test_what_only_the_accounting_knows_is_not_made_up_while_it_is_down(
    forgetful: Cluster, lab: Lab
) -> None:
    """A job that left no record, and that the controller has forgotten."""
    cluster, end = forgetful, lab.shared / "end"
    lab.drain()
    words = "exp.start(exp.create_model('m', exp.create_run_settings('/bin/true')), wait=False)"
    lab.drive(NEW + words)
    job = lab.job("m")
    cluster.run(["scancel", job])
    until(lambda: not cluster.job_states(job), "the controller to forget")
    cluster.slurmdbd_stop()
    watcher = lab.begin(WATCHING, end)
    watcher.says("stale: sacct failed")
    cluster.slurmdbd_start()
    until(lambda: lab.runs()["m"]["state"] == "Cancelled", "the answer of the accounting")
    # The same tracker must come to the same end: a failed query is no answer.
    until(lambda: "Cancelled" in watcher.said(), f"the same in:\n{watcher.said()}")
    end.touch()


def test_a_poll_is_one_squeue_and_at_most_one_sacct_for_all_that_the_controller_forgot(
    forgetful: Cluster, lab: Lab
) -> None:
    go, asked = lab.shared / "go", lab.recorded("squeue", "sacct")
    held = """
batch = exp.create_batch_settings(batch_args={"hold": None})
held = [exp.create_model(name, exp.create_run_settings("/bin/true"), batch_settings=batch)
    for name in ("a", "b")]
exp.start(*held, model, wait=False)
"""
    lab.drive(NEW + MODEL + held, go)
    jobs = [lab.job("a"), lab.job("b")]
    forgetful.run(["scancel", *jobs])
    until(lambda: not any(map(forgetful.job_states, jobs)), "the controller to forget")
    # Whoever asks earlier has to ask again.
    accounted = ["sacct", "-X", "-n", "-o", "state", "-j", ",".join(jobs)]
    until(lambda: forgetful.run(accounted).stdout.count("CANCELLED") == 2, "the accounting")
    driver = lab.begin(ATTACHED + "exp.poll()\n", env=lab.first_in_path())
    for words in ("a is Cancelled", "b is Cancelled", "m is Running"):
        driver.says(words)
    go.touch()
    assert driver.end().code == 0
    calls = [call.split() for call in asked()]
    names = [words[0] for words in calls]
    history = [words for words in calls if words[0] == "sacct"]
    assert history
    assert all(pair != ("sacct", "sacct") for pair in pairwise(names))
    assert [words[words.index("-j") + 1].split(",") for words in history] == [jobs]
