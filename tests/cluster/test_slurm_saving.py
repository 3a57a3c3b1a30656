"""Programs that srun has started get SIGTERM and time to save, whatever asks them to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.scenarios import ATTACHED, Lab
from tests.helpers import tool, until
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

# Each process says that it runs, and takes a while to save when it is asked to end.
SAVES = """
import os, signal, sys, time
from pathlib import Path
mine = Path(sys.argv[1], os.environ.get("SLURM_PROCID", "0"))
def save(*_):
    print("saving", flush=True)
    time.sleep(0.5)
    mine.with_suffix(".saved").touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
mine.with_suffix(".runs").touch()
while True:
    time.sleep(0.05)
"""
SEVERAL = """
model = python_model("m", sys.argv[1], os.getcwd())
if sys.argv[2] != "1":
    model.run_settings.set_nodes(2)
    model.run_settings.set_tasks(int(sys.argv[2]))
exp.start(model, wait=False, block=False)
"""
WAITED = """
deadline = time.monotonic() + 60
while len(list(Path.cwd().glob("*.runs"))) < int(sys.argv[2]):
    assert time.monotonic() < deadline
    time.sleep(0.05)
exp.stop(model)
tell(summary=exp.summary())
"""


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


def marks(lab: Lab, ending: str) -> list[str]:
    return sorted(path.stem for path in lab.path.glob(f"*.{ending}"))


@pytest.mark.parametrize("processes", [1, 4])
def test_what_is_stopped_in_an_allocation_saves_first(lab, processes):
    lab.driver(SEVERAL + WAITED, SAVES, processes, inside=["salloc", "-N2", "-n4"])
    assert marks(lab, "saved") == marks(lab, "runs") == list("0123"[:processes])
    until(lab.nothing_runs, "the end of all processes")


@pytest.mark.parametrize("processes", [1, 4])
def test_what_ignores_that_in_an_allocation_is_killed_on_all_nodes(lab, processes):
    stubborn = SAVES.replace("SIGTERM, save", "SIGTERM, signal.SIG_IGN")
    stop = WAITED.replace("exp.stop(model)", 'os.system(f"{sys.argv[3]} stop lab --grace 1")')
    look = 'tell(left=os.popen("squeue --noheader --steps --jobs $SLURM_JOB_ID").read())'
    words = (stubborn, processes, tool("hpcorch"))
    found = lab.driver(SEVERAL + stop + look, *words, inside=["salloc", "-N2", "-n4"])
    assert marks(lab, "runs") == list("0123"[:processes])
    assert found["left"] == ""


def test_what_is_stopped_in_a_batch_job_saves_first(lab):
    lab.driver(SEVERAL + WAITED, SAVES, 4)
    assert marks(lab, "saved") == list("0123")


def test_what_is_warned_of_its_walltime_saves_first(lab):
    lab.driver(SEVERAL, SAVES, 4)
    until(lambda: marks(lab, "runs") == list("0123"), "the program")
    (job,) = lab.jobs()
    # What Slurm sends to a script that was asked for a warning.
    lab.cluster.run(["scancel", "--signal=USR1", "--batch", job])
    until((lab / "m/exit/0").exists, "the job's record")
    assert marks(lab, "saved") == list("0123")
    lab.driver("exp.stop()", start=ATTACHED)
