"""Pinning under Slurm's own binding: by masks alone, and inside cpusets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.scenarios import Lab
from tests.local.ranks import ASK, TELL_CPUS
from tests.testbed.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.redis]

# Each program: its number of processes, what srun is told, and the database's CPUs.
DRIVER = """
found = {}
for name, tasks, pins, run_args in json.loads(sys.argv[2]):
    settings = exp.create_run_settings("/bin/bash", ["-c", sys.argv[1], "_", str(tasks)],
                                       "srun", run_args)
    settings.set_tasks(tasks)
    model = exp.create_model(name, settings)
    model.colocate_db_uds(security="open", custom_pinning=pins)
    exp.start(model)
    said = [json.loads(line) for line in output(model).splitlines()]
    found[name] = [[item["server"], item["me"]] for item in said]
tell(found=found)
"""


@pytest.fixture(autouse=True)
def two_cpus() -> None:
    if not {0, 1} <= os.sched_getaffinity(0):
        pytest.fail("these tests need the CPUs 0 and 1")


def placed(cluster: Cluster, *programs: list[object]) -> dict[str, Any]:
    """Where the server and each process of these programs were, by the program's name."""
    lab = Lab(cluster, cluster.shared)
    found = lab.driver(DRIVER, ASK + TELL_CPUS, json.dumps(programs))
    places: dict[str, Any] = found["found"]
    return places


def test_a_server_is_not_caught_on_the_cpu_of_the_process_that_starts_it():
    """Masks alone: a job that has all CPUs of its node, and one that has a single one of them."""
    with Cluster(nodes=1, cpus=2, settings={"TaskPlugin": "task/affinity"}) as cluster:
        found = placed(
            cluster,
            ["second", 2, [1], {"cpu-bind": "map_cpu:0,1"}],
            ["first", 2, [0], {"cpu-bind": "map_cpu:1,0"}],
            ["alone", 1, [0], {"cpu-bind": "cores"}],
        )
    assert found["second"] == [["1", "0"], ["1", "0"]]
    assert found["first"] == [["0", "1"], ["0", "1"]]
    # There the server shares the one CPU that the job has.
    assert found["alone"] == [["0", "0"]]


def test_a_server_stays_inside_the_job_s_cpuset():
    if not Path("/sys/fs/cgroup/cpuset/cpuset.cpus").exists():
        pytest.skip("Slurm of Debian 12 makes cpusets without systemd in cgroup v1 only")
    with Cluster(nodes=1, cpus=2, cgroup=True) as cluster:
        both = ["both", 2, [1], {"cpu-bind": "cores"}]
        # Another job keeps the first CPU, so this one's number 0 is CPU 1.
        job = cluster.run(["sbatch", "--parsable", "-c1", "--output=/dev/null", "--wrap=sleep 99"])
        found = placed(cluster, ["alone", 1, [0], {}])
        cluster.run(["scancel", job.stdout.strip()])
        found |= placed(cluster, both)
    ((server, me),) = found["alone"]
    assert (server, me) in (("0", "0"), ("1", "1"))
    assert found["both"] == [["1", "0"], ["1", "0"]]


def test_shards_of_an_allocation_s_nodes_share_them_and_not_their_cpus(cluster, shared_path):
    """srun spreads them in turn here, so that neighbours by number are on different nodes."""
    code = """
    from tests.helpers import allowed_cpus, servers_below
    database = exp.create_database(db_nodes=4, shards_per_host=2, custom_pinning=[0, 1])
    database.set_run_arg("distribution", "cyclic")
    exp.start(database)
    servers = servers_below(Path("lab").absolute())
    tell(places=[[it, allowed_cpus(servers[it])] for it in database.get_address()])
    exp.stop()
    """
    lab = Lab(cluster, shared_path)
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    inside = ["salloc", "-N2", "--exclusive"]
    places = lab.driver(code, inside=inside, env=env)["places"]
    hosts = [address.partition(":")[0] for address, _ in places]
    assert hosts == [hosts[0], hosts[1]] * 2
    assert {(host, cpus) for host, (_, cpus) in zip(hosts, places, strict=True)} == {
        (host, cpus) for host in hosts[:2] for cpus in "01"
    }
