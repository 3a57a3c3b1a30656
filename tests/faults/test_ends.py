"""The walltime is reached, with and without a warning."""

from __future__ import annotations

import pytest

from tests.faults.lab import ATTACHED, NEW, Lab
from tests.helpers import until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

# What Slurm sends to the script when it was asked for a warning.
WARN = ["scancel", "--signal=USR1", "--batch"]
SAVES = """trap 'touch "$1.saved"; exit 0' TERM; touch "$1"; while :; do sleep 0.05; done"""
IGNORES = """trap '' TERM; touch "$1"; while :; do sleep 0.05; done"""
MODEL = """
model = exp.create_model(
    "m", exp.create_run_settings("/bin/bash", ["-c", sys.argv[3], "_", sys.argv[2]]),
    batch_settings=exp.create_batch_settings(time="00:05:00"),
)
exp.start(model)
"""
DATABASES = """
import numpy as np
kept = exp.create_database(db_identifier="kept", time="00:05:00", checkpoint=True)
lost = exp.create_database(db_identifier="lost", time="00:05:00")
exp.start(kept, lost)
for database in (kept, lost):
    database.client().put_tensor("x", np.array([7]))
"""
RESTORED = """
database = exp.create_database(db_identifier="next", restore=exp.exp_path + "/kept")
exp.start(database)
print("restored", database.client().get_tensor("x")[0])
"""


def test_a_model_that_is_warned_may_save_and_has_timed_out(cluster: Cluster, lab: Lab) -> None:
    mark = lab.shared / "mark"
    driver = lab.begin(NEW + MODEL, mark, SAVES)
    until(mark.exists, "the program")
    cluster.run([*WARN, lab.job("m")])
    ended = driver.end()
    assert ended.code == 0, ended.said
    assert mark.with_name("mark.saved").exists()
    assert lab.record(0, "m")["signal"] == "USR1"
    assert "m is TimedOut" in ended.said
    assert lab.runs()["m"]["state"] == "TimedOut"
    lab.nothing_runs()


def test_a_database_that_is_warned_takes_its_address_back_and_has_timed_out(
    cluster: Cluster, lab: Lab
) -> None:
    lab.start()
    cluster.run([*WARN, lab.job()])
    until(lambda: not lab.published(), "the address to be taken back")
    lab.reach(["TimedOut"] * 3)
    assert "orchestrator is TimedOut" in lab.stop()
    lab.nothing_runs()


def test_everything_whose_time_is_over_has_timed_out_and_what_was_asked_to_is_saved(
    cluster: Cluster, lab: Lab
) -> None:
    """One model heeds signals, the other cannot even leave a record; one database saves."""
    words = (
        MODEL.replace("exp.start(model)", DATABASES)
        + """
other = exp.create_model("n", exp.create_run_settings("/bin/bash", ["-c", sys.argv[5], "_",
    sys.argv[4]]), batch_settings=exp.create_batch_settings(time="00:05:00"))
exp.start(model, other)
"""
    )
    marks = [lab.shared / "mark", lab.shared / "other"]
    driver = lab.begin(NEW + words, marks[0], SAVES, marks[1], IGNORES)
    until(lambda: all(mark.exists() for mark in marks), "the programs")
    # Slurm's shortest time is a minute, and it looks at times twice a minute only.
    for name in ("m", "n", "lost"):
        cluster.run(["scontrol", "update", f"jobid={lab.job(name)}", "endtime=now"])
    cluster.run(["scontrol", "update", f"jobid={lab.job('kept')}", "timelimit=00:01:30"])
    ended = driver.end()
    assert "m is TimedOut" in ended.said
    assert "n is TimedOut" in ended.said
    assert marks[0].with_name("mark.saved").exists()
    until((lab.path / "kept/exit/0").exists, "the end of the database")
    runs = lab.runs()
    assert {run["state"] for run in runs.values()} == {"TimedOut"}
    saved = lab.path / "kept" / "checkpoint"
    assert f"its time was about to end; the data was saved in {saved}" in runs["kept"]["reason"]
    # Slurm may send its warning before an end that was moved to now, or not.
    told = ("its walltime was over", "its time was about to end; nothing was saved")
    assert runs["lost"]["reason"] in told
    assert not (lab.path / "lost" / "checkpoint").exists()
    lab.nothing_runs()
    assert "restored 7" in lab.drive(ATTACHED + RESTORED).said
    lab.stop()
    lab.nothing_runs()
