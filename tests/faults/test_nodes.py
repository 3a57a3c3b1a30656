"""A node goes away, or only its slurmd, while a database starts or runs on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.lab import CLI, NEW, START, Lab
from tests.helpers import until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def attentive() -> Iterator[Cluster]:
    """A cluster that soon notices a dead node by itself, but takes no slow one for dead."""
    quick = {"SlurmdTimeout": "10", "MessageTimeout": "2", "tcptimeout": "1"}
    with Cluster(settings=quick) as cluster:
        yield cluster


@pytest.fixture
def used_clusters(request: pytest.FixtureRequest) -> list[Cluster]:
    """The one that the test asks for."""
    name = "attentive" if "attentive" in request.fixturenames else "cluster"
    return [request.getfixturevalue(name)]


def test_a_node_lost_during_start_up_fails_the_start_and_leaves_nothing(
    cluster: Cluster, lab: Lab
) -> None:
    """Slurm puts the element back into the queue; it cannot start there at once."""
    driver = lab.begin(START, env={**lab.stuck_shard(1), "HPCORCH_DEADLINE_SECONDS": "12"})
    node, _ = lab.stuck_server()
    cluster.node_lost(node)
    ended = driver.end()
    assert ended.code == 1
    assert "StartFailed: database orchestrator did not start: " in ended.said
    assert not lab.published()
    lab.nothing_runs()


def test_a_slurmd_killed_during_start_up_does_not_keep_the_database_from_starting(
    cluster: Cluster, lab: Lab
) -> None:
    """What runs on the node goes on; the shard that is stuck there is let go meanwhile."""
    go = lab.shared / "go"
    driver = lab.begin(START, env=lab.late_shard(1, go))
    node = until(lambda: lab.started_on(1), "the start of shard 1")
    cluster.slurmd_stop(node)
    go.touch()
    ended = driver.end()
    assert ended.code == 0, ended.said
    assert lab.answers()
    cluster.slurmd_start(node)
    assert "orchestrator is Cancelled" in lab.stop()
    lab.nothing_runs()


def test_a_shard_whose_node_is_lost_waits_in_the_queue_and_comes_back_on_another_node(
    cluster: Cluster, lab: Lab
) -> None:
    lab.start()
    lost = lab.node(1)
    cluster.node_lost(lost)
    # So that others see it in the queue however slow they are.
    cluster.run(["scontrol", "hold", f"{lab.job()}_1"])
    lab.reach(["Running", "Queued", "Running"])
    assert not lab.runs()["orchestrator"]["database"]["answers"]
    cluster.run(["scontrol", "release", f"{lab.job()}_1"])
    lab.second_life(1)
    until(lambda: lab.node(1) != lost and lab.answers(), "a whole database")
    assert "orchestrator is Cancelled" in lab.stop()
    lab.nothing_runs()


def test_a_model_whose_node_fails_and_must_not_run_again_is_failed(
    cluster: Cluster, lab: Lab
) -> None:
    words = """
model = exp.create_model("m", exp.create_run_settings("/bin/sleep", "600"),
    batch_settings=exp.create_batch_settings(batch_args={"no-requeue": None, "nodelist": "node2"}))
exp.start(model)
"""
    driver = lab.begin(NEW + words)
    driver.says("m is Running")
    cluster.node_lost("node2")
    ended = driver.end()
    assert "m is Failed" in ended.said
    assert lab.runs()["m"]["tasks"][0]["reason"]
    lab.nothing_runs()


def test_a_database_goes_on_while_a_slurmd_is_dead_and_is_stopped_afterwards(
    cluster: Cluster, lab: Lab
) -> None:
    lab.start()
    node = lab.node(1)
    cluster.slurmd_stop(node)
    assert lab.states() == ["Running"] * 3
    assert lab.answers()
    cluster.slurmd_start(node)
    assert "orchestrator is Cancelled" in lab.stop()
    assert lab.states() == ["Cancelled"] * 3
    lab.nothing_runs()


def test_a_database_is_shut_down_though_the_slurmd_of_a_shard_is_dead(
    cluster: Cluster, lab: Lab
) -> None:
    """SHUTDOWN goes to the servers themselves, and the records are files."""
    lab.start()
    node = lab.node(1)
    cluster.slurmd_stop(node)
    assert "orchestrator is Cancelled" in lab.stop()
    until(lambda: not lab.servers(node), "the end of the server")
    cluster.slurmd_start(node)
    lab.nothing_runs()


def test_a_database_with_a_dead_node_is_stopped_before_slurm_has_noticed(
    attentive: Cluster, lab: Lab
) -> None:
    cluster = attentive
    lab.start()
    node = lab.node(1)
    cluster.node_down(node)
    ended = lab.drive(CLI, "stop", lab.path, succeeds=False)
    assert "orchestrator is Cancelled" in ended.said
    assert ended.code == 0
    assert not lab.published()
    cluster.node_up(node)
    lab.nothing_runs()
