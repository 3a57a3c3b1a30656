"""Which hosts the shards of a database are on, and what is refused."""

from __future__ import annotations

import pytest

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError
from tests.helpers import database_job


def job(scheduler: str, hosts: str = "", nodes: int | None = None, **facts):
    database = Orchestrator("db", batch_settings=BatchSettings(nodes=nodes), **facts)
    if hosts:
        database.set_hosts(hosts)
    return database_job(database, scheduler=scheduler)


@pytest.mark.parametrize("scheduler", ["slurm", "pbs", "torque"])
def test_shards_on_named_hosts_are_one_job(scheduler):
    found = job(scheduler, "n1,n2,n3", db_nodes=3)
    assert (found.gang, found.resources.nodes, found.resources.elements) == (True, 3, 1)
    shared = job(scheduler, "n1,n2", db_nodes=4, shards_per_host=2)
    assert (shared.gang, shared.resources.nodes) == (True, 2)
    alone = job(scheduler, "n1")
    assert (alone.gang, alone.resources.nodes) == (False, 1)
    together = job(scheduler, "n1", db_nodes=2, shards_per_host=2)
    assert (together.gang, together.resources.nodes) == (False, 1)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"hosts": "n1", "db_nodes": 3}, "host_list of db has 1 hosts: its shards are on 3"),
        ({"hosts": "n1,n2"}, "host_list of db has 2 hosts: its shards are on 1"),
        ({"nodes": 2, "db_nodes": 3}, "nodes of db is 2: its shards are on 3"),
        ({"interface": "lo", "db_nodes": 2}, "interface of db is 'lo': its shards are on 2 hosts"),
    ],
)
def test_other_hosts_than_those_of_the_shards_are_refused(facts, message):
    with pytest.raises(InputError, match=message):
        job("slurm", **facts)


def test_one_host_may_keep_to_itself():
    assert job("slurm", interface="lo", db_nodes=2, shards_per_host=2).interfaces == ("lo",)
    assert job("slurm", nodes=2, db_nodes=2).resources.elements == 2
