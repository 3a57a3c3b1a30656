"""How a host's CPUs are dealt out to shards, and what is refused."""

from __future__ import annotations

import pytest

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError
from tests.helpers import database_job


def job(scheduler: str = "local", **facts):
    return database_job(Orchestrator(**facts), scheduler=scheduler)


def test_without_being_asked_nothing_is_pinned():
    assert job(db_nodes=3).shard_cpus == ()
    assert job(db_nodes=3, custom_pinning=[]).shard_cpus == ()


def test_shards_of_this_machine_share_its_cpus():
    assert job(db_nodes=3, db_cpus=2).shard_cpus == ("0 1", "2 3", "4 5")
    assert job(db_nodes=2, custom_pinning=[9, range(4, 7)]).shard_cpus == ("4 5", "6 9")
    assert job(db_nodes=2, db_cpus=1, custom_pinning=[9, 4]).shard_cpus == ("4", "9")


def test_hosts_of_a_cluster_have_their_own():
    found = job("slurm", db_nodes=5, shards_per_host=2, db_cpus=4, layout="gang")
    assert found.shard_cpus == ("0 1 2 3", "4 5 6 7")
    asked = found.resources
    assert (asked.nodes, asked.tasks_per_node, asked.exclusive) == (3, 2, True)
    assert found.port_step == 2
    alone = job("slurm", db_nodes=5, db_cpus=4)
    assert alone.shard_cpus == ("0 1 2 3",)
    assert alone.resources.exclusive


@pytest.mark.parametrize("scheduler", ["slurm", "pbs", "torque"])
def test_an_element_of_an_array_is_a_host_with_all_its_shards(scheduler):
    found = job(scheduler, db_nodes=5, shards_per_host=2)
    asked = found.resources
    assert (found.elements, found.gang, found.shards_per_element) == (5, False, 2)
    assert (asked.elements, asked.nodes, asked.tasks_per_node) == (3, 1, 2)
    whole = job(scheduler, db_nodes=3, shards_per_host=8)
    assert (whole.resources.elements, whole.shards_per_element, whole.port_step) == (1, 3, 3)
    gang = job(scheduler, db_nodes=5, shards_per_host=2, layout="gang")
    assert (gang.resources.nodes, gang.shards_per_element) == (3, 1)


@pytest.mark.parametrize("scheduler", ["pbs-steps", "slurm-steps"])
def test_steps_are_spread_over_hosts(scheduler):
    found = job(scheduler, db_nodes=5, shards_per_host=2)
    assert (found.resources.nodes, found.shards_per_host, found.shards_per_element) == (3, 2, 1)


def test_a_host_is_asked_for_all_cpus_that_its_shards_name():
    def cpus(**facts):
        return job("pbs", db_nodes=4, shards_per_host=2, **facts).resources.cpus_per_task

    assert cpus() is None
    assert cpus(db_cpus=3) == 3
    # Two shards of a host ask for 5 CPUs each, so that there is a number 8.
    assert cpus(custom_pinning=[2, 8]) == 5
    assert cpus(custom_pinning=[]) is None
    more = Orchestrator(db_nodes=2, db_cpus=2)
    more.set_cpus(3)
    assert database_job(more, scheduler="slurm").resources.cpus_per_task == 3
    more.set_cpus(1)
    with pytest.raises(InputError, match="cpus of orchestrator is 1: its pinning needs 2 a shard"):
        database_job(more, scheduler="slurm")


REFUSED = [
    ("local", {"db_nodes": 3, "custom_pinning": [1, 2]}, "names 2 CPUs: 3 shards of a host with 1"),
    (
        "local",
        {"db_nodes": 2, "db_cpus": 2, "custom_pinning": [1, 2, 3]},
        "names 3 CPUs: 2 shards of a host with 2 each take 4",
    ),
    ("slurm", {"db_cpus": 2, "custom_pinning": [1, 2, 3]}, "names 3 CPUs: 1 shard with 2 each"),
    ("local", {"db_cpus": 2, "custom_pinning": []}, "names 0 CPUs: 1 shard with 2 each take 2"),
    ("local", {"db_nodes": 2, "custom_pinning": [1, 2, 3]}, "names 3 CPUs: 2 shards of a host"),
    ("local", {"db_cpus": 2, "threads": 3}, "threads of orchestrator is 3: each shard has 2 CPUs"),
]


@pytest.mark.parametrize(("scheduler", "facts", "message"), REFUSED)
def test_what_cannot_be_is_refused(scheduler, facts, message):
    with pytest.raises(InputError, match=message):
        job(scheduler, **facts)
