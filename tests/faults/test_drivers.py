"""Drivers are killed, come twice, and meet at the same experiment."""

from __future__ import annotations

import pytest

from tests.faults.lab import ATTACHED, DATABASE, NEW, START, Lab
from tests.helpers import is_alive, kill, until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

# A program that runs until the file comes, and ends with 5.
MODEL = """
model = exp.create_model(
    "m", exp.create_run_settings(
        "/bin/bash", ["-c", 'until [ -e "$1" ]; do sleep 0.05; done; exit 5', "_", sys.argv[2]]
    )
)
"""
# Submits, says so, and does not come back.
HANGS_AFTER_SUBMISSION = 'sbatch="{}"\n"$sbatch" "$@" >/dev/null\necho $$ >"{}"\nexec sleep 77777'


def test_a_driver_killed_during_start_up_leaves_a_run_that_others_see_and_stop(
    cluster: Cluster, lab: Lab
) -> None:
    driver = lab.begin(START, env=lab.stuck_shard(1))
    lab.stuck_server()
    driver.kill()
    assert lab.states() == ["Running"] * 3
    assert not lab.published()
    assert "orchestrator is Cancelled" in lab.stop()
    assert lab.states() == ["Cancelled"] * 3
    lab.nothing_runs()


def test_a_driver_killed_during_a_run_is_replaced_by_another_one(
    cluster: Cluster, lab: Lab
) -> None:
    driver = lab.begin(DATABASE + MODEL + "exp.start(database, model)\n", lab.shared / "go")
    driver.says("m is Running")
    driver.kill()
    said = lab.drive(ATTACHED + "print(exp.summary())\nexp.stop()\nprint(exp.summary())\n").said
    assert (said.count("| Running"), said.count("| Cancelled")) == (2, 2), said
    lab.nothing_runs()


def test_a_job_whose_driver_was_killed_before_it_knew_the_id_is_found_and_stopped(
    cluster: Cluster, lab: Lab
) -> None:
    mark = lab.shared / "mark"
    real = cluster.run(["sh", "-c", "command -v sbatch"]).stdout.strip()
    lab.program("sbatch", HANGS_AFTER_SUBMISSION.format(real, mark))
    driver = lab.begin(START, env=lab.first_in_path())
    until(lambda: mark.exists() and mark.read_text(), "the submission")
    driver.kill()
    kill(int(mark.read_text()))
    until(lambda: not is_alive(int(mark.read_text())), "the end of sbatch")
    assert [event["event"] for event in lab.journal()] == ["intent"]
    # The journal does not know the job; what has begun of it has left its own traces by now.
    assert lab.runs()["orchestrator"]["state"] in ("Unknown", "Running")
    assert "orchestrator is Cancelled" in lab.stop()
    lab.nothing_runs()


def test_two_drivers_that_wait_for_the_same_program_both_learn_its_end(
    cluster: Cluster, lab: Lab
) -> None:
    go = lab.shared / "go"
    first = lab.begin(NEW + MODEL + "exp.start(model)\n", go)
    first.says("m is Running")
    second = lab.begin(ATTACHED + "exp.poll()\n")
    second.says("m is Running")
    go.touch()
    for driver in (first, second):
        ended = driver.end()
        assert ended.code == 0, ended.said
        assert "m is Failed, exit code 5" in ended.said
    lab.nothing_runs()


def test_of_two_drivers_that_start_the_same_database_exactly_one_wins(
    cluster: Cluster, lab: Lab
) -> None:
    drivers = [lab.begin(START) for _ in range(2)]
    ends = sorted((driver.end() for driver in drivers), key=lambda ended: ended.code)
    assert [ended.code for ended in ends] == [0, 1]
    assert "InputError: orchestrator is " in ends[1].said
    assert f" already, as job {lab.job()}_[0-2]" in ends[1].said
    assert len(lab.jobs()) == 1
    assert lab.answers()
    lab.stop()
    lab.nothing_runs()


def test_a_stop_from_elsewhere_ends_a_driver_that_waits_for_its_database(
    cluster: Cluster, lab: Lab
) -> None:
    driver = lab.begin(START, env=lab.stuck_shard(0))
    lab.stuck_server()
    lab.stop()
    ended = driver.end()
    assert ended.code == 1
    assert "StartFailed: database orchestrator did not start: " in ended.said
    assert lab.states() == ["Cancelled"] * 3
    lab.nothing_runs()
