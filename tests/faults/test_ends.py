"""The walltime is reached, with and without a warning."""

from __future__ import annotations

import pytest

from tests.faults.lab import NEW, Lab
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


def test_models_whose_time_is_over_have_timed_out_whether_they_heed_signals_or_not(
    cluster: Cluster, lab: Lab
) -> None:
    """Only one of them can leave a record: the other one is killed with its script."""
    words = (
        MODEL.replace("exp.start(model)", "")
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
    for name in ("m", "n"):
        cluster.run(["scontrol", "update", f"jobid={lab.job(name)}", "endtime=now"])
    ended = driver.end(60)
    assert "m is TimedOut" in ended.said
    assert "n is TimedOut" in ended.said
    assert marks[0].with_name("mark.saved").exists()
    assert {run["state"] for run in lab.runs().values()} == {"TimedOut"}
    lab.nothing_runs()
