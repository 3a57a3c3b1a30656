"""The customer's example, as it is shipped: what it prints and what it leaves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hpcorch
from tests.helpers import processes, until

pytestmark = [pytest.mark.redis, pytest.mark.slow]

DRIVER = Path(hpcorch.__file__).parent / "demo" / "driver.py"
CLOCK = r"\d\d-\d\d-\d\d"


def test_the_example_prints_its_lines_and_leaves_nothing_behind(tmp_path, node_dir):
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, str(DRIVER)],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for wanted in (
        r"\d\d:\d\d:\d\d \S+ hpcorch\[\d+\] INFO The multi shard array key exists in the "
        "incorrect database: False",
        r"\d\d:\d\d:\d\d \S+ hpcorch\[\d+\] INFO The single shard array key exists in the "
        "incorrect database: False",
        rf"Model: single shard logger@{CLOCK}:The single sharded db tensor is: \[1 2 3 4\]",
        rf"Model: multi shard logger@{CLOCK}:The clustered db tensor is: \[5 6 7 8\]",
        "Hello World",
    ):
        assert sum(re.fullmatch(wanted, line) is not None for line in lines) == 1, wanted
    table = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in lines
        if re.match(r"\| +\d", line)
    ]
    facts = [(cells[1], cells[2], cells[4], cells[6], cells[7]) for cells in table]
    assert facts == [
        ("single_shard_db_identifier", "DBNode", "0", "Cancelled", "0"),
        ("multi-shard-db-identifier", "DBNode", "0", "Cancelled", "0"),
        ("tutorial_model", "Model", "0", "Completed", "0"),
        ("colo_model", "Model", "0", "Completed", "0"),
    ]
    assert re.fullmatch(r"\d+_\[0-2\]", table[1][3])
    assert done.stderr == ""
    until(lambda: not processes(tmp_path), "the end of all processes")
    assert list(node_dir.iterdir()) == []
    assert list(work.rglob("address.*")) == []
    assert list((tmp_path / "state" / "hpcorch" / "addresses").iterdir()) == []


def test_the_example_describes_what_the_customer_s_text_describes():
    """The tensors, identifiers and names of the specification, word for word."""
    text = DRIVER.read_text()
    for words in (
        "getting-started-multidb",
        "single_shard_db_identifier",
        "multi-shard-db-identifier",
        json.dumps([1, 2, 3, 4]),
        json.dumps([5, 6, 7, 8]),
        "tutorial_model",
        "Multidb Experiment Log",
    ):
        assert words in text
