"""A database whose shards stay in the queue: what the driver says, and when it gives up."""

from __future__ import annotations

import re

import pytest

from tests.faults.lab import DATABASE, START, Lab
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

LIMITED = DATABASE + "exp.start(database, queue_timeout=float(sys.argv[2]))\n"


def test_a_driver_tells_how_many_shards_run_and_why_the_others_do_not(
    cluster: Cluster, lab: Lab
) -> None:
    lab.occupy(2)
    driver = lab.begin(START)
    driver.says("database orchestrator: 2 of 3 shards run; the others are queued: Resources")
    for job in lab.queue_of("other"):
        cluster.run(["scancel", job])
    ended = driver.end()
    assert ended.code == 0, ended.said
    assert "database orchestrator answers at " in ended.said
    told = re.findall(r"database orchestrator: (.*)", ended.said)
    assert len(told) == len(set(told)), ended.said
    counts = [int(line.partition(" of 3")[0]) for line in told if " of 3" in line]
    assert counts == sorted(counts), ended.said
    lab.stop()
    lab.nothing_runs()


def test_a_start_of_which_nothing_starts_is_given_up_in_time_with_the_reason(
    cluster: Cluster, lab: Lab
) -> None:
    lab.occupy(4)
    ended = lab.drive(LIMITED, "10", succeeds=False)
    assert ended.code == 1
    assert "0 of 3 shards run; all are queued: Resources" in ended.said
    last = ended.said.splitlines()[-1]
    assert "StartFailed: database orchestrator did not leave the queue within 10 s: " in last
    assert "still queued: shards 0, 1, 2 (Resources)" in last
    lab.nothing_runs()
    assert lab.states() == ["Cancelled"] * 3
