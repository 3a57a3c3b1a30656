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
    assert job(db_nodes=3, db_cpus=2, custom_pinning=[]).shard_cpus == ()


def test_shards_of_this_machine_share_its_cpus():
    assert job(db_nodes=3, db_cpus=2).shard_cpus == ("0 1", "2 3", "4 5")
    assert job(db_nodes=2, custom_pinning=[9, range(4, 7)]).shard_cpus == ("4 5", "6 9")
    assert job(db_nodes=2, db_cpus=1, custom_pinning=[9, 4, 7]).shard_cpus == ("4", "7")


def test_hosts_of_a_cluster_have_their_own():
    found = job("slurm", db_nodes=5, shards_per_host=2, db_cpus=4, layout="gang")
    assert found.shard_cpus == ("0 1 2 3", "4 5 6 7")
    asked = found.resources
    assert (asked.nodes, asked.tasks_per_node, asked.exclusive) == (3, 2, True)
    assert found.port_step == 2
    alone = job("slurm", db_nodes=5, db_cpus=4)
    assert alone.shard_cpus == ("0 1 2 3",)
    assert alone.resources.exclusive


REFUSED = [
    ("local", {"db_nodes": 3, "custom_pinning": [1, 2]}, "names 2 CPUs: 3 shards of a host need 3"),
    (
        "local",
        {"db_nodes": 2, "db_cpus": 2, "custom_pinning": [1, 2, 3]},
        "names 3 CPUs: 2 shards of a host need 4",
    ),
    ("local", {"db_cpus": 2, "threads": 3}, "threads of orchestrator is 3: each shard has 2 CPUs"),
    ("slurm", {"db_nodes": 4, "shards_per_host": 2}, "the elements of a job array are not told"),
    *(
        (name, {"db_nodes": 4, "shards_per_host": 2}, f"on {name} this version gives each shard")
        for name in ("pbs", "pbs-steps", "torque")
    ),
]


@pytest.mark.parametrize(("scheduler", "facts", "message"), REFUSED)
def test_what_cannot_be_is_refused(scheduler, facts, message):
    with pytest.raises(InputError, match=message):
        job(scheduler, **facts)
