"""Without a driver: what was queued at once, drivers that die, and stopping at any moment."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cluster.scenarios import ATTACHED, READER, WAITER, Lab, table
from tests.helpers import until
from tests.testbed.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.redis]

STOP_TWICE = """
exp.stop()
tell(summary=exp.summary())
exp.stop()
tell(again=exp.summary())
"""
# Starts a database that has no room, and asks for nothing more.
QUEUED = """
database = exp.create_database(db_nodes=int(sys.argv[1]))
exp.start(database, wait=False)
"""


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


def stopped_rows(lab: Lab) -> dict[str, dict[str, str]]:
    """Stop all of the experiment, twice, from a new process; return the rows of the summary."""
    found = lab.driver(STOP_TWICE, start=ATTACHED)
    rows = table(found["summary"])
    again = table(found["again"])
    assert {name: row["Status"] for name, row in rows.items()} == {
        name: row["Status"] for name, row in again.items()
    }
    return rows


def states(lab: Lab) -> dict[str, list[str]]:
    """The state of each task of each entity, as another process sees it."""
    runs = json.loads(lab.cli("status", "lab", "--json"))["runs"]
    return {run["entity"]: [task["state"] for task in run["tasks"]] for run in runs}


def reason(lab: Lab, name: str) -> str:
    runs = json.loads(lab.cli("status", "lab", "--json"))["runs"]
    return next(str(run["reason"]) for run in runs if run["entity"] == name)


def test_what_is_queued_at_once_needs_no_driver(lab):
    code = """
    first = exp.create_database(db_nodes=2, db_identifier="first-1")
    second = exp.create_database(db_identifier="second")
    writer, reader = sys.argv[1:]
    models = [python_model("writer", writer), python_model("reader", reader, "second")]
    exp.start(*models, first, second, wait=False)
    """
    # It proves that both databases are reachable, and lets the reader go on.
    writer = """
import numpy as np
from hpcorch import Client, ConfigOptions
first = Client(ConfigOptions.create_from_environment("first-1"))
first.put_tensor("y", np.arange(5))
second = Client(ConfigOptions.create_from_environment("second"))
second.put_tensor("x", first.get_tensor("y"))
"""
    lab.driver(code, writer, READER)
    until((lab / "reader/exit/0").exists, "the end of the reader")
    assert re.search(r"^node\d 10$", (lab / "reader/reader.out").read_text(), re.MULTILINE)
    until((lab / "writer/exit/0").exists, "the end of the writer")
    rows = stopped_rows(lab)
    assert {name: (row["Status"], row["Returncode"]) for name, row in rows.items()} == {
        "first-1": ("Cancelled", "0"),
        "second": ("Cancelled", "0"),
        "writer": ("Completed", "0"),
        "reader": ("Completed", "0"),
    }
    until(lambda: not lab.jobs(), "the end of all jobs")
    until(lab.nothing_runs, "the end of all processes")


def test_another_process_takes_over_from_a_killed_driver(lab):
    code = """
    database = exp.create_database(db_nodes=3)
    exp.start(database)
    exp.start(python_model("waiter", *sys.argv[1:]))
    """
    with lab.running_driver(code, WAITER, lab.path / "never") as driver:
        until(lambda: lab.has_printed("waiter", "waiting"), "the program")
        driver.kill()
        driver.wait(30)
    assert states(lab) == {"orchestrator": ["Running"] * 3, "waiter": ["Running"]}
    rows = stopped_rows(lab)
    assert (rows["orchestrator"]["Status"], rows["orchestrator"]["Returncode"]) == (
        "Cancelled",
        "0",
    )
    assert (rows["waiter"]["Status"], rows["waiter"]["Returncode"]) == ("Cancelled", "143")
    until(lambda: not lab.jobs(), "the end of all jobs")
    until(lab.nothing_runs, "the end of all processes")


def test_a_driver_killed_while_its_database_starts_loses_nothing(lab):
    filler = lab.fill("-N2")
    code = "exp.start(exp.create_database(db_nodes=3))"
    with lab.running_driver(code) as driver:
        until(lambda: len(lab.jobs()) == 4, "the database in the queue")
        driver.kill()
        driver.wait(30)
    lab.cluster.run(["scancel", filler])
    lab.await_database()
    assert states(lab) == {"orchestrator": ["Running"] * 3}
    assert stopped_rows(lab)["orchestrator"]["Status"] == "Cancelled"


def test_stopping_what_is_pending_removes_it_from_the_queue(lab):
    filler = lab.fill("-N4")
    lab.driver(QUEUED, 3)
    assert states(lab) == {"orchestrator": ["Queued"] * 3}
    assert stopped_rows(lab)["orchestrator"]["Status"] == "Cancelled"
    assert lab.jobs() == [filler]
    assert not (lab / "orchestrator/shards").exists()


def test_stopping_when_half_of_the_array_runs_ends_both_halves(lab):
    filler = lab.fill("-N2")
    lab.driver(QUEUED, 4)
    marks = [lab / f"orchestrator/shards/{index}.json" for index in (0, 1)]
    until(lambda: all(mark.exists() for mark in marks), "two shards")
    assert states(lab)["orchestrator"] == ["Running", "Running", "Queued", "Queued"]
    rows = stopped_rows(lab)
    assert rows["orchestrator"]["Status"] == "Cancelled"
    until(lambda: lab.jobs() == [filler], "the end of all jobs but the one that fills nodes")
    assert sorted(path.name for path in (lab / "orchestrator/exit").iterdir()) == list("0123")
    assert states(lab)["orchestrator"] == ["Cancelled"] * 4


def test_stopping_what_is_completing_waits_for_its_end(lab):
    """A program that ignores SIGTERM completes for as long as KillWait."""
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITER
    code = 'exp.start(python_model("waiter", *sys.argv[1:]), wait=False)'
    lab.driver(code, stubborn, lab.path / "never")
    until(lambda: lab.has_printed("waiter", "waiting"), "the program")
    (job,) = lab.jobs()
    lab.cluster.run(["scancel", job])
    until(lambda: "COMPLETING" in lab.cluster.job_states(job), "the job's completion")
    rows = stopped_rows(lab)
    assert rows["waiter"]["Status"] == "Cancelled"
    assert lab.jobs() == []
    until(lab.nothing_runs, "the end of all processes")


def test_what_somebody_has_cancelled_while_it_was_pending_is_cancelled(lab):
    """By Slurm's word: there is no record, and whoever looks has just begun to look."""
    filler = lab.fill("-N4")
    lab.driver(QUEUED, 3)
    lab.cluster.run(["scancel", *{job.partition("_")[0] for job in lab.jobs()} - {filler}])
    assert lab.jobs() == [filler]
    assert states(lab)["orchestrator"] == ["Cancelled"] * 3


def test_a_program_of_a_database_that_was_stopped_while_it_started_ends_with_the_reason(lab):
    """One shard runs, the other waits for the same node."""
    code = """
    database = exp.create_database(db_nodes=2)
    database.set_batch_arg("nodelist", "node1")
    model = python_model("reader", sys.argv[1], "")
    exp.start(database, model, wait=False)
    """
    lab.driver(code, READER)
    until(lambda: lab.has_printed("reader", "waiting for the database"), "the program")
    until((lab / "orchestrator/shards/0.json").exists, "the first shard")
    lab.cli("stop", "lab", "orchestrator")
    until((lab / "reader/exit/0").exists, "the end of the program")
    assert f"the database in {lab / 'orchestrator'} has ended: " in reason(lab, "reader")


def test_a_program_of_a_database_that_was_stopped_while_pending_ends_with_the_reason(lab):
    """No task of the database has ever run, so that none could leave a record."""
    lab.fill("-N1", "-w", "node1")
    code = """
    database = exp.create_database(hosts="node1")
    model = python_model("reader", sys.argv[1], "")
    exp.start(database, model, wait=False)
    """
    lab.driver(code, READER)
    until(lambda: lab.has_printed("reader", "waiting for the database"), "the program")
    lab.cli("stop", "lab", "orchestrator")
    until((lab / "reader/exit/0").exists, "the end of the program")
    assert f"the database in {lab / 'orchestrator'} has ended: " in reason(lab, "reader")
