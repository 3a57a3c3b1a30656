"""Several shards of one database on each node, on CPUs of their own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import allowed_cpus, kill, parent, servers_below, until
from tests.scenarios.grounds import Ground, Pbs

pytestmark = pytest.mark.redis

FIVE = {"db_nodes": 5, "shards_per_host": 2, "custom_pinning": [0, 1]}
START = """
database = exp.create_database(**json.loads(sys.argv[1]))
exp.start(database)
"""


def shards(ground: Ground) -> list[dict[str, Any]]:
    """What the shards have published, in their order."""
    folder = ground.lab / "orchestrator/shards"
    return [json.loads(Path(folder, f"{index}.json").read_text()) for index in range(5)]


@pytest.mark.parametrize("layout", ["array", "gang"])
def test_shards_share_nodes_and_not_cpus(batch, layout):
    if isinstance(batch, Pbs):
        batch.pbs.need_names()
    batch.lab.driver(START, json.dumps({**FIVE, "layout": layout}))
    found = shards(batch)
    servers = servers_below(batch.path)
    pids = [servers[f"{shard['ip']}:{shard['port']}"] for shard in found]
    places = [(shard["host"], allowed_cpus(pid)) for shard, pid in zip(found, pids, strict=True)]
    assert set(Counter(places).values()) == {1}
    assert {cpus for _, cpus in places} == {"0", "1"}
    hosts = [shard["host"] for shard in found]
    assert sorted(Counter(hosts).values()) == [1, 2, 2]
    # Three nodes at once: three elements of an array, or one job.
    assert batch.states() == ["Running"] * 5
    kill(pids[1])
    if layout == "array":
        # Who has started the shards of a node tells of the death of one.
        kill(parent(pids[4]))
        record = batch.lab / "orchestrator/exit/4"
        until(record.exists, "the record of the killed shard")
        assert "died without a record, exit code 137" in record.read_text()
        kill(pids[4])
    until(lambda: batch.states()[1] == "Failed", "the news of the killed server")
    assert [batch.states()[place] for place in (0, 2, 3)] == ["Running"] * 3
    assert batch.stop()["orchestrator"] == ("Failed", "137")
    until(lambda: not servers_below(batch.path), "the end of all servers")
