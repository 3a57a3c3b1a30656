"""What people do with hpcorch, the same on this machine, on Slurm and on PBS."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

import hpcorch
from tests.cluster.scenarios import READER, WAITER, table
from tests.helpers import until
from tests.scenarios.grounds import Ground

pytestmark = pytest.mark.redis

DEMO = Path(hpcorch.__file__).parent / "demo"
CLOCK = r"\d\d-\d\d-\d\d"


def database_of(ground: Ground, shards: int = 3, **options: object) -> str:
    """Return the arguments of create_database as JSON."""
    return json.dumps({"db_nodes": shards, **options})


def test_the_customers_example(ground):
    for name in ("driver.py", "application.py"):
        shutil.copy(DEMO / name, ground.path)
    done = ground.host.run([sys.executable, "driver.py"], cwd=ground.path, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for wanted in (
        rf".* INFO experiment getting-started-multidb uses the launcher {ground.launcher}: .*",
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
    assert re.fullmatch(ground.label, rows["multi-shard-db-identifier"]["JobID"])
    assert done.stderr == ""
    until(lambda: not ground.queue(), "an empty queue")


def test_by_hand(ground):
    """A rendered script, submitted by the batch system's own command."""
    options = ("--nodes", 3, "--shards-per-host", 2, "--path", "lab/orchestrator")
    script = ground.lab.cli("render", "database", "--scheduler", ground.launcher, *options)
    (ground.path / "lab").mkdir(mode=0o700)
    (ground.path / "db.job").write_text(script)
    ground.submit("db.job")
    ground.lab.await_database()
    run = ground.runs()["orchestrator"]
    assert (run["scheduler"], run["state"]) == (ground.launcher, "Running")
    assert [task["state"] for task in run["tasks"]] == ["Running"] * 3
    assert run["database"]["answers"] is True
    assert ground.lab.cli("stop", "lab") == "orchestrator is Cancelled, exit code 0\n"
    until(lambda: not ground.queue(), "an empty queue")


def test_fire_and_forget(ground):
    """Everything is submitted at once, the driver ends, the programs find their databases."""
    code = """
    database = exp.create_database(**json.loads(sys.argv[1]))
    models = [python_model("writer", sys.argv[2]), python_model("reader", sys.argv[3], "first-1")]
    exp.start(*models, database, wait=False)
    """
    writer = """
import numpy as np
from hpcorch import Client, ConfigOptions
client = Client(ConfigOptions.create_from_environment("first-1"))
client.put_tensor("x", np.arange(5))
"""
    ground.lab.driver(code, database_of(ground, 2, db_identifier="first-1"), writer, READER)
    until((ground.lab / "reader/exit/0").exists, "the end of the reader")
    until((ground.lab / "writer/exit/0").exists, "the end of the writer")
    last = (ground.lab / "reader/reader.out").read_text().splitlines()[-1]
    assert re.fullmatch(r"\S+ 10", last)
    assert ground.stop() == {
        "first-1": ("Cancelled", "0"),
        "writer": ("Completed", "0"),
        "reader": ("Completed", "0"),
    }


def test_another_process_takes_over_from_a_killed_driver(ground):
    code = """
    database = exp.create_database(**json.loads(sys.argv[1]))
    exp.start(database)
    exp.start(python_model("waiter", *sys.argv[2:]))
    """
    words = (database_of(ground), WAITER, ground.path / "never")
    with ground.lab.running_driver(code, *words) as driver:
        until(lambda: ground.lab.has_printed("waiter", "waiting"), "the program")
        driver.kill()
        driver.wait(30)
    assert ground.states() == ["Running"] * 3
    assert ground.states("waiter") == ["Running"]
    assert ground.stop() == {"orchestrator": ("Cancelled", "0"), "waiter": ("Cancelled", "143")}
    assert not (ground.lab / "orchestrator/address.env").exists()


@pytest.mark.parametrize("colocated", [False, True])
def test_a_program_that_is_stopped_is_told_once_and_may_save(ground, colocated):
    """A second SIGTERM would interrupt what a program does because of the first."""
    code = """
    model = python_model("saver", sys.argv[1])
    if sys.argv[2] == "True":
        model.colocate_db_uds()
    exp.start(model, wait=False)
    """
    saver = """
import signal, time
def save(*_):
    print("saving", flush=True)
    time.sleep(0.5)
    print("saved", flush=True)
    raise SystemExit(3)
signal.signal(signal.SIGTERM, save)
print("waiting", flush=True)
while True:
    time.sleep(0.05)
"""
    ground.lab.driver(code, saver, colocated)
    until(lambda: ground.lab.has_printed("saver", "waiting"), "the program")
    assert ground.stop() == {"saver": ("Cancelled", "3")}
    said = (ground.lab / "saver/saver.out").read_text().split()
    assert said == ["waiting", "saving", "saved"]


def test_a_killed_shard_takes_the_address_back_and_is_named(ground):
    code = """
    database = exp.create_database(**json.loads(sys.argv[1]))
    exp.start(database)
    """
    ground.lab.driver(code, database_of(ground))
    ground.kill_server(1)
    until(lambda: "Failed" in ground.states(), "the news of the killed shard")
    run = ground.runs()["orchestrator"]
    assert [task["state"] for task in run["tasks"]] == ["Running", "Failed", "Running"]
    assert "shard 1: the server ended with exit code 137" in run["reason"]
    assert not (ground.lab / "orchestrator/address.env").exists()
    assert ground.stop()["orchestrator"][0] == "Failed"


def test_members_put_their_files_in_place_and_one_that_cannot_runs_again(ground):
    """Something is where the file of one member is to be."""
    (ground.path / "in").mkdir()
    (ground.path / "in/run.nml").write_text("n = ;n;, m = ;5;\n")
    (ground.path / "in/run.nml").chmod(0o640)
    code = """
    settings = exp.create_run_settings("bash", ["-c", "stat -c %a run.nml; cat run.nml"])
    ensemble = exp.create_ensemble("ens", {"n": [0, 1, 2]}, run_settings=settings)
    ensemble.attach_generator_files(to_configure="in", on_node=True)
    obstacle = Path("lab/ens/ens_1/run.nml")
    obstacle.mkdir(parents=True)
    exp.start(ensemble)
    first, table = [str(state) for state in exp.get_status(ensemble)], exp.summary()
    obstacle.rmdir()
    exp.start(ensemble, only="failed")
    outputs = [Path(exp.exp_path, "ens", f"ens_{n}", f"ens_{n}.out") for n in range(3)]
    tell(
        first=first,
        table=table,
        second=[str(state) for state in exp.get_status(ensemble)],
        outputs=[path.read_text().splitlines() for path in outputs],
    )
    """
    found = ground.lab.driver(code)
    assert found["first"] == ["Completed", "Failed", "Completed"]
    assert table(found["table"])["ens_1"]["Returncode"] == "66"
    assert found["second"] == ["Completed"] * 3
    assert found["outputs"] == [["640", f"n = {n}, m = 5"] for n in range(3)]


QUEUED = """
database = exp.create_database(**json.loads(sys.argv[1]))
exp.start(database, wait=False)
"""


def test_stopping_what_is_pending(batch):
    give_back = batch.fill(5)
    batch.lab.driver(QUEUED, database_of(batch))
    assert batch.states() == ["Queued"] * 3
    assert batch.stop()["orchestrator"][0] == "Cancelled"
    assert not (batch.lab / "orchestrator/shards").exists()
    give_back()


def test_stopping_when_half_of_it_runs(batch):
    give_back = batch.fill(3)
    batch.lab.driver(QUEUED, database_of(batch, 4))
    marks = [batch.lab / f"orchestrator/shards/{index}.json" for index in (0, 1)]
    until(lambda: all(mark.exists() for mark in marks), "two shards")
    assert batch.states() == ["Running", "Running", "Queued", "Queued"]
    assert batch.stop()["orchestrator"][0] == "Cancelled"
    assert sorted(path.name for path in (batch.lab / "orchestrator/exit").iterdir()) == list("0123")
    give_back()


def test_a_database_waits_for_room_without_its_driver(batch):
    give_back = batch.fill(3)
    code = "exp.start(exp.create_database(**json.loads(sys.argv[1])))"
    with batch.lab.running_driver(code, database_of(batch)) as driver:
        until((batch.lab / "orchestrator/shards/0.json").exists, "the first shard")
        driver.kill()
        driver.wait(30)
    give_back()
    batch.lab.await_database()
    assert batch.states() == ["Running"] * 3
    assert batch.stop()["orchestrator"] == ("Cancelled", "0")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"queue": "nosuch"}, "queue of orchestrator is 'nosuch': this cluster has "),
        ({"db_nodes": 6, "layout": "gang"}, "orchestrator needs 6 nodes: the queue "),
        (
            {"queue": "short", "time": "01:00:00"},
            "time of orchestrator is 01:00:00: the queue short allows 5 minutes",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_submitted(batch, asked, words):
    code = """
    database = exp.create_database(**json.loads(sys.argv[1]))
    try:
        exp.start(database)
    except HpcorchError as error:
        tell(refused=error.message)
    """
    refused = batch.lab.driver(code, json.dumps(asked))["refused"]
    assert refused.startswith(words)
    assert batch.queue() == []


def test_a_gang_starts_together_and_ends_together(batch):
    code = """
    database = exp.create_database(**json.loads(sys.argv[1]))
    exp.start(database)
    """
    batch.lab.driver(code, database_of(batch, layout="gang"))
    assert batch.states() == ["Running"] * 3
    assert len(batch.queue()) == 1
    assert batch.stop()["orchestrator"] == ("Cancelled", "0")
