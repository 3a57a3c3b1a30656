"""Pinning under Slurm's own binding: by masks alone, and inside cpusets."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
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
    found = lab.driver(DRIVER, ASK + TELL_CPUS, json.dumps(programs), timeout=100)
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


@pytest.mark.parametrize(("layout", "per_host"), [("gang", 2), ("array", 1)])
def test_shards_share_hosts_and_not_cpus(cluster, shared_path, layout, per_host):
    lab = Lab(cluster, shared_path)
    pins = [0, 1][-per_host:]
    addresses = lab.database(
        db_nodes=4, shards_per_host=per_host, custom_pinning=pins, layout=layout
    )
    places = Counter(_place(lab, address) for address in addresses)
    nodes = {node for node, _ in places}
    assert len(nodes) == 4 // per_host
    assert set(places.values()) == {1}
    assert {cpus for _, cpus in places} == set(map(str, pins))


def _place(lab: Lab, address: str) -> tuple[str, str]:
    """Return the node of a shard, and the CPUs of its server there."""
    credentials = lab / "orchestrator" / "admin-credentials"
    info = lab.redis(address, "INFO", "server", credentials=credentials)
    found = re.search(r"process_id:(\d+)", info)
    assert found is not None
    shards = map(json.loads, map(Path.read_text, (lab / "orchestrator/shards").glob("*.json")))
    host, _, port = address.rpartition(":")
    node = next(it["host"] for it in shards if (it["ip"], it["port"]) == (host, int(port)))
    status = lab.cluster.run(["cat", f"/proc/{found[1]}/status"], node=node).stdout
    listed = re.search(r"Cpus_allowed_list:\s*(\S+)", status)
    assert listed is not None
    return node, listed[1]
