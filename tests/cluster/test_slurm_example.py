"""The customer's example on Slurm: the text of the driver is the one that runs on one machine."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

import hpcorch
from tests.cluster.scenarios import Lab, table
from tests.testbed.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.redis]

DEMO = Path(hpcorch.__file__).parent / "demo"
CLOCK = r"\d\d-\d\d-\d\d"


def test_the_example_runs_unchanged_on_slurm() -> None:
    """Its databases keep four nodes, one by one; its programs share the fifth."""
    with Cluster(nodes=5) as cluster:
        lab = Lab(cluster, cluster.shared)
        for name in ("driver.py", "application.py"):
            shutil.copy(DEMO / name, cluster.shared)
        done = cluster.run([sys.executable, "driver.py"], check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        for wanted in (
            r".* INFO experiment getting-started-multidb uses the launcher slurm: .*",
            r".* INFO The multi shard array key exists in the incorrect database: False",
            r".* INFO The single shard array key exists in the incorrect database: False",
            rf"Model: single shard logger@{CLOCK}:The single sharded db tensor is: \[1 2 3 4\]",
            rf"Model: multi shard logger@{CLOCK}:The clustered db tensor is: \[5 6 7 8\]",
            "Hello World",
        ):
            assert sum(re.fullmatch(wanted, line) is not None for line in lines) == 1, wanted
        rows = table(done.stdout)
        assert [(name, row["Status"], row["Returncode"]) for name, row in rows.items()] == [
            ("single_shard_db_identifier", "Cancelled", "0"),
            ("multi-shard-db-identifier", "Cancelled", "0"),
            ("tutorial_model", "Completed", "0"),
            ("colo_model", "Completed", "0"),
        ]
        assert re.fullmatch(r"\d+_\[0-2\]", rows["multi-shard-db-identifier"]["JobID"])
        assert done.stderr == ""
        cluster.wait_idle(10)
        assert lab.nothing_runs()
