"""How often Slurm is asked: one sbatch for an array, one squeue and one scancel for all jobs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcorch.schedulers.slurm import SlurmScheduler
from tests.cluster.scenarios import Lab, table
from tests.helpers import tool
from tests.testbed.cluster import Cluster
from tests.testbed.layout import SYSTEM_PATH

pytestmark = pytest.mark.cluster

COUNTED = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")
Calls = Callable[[], dict[str, list[list[str]]]]


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


@pytest.fixture
def calls(shared_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put programs that keep a record before Slurm's own; return what reads and clears it."""
    folder, record = shared_path / "counting", shared_path / "calls"
    folder.mkdir()
    for name in COUNTED:
        real = shutil.which(name, path=SYSTEM_PATH)
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{record}\nexec {real} "$@"\n')
        (folder / name).chmod(0o755)
    record.touch()
    monkeypatch.setenv("PATH", f"{folder}:{SYSTEM_PATH}")

    def read() -> dict[str, list[list[str]]]:
        found: dict[str, list[list[str]]] = {name: [] for name in COUNTED}
        for line in record.read_text().splitlines():
            name, *words = line.split()
            found[name].append(words)
        record.write_text("")
        return found

    return read


# Programs that run until they are stopped, and a database that waits for room.
STARTED = """
models = [
    exp.create_model(f"m{number}", exp.create_run_settings("sleep", ["300"]))
    for number in range(3)
]
database = exp.create_database(db_nodes=3)
database.set_batch_arg("nodelist", "node1")
exp.start(database, *models, wait=False)
"""


def test_an_array_is_one_sbatch_and_limits_are_asked_for_once(lab, calls):
    lab.driver(STARTED)
    found = calls()
    assert len(found["sbatch"]) == 4
    assert len(found["scontrol"]) == len(found["sinfo"]) == 1
    assert found["squeue"] == found["sacct"] == found["scancel"] == []


def test_however_often_one_looks_there_is_one_squeue_for_all_jobs(lab, calls):
    code = """
    began = time.monotonic()
    for _ in range(200):
        states = [str(state) for state in exp.get_status(database, *models)]
        exp.summary()
    tell(states=states, intervals=int((time.monotonic() - began) / exp._scheduler.poll_floor))
    """
    lines = [line.removeprefix("    ") for line in code.splitlines()]
    found = lab.driver(STARTED + "\n".join(lines))
    assert len(found["states"]) == 4
    made = calls()
    assert 1 <= len(made["squeue"]) <= 1 + found["intervals"]
    assert made["sacct"] == []
    (listed,) = {words[words.index("-j") + 1] for words in made["squeue"]}
    assert len(set(listed.split(","))) == 4


def test_processes_that_look_at_the_same_run_share_one_answer(lab, calls):
    lab.driver(STARTED)
    calls()
    began = time.monotonic()
    shown = [json.loads(lab.cli("status", "lab", "--json"))["runs"] for _ in range(4)]
    # The shared answer may be older than the programs: that they have begun they say themselves.
    assert {run["state"] for runs in shown for run in runs} <= {"Queued", "Running"}
    intervals = int((time.monotonic() - began) / SlurmScheduler().poll_floor)
    assert len(calls()["squeue"]) <= 1 + intervals


def test_processes_that_cannot_write_there_ask_for_themselves(lab, calls):
    lab.driver(STARTED)
    calls()
    folder = lab / ".hpcorch"
    read_only = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && "
    status = f"{tool('hpcorch')} status lab --json"
    words = ["unshare", "-m", "sh", "-c", f"{read_only} {status} && {status}"]
    done = lab.cluster.run(words, cwd=lab.path)
    assert done.stderr == ""
    assert done.stdout.count('"stale": ""') == 8
    assert len(calls()["squeue"]) == 2


def test_all_programs_are_cancelled_by_one_scancel(lab, calls):
    code = """
models = [
    exp.create_model(f"m{number}", exp.create_run_settings("sleep", ["300"]))
    for number in range(5)
]
exp.start(*models, wait=False)
tell(before=exp.summary())
began = time.monotonic()
while not all(Path("lab", model.name, "shards/0.started").exists() for model in models):
    assert time.monotonic() - began < 30
    time.sleep(0.02)
exp.stop()
tell(after=exp.summary())
"""
    found = lab.driver(code)
    made = calls()
    (cancelled,) = made["scancel"]
    assert set(cancelled) == {row["JobID"] for row in table(found["before"]).values()}
    assert {row["Status"] for row in table(found["after"]).values()} == {"Cancelled"}
    assert {row["Returncode"] for row in table(found["after"]).values()} == {"143"}


def test_an_ensemble_is_one_sbatch_one_squeue_a_look_and_one_scancel(lab, calls):
    """A member that is stopped alone, then a failed one that runs again, are one call each too."""
    code = """
    settings = exp.create_run_settings("bash", ["-c", sys.argv[1]])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=12, max_running=6)
    exp.start(ensemble, block=False)
    folder = Path(exp.exp_path, "ens", "shards")
    began = time.monotonic()
    while len(list(folder.glob("*.started"))) < 6:
        time.sleep(0.05)
    exp.stop(ensemble[1], ensemble[2])
    states = [str(state) for state in exp.get_status(ensemble)]
    for _ in range(50):
        exp.get_status(ensemble)
        exp.summary()
    exp.stop(ensemble)
    after = [str(state) for state in exp.get_status(ensemble)]
    tell(states=states, after=after, seconds=time.monotonic() - began)
    """
    found = lab.driver(code, "sleep 300")
    assert found["states"][:4] == ["Running", "Cancelled", "Cancelled", "Running"]
    assert found["after"] == ["Cancelled"] * 12
    made = calls()
    assert [len(made[name]) for name in ("sbatch", "scontrol", "sinfo")] == [1, 1, 1]
    assert [words[-1].partition("_")[2] for words in made["scancel"]] == ["[1-2]", ""]
    assert all(words.count("-j") == 1 for words in made["squeue"])
    # Who waits for an end asks every two seconds; before and after it, both stops and a look ask.
    assert len(made["squeue"]) <= 7 + found["seconds"] / 2
