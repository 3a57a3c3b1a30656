"""What a rendered script does in a PBS job: masks, threads, the end of its walltime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.plan import plan_ensemble, plan_model
from hpcorch.rundir import ExitRecord
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import merge
from hpcorch.submit import Built, furnish
from tests.fakebin.pbs import FakePbs
from tests.helpers import render, target, until


@pytest.fixture(scope="module")
def pbs() -> Iterator[FakePbs]:
    with FakePbs() as pbs:
        yield pbs


def run(
    pbs: FakePbs, folder: Path, code: str, batch: BatchSettings | None = None, **settings: int
) -> Path:
    """Run a program of bash code as a PBS job to its end; return its run directory."""
    described = RunSettings("/bin/bash", ["-c", code])
    for key, value in settings.items():
        getattr(described, f"set_{key}")(value)
    model = Model("app", described, batch_settings=batch)
    where = target(folder / "app", "pbs")
    job = plan_model(model, "/bin/bash", (), None, where)
    (folder / "job.pbs").write_text(render(job, "pbs").text)
    done = pbs.run("qsub", "job.pbs", cwd=folder)
    assert done.returncode == 0, done.stderr
    until(lambda: not pbs.queued(), "the end of the job")
    return folder / "app"


def printed(where: Path) -> list[str]:
    return (where / "logs/app.0.out").read_text().splitlines()[-1].split()


def record(where: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((where / "exit/0").read_text())
    return found


def test_programs_get_the_mask_of_the_user_and_our_files_stay_private(pbs, tmp_path):
    where = run(pbs, tmp_path, "touch made; umask")
    assert printed(where) == ["0022"]
    assert (where / "made").stat().st_mode & 0o777 == 0o644
    for name in ("logs/app.0.out", "exit/0", "job.json"):
        assert (where / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("batch", "settings", "wanted"),
    [
        ({}, {}, ["1", "1"]),
        ({"place": "excl"}, {}, ["unset", "unset"]),
        ({"place": "scatter:exclhost"}, {}, ["unset", "unset"]),
        ({"place": "excl"}, {"cpus_per_task": 3}, ["3", "3"]),
        ({"place": "excl", "select": "1:ncpus=4:ompthreads=2"}, {}, ["2", "4"]),
    ],
)
def test_a_program_with_nodes_of_its_own_is_not_held_to_one_thread(
    pbs, tmp_path, batch, settings, wanted
):
    code = 'echo "${OMP_NUM_THREADS-unset} ${NCPUS-unset}"'
    where = run(pbs, tmp_path, code, BatchSettings(batch_args=batch), **settings)
    assert printed(where) == wanted


def test_members_of_an_ensemble_get_mask_and_threads_like_any_program(pbs, tmp_path):
    settings = RunSettings("/bin/bash", ["-c", 'echo "$(umask) ${OMP_NUM_THREADS-unset}"'])
    batch = BatchSettings(batch_args={"place": "excl"})
    ensemble = Ensemble("app", {"x": [1]}, run_settings=settings, batch_settings=batch)
    where = target(tmp_path / "app", "pbs")
    plan = plan_ensemble(ensemble, lambda _: ["/bin/bash"], (), lambda _: None, where)
    script = render(plan.jobs[0], "pbs")
    furnish(Built(plan, (script,)))
    (tmp_path / "job.pbs").write_text(script.text)
    done = pbs.run("qsub", "job.pbs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    until(lambda: not pbs.queued(), "the end of the job")
    assert printed(tmp_path / "app") == ["0022", "unset"]


def state(where: Path) -> TaskState:
    """Return what a tracker makes of the record alone, as where no history is kept."""
    found = record(where)
    told = {key: found[key] for key in ("index", "job", "code", "elapsed", "reason")}
    return merge(0, None, None, ExitRecord(signal=found["signal"] or "", **told), gone=True).state


def test_the_end_of_the_walltime_is_no_cancellation(pbs, tmp_path):
    # The script may begin 5 s later than the clock of PBS, a busy machine's delay included.
    where = run(pbs, tmp_path, "exec sleep 60", BatchSettings(time="00:00:10"))
    assert record(where)["signal"] == "USR1"
    assert state(where) is TaskState.TIMED_OUT


def test_a_job_that_is_deleted_before_its_walltime_ends_is_cancelled(pbs, tmp_path):
    where = tmp_path / "app"
    job = f"PATH={pbs.root}/bin:$PATH; qdel $PBS_JOBID; exec sleep 60"
    run(pbs, tmp_path, job, BatchSettings(time="01:00:00"))
    assert record(where)["signal"] == "TERM"
    assert state(where) is TaskState.CANCELLED
