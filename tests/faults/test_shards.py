"""One shard of a database is killed, cancelled or put back into the queue."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.faults.lab import ATTACHED, DATABASE, NEW, START, Lab
from tests.helpers import kill, until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

QUEUED = DATABASE + "exp.start(database, wait=False)\n"


def kill_job(lab: Lab, node: str) -> None:
    """Kill the script, then its server, so that nobody can write a record."""
    for pid, words in lab.cluster.node_processes(node):
        if "slurm_script" in words:
            kill(pid)
    # Slurm may have been faster.
    for pid in lab.servers(node):
        kill(pid)


def problem(lab: Lab) -> str:
    found: dict[str, Any] = lab.runs()["orchestrator"]["database"]
    return str(found["problem"])


def test_a_killed_server_fails_its_shard_and_the_address_is_taken_back(
    cluster: Cluster, lab: Lab
) -> None:
    lab.start()
    lab.kill_server(lab.node(1))
    record = lab.record(1)
    assert (record["code"], record["reason"]) == (137, "the server ended with exit code 137")
    until(lambda: not lab.published(), "the address to be taken back")
    assert lab.states() == ["Running", "Failed", "Running"]
    said = lab.stop()
    assert "exit code 137: shard 1: the server ended with exit code 137" in said
    assert lab.states() == ["Cancelled", "Failed", "Cancelled"]
    lab.nothing_runs()


def test_status_says_which_shard_of_a_broken_database_has_ended(cluster: Cluster, lab: Lab) -> None:
    lab.start()
    lab.kill_server(lab.node(1))
    lab.record(1)
    until(lambda: not lab.published(), "the address to be taken back")
    assert "shard 1" in problem(lab)


def test_a_server_killed_during_start_up_fails_the_start_which_names_the_shard(
    cluster: Cluster, lab: Lab
) -> None:
    driver = lab.begin(START, env=lab.stuck_shard(1))
    _, pid = lab.stuck_server()
    kill(pid)
    ended = driver.end()
    assert ended.code == 1
    assert "StartFailed: database orchestrator did not start: " in ended.said
    assert "the server ended while starting" in ended.said
    assert not lab.published()
    lab.nothing_runs()
    assert lab.states()[1] == "Failed"
    assert "shard 1" in ended.said


def test_a_job_killed_without_a_trace_is_failed_though_it_left_no_record(
    cluster: Cluster, lab: Lab
) -> None:
    lab.start()
    kill_job(lab, lab.node(2))
    lab.reach(["Running", "Running", "Failed"])
    assert not (lab.path / "orchestrator/exit/2").exists()
    assert "orchestrator is Failed" in lab.stop()
    assert lab.states() == ["Cancelled", "Cancelled", "Failed"]
    lab.nothing_runs()


def test_a_driver_says_in_words_why_a_program_failed_that_left_no_record(
    cluster: Cluster, lab: Lab
) -> None:
    words = """
model = exp.create_model("m", exp.create_run_settings("/bin/sleep", ["600"]),
    batch_settings=exp.create_batch_settings(batch_args={"nodelist": "node3"}))
exp.start(model)
"""
    driver = lab.begin(NEW + words)
    driver.says("m is Running")
    # Slurm says so before the program runs.
    until(lambda: "/bin/sleep 600" in dict(cluster.node_processes("node3")).values(), "the program")
    for pid, name in cluster.node_processes("node3"):
        if "slurmstepd" not in name:
            kill(pid)
    ended = driver.end()
    assert "m is Failed" in ended.said
    reason = str(lab.runs()["m"]["reason"])
    lab.nothing_runs()
    # Not only Slurm's own word for it.
    assert " " in reason
    assert reason in ended.said


def test_an_element_cancelled_by_hand_while_running_is_cancelled_and_the_others_go_on(
    cluster: Cluster, lab: Lab
) -> None:
    lab.start()
    cluster.run(["scancel", f"{lab.job()}_1"])
    assert lab.record(1)["signal"] == "TERM"
    until(lambda: not lab.published(), "the address to be taken back")
    lab.reach(["Running", "Cancelled", "Running"])
    lab.stop()
    assert lab.states() == ["Cancelled"] * 3
    lab.nothing_runs()


def test_a_start_whose_pending_element_is_cancelled_by_hand_fails_and_names_the_shard(
    cluster: Cluster, lab: Lab
) -> None:
    lab.occupy(2)
    driver = lab.begin(START)
    shards = lab.path / "orchestrator" / "shards"
    until(lambda: len(list(shards.glob("*.json"))) == 2, "two of three shards")
    cluster.run(["scancel", f"{lab.job()}_2"])
    ended = driver.end()
    assert ended.code == 1
    assert "StartFailed: database orchestrator did not start: " in ended.said
    assert "cancelled" in ended.said.lower()
    lab.nothing_runs()
    assert "shard 2" in ended.said


def test_an_element_cancelled_while_pending_has_ended_and_the_others_have_not(
    cluster: Cluster, lab: Lab
) -> None:
    """Slurm forgets such an element, in the queue and in the accounting."""
    lab.occupy(3)
    lab.drive(QUEUED)
    lab.reach(["Running", "Queued", "Queued"])
    cluster.run(["scancel", f"{lab.job()}_2"])
    until(lambda: lab.states()[2] in ("Cancelled", "Lost"), "the end of shard 2")
    assert lab.states()[:2] == ["Running", "Queued"]
    lab.stop()
    lab.nothing_runs()


def test_the_command_status_as_shipped_knows_an_end_that_left_no_record(
    cluster: Cluster, lab: Lab
) -> None:
    """Every call is a process of its own, which cannot remember since when a record is missing."""
    lab.drain()
    lab.drive(QUEUED)
    cluster.run(["scancel", lab.job()])
    until(lambda: not lab.queue(), "an empty queue")
    done = cluster.run([sys.executable, "-m", "hpcorch", "status", lab.path], cwd=lab.shared)
    assert "Cancelled" in done.stdout


def test_the_command_status_as_shipped_sees_that_a_running_shard_was_killed(
    cluster: Cluster, lab: Lab
) -> None:
    """Its mark that it has begun is still there; Slurm says FAILED, and no record will come."""
    lab.start()
    kill_job(lab, lab.node(2))
    command = [sys.executable, "-m", "hpcorch", "status", "--json", str(lab.path)]
    until(
        lambda: '"Failed"' in cluster.run(command, cwd=lab.shared).stdout,
        "the end of shard 2",
    )


def test_a_driver_gives_up_on_a_missing_record_once_the_grace_is_over(
    cluster: Cluster, lab: Lab
) -> None:
    lab.drain()
    words = 'model = exp.create_model("m", exp.create_run_settings("/bin/true"))\n'
    driver = lab.begin(NEW + "SlurmScheduler.record_grace = 1.0\n" + words + "exp.start(model)\n")
    driver.says("submitted m as job")
    cluster.run(["scancel", lab.job("m")])
    ended = driver.end()
    assert (ended.code, "m is Cancelled" in ended.said) == (0, True)


def test_stop_of_an_array_that_is_half_pending_ends_as_cancelled(
    cluster: Cluster, lab: Lab
) -> None:
    lab.occupy(3)
    lab.drive(QUEUED)
    lab.reach(["Running", "Queued", "Queued"])
    said = lab.stop()
    assert "orchestrator is Cancelled" in said
    lab.nothing_runs()
    assert lab.states() == ["Cancelled"] * 3


FILLED = """
import numpy as np
database = exp.create_database(db_nodes=3, checkpoint=True)
exp.start(database)
for number in range(30):
    database.client().put_tensor(f"t{number}", np.array([number]))
"""
HELD = """
from hpcorch import Client
client = Client(cluster=True, address=sys.argv[2])
print("held", sum(client.get_tensor(f"t{number}")[0] == number for number in range(30)))
"""


def test_a_requeued_element_comes_back_with_what_it_has_saved_and_the_cluster_is_whole_again(
    cluster: Cluster, lab: Lab
) -> None:
    lab.drive(NEW + FILLED)
    # It is held there, so that others see it in the queue however slow they are.
    cluster.run(["scontrol", "requeuehold", f"{lab.job()}_1"])
    until(lambda: not lab.published(), "the address to be taken back")
    lab.reach(["Running", "Queued", "Running"])
    cluster.run(["scontrol", "release", f"{lab.job()}_1"])
    lab.second_life(1)
    until(lab.published, "the address published again")
    assert lab.answers()
    assert lab.states() == ["Running"] * 3
    assert "held 30" in lab.drive(ATTACHED + HELD, lab.addresses()[0]).said
    assert "orchestrator is Cancelled" in lab.stop()
    lab.nothing_runs()


def test_a_model_whose_database_has_lost_a_shard_ends_with_the_reason(
    cluster: Cluster, lab: Lab
) -> None:
    go = lab.shared / "go"
    words = """
import os, time
print("database runs")
while not os.path.exists(sys.argv[2]): time.sleep(0.05)
model = exp.create_model("m", exp.create_run_settings("/bin/true"))
exp.start(model)
"""
    driver = lab.begin(START + words, go)
    driver.says("database runs")
    lab.kill_server(lab.node(0))
    until(lambda: not lab.published(), "the address to be taken back")
    lab.record(0)
    go.touch()
    ended = driver.end()
    assert ended.code == 0, ended.said
    assert "m is Failed" in ended.said
    assert "has ended: the server ended with exit code 137" in ended.said
    lab.stop()
    lab.nothing_runs()
