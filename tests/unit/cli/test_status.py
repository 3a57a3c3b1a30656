"""`hpcorch status` without servers: runs are faked on disk."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hpcorch.cli import runs
from hpcorch.cli.main import main
from hpcorch.journal import Journal, Part, Run
from hpcorch.schedulers.base import JobId, TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot
from tests.unit.cli.fakes import GONE, fake_run, refused, told


def test_status_tells_why_a_run_failed_and_what_to_type(here, capsys):
    fake_run(here, "good", code=0)
    fake_run(here, "bad one".replace(" ", "_"), code=7, reason="the program ended with exit code 7")
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    expected = "bad_one is Failed: the program ended with exit code 7; next: "
    assert expected + "hpcorch logs . bad_one" in out
    assert "good is" not in out


def test_status_json(here, capsys):
    fake_run(here, "m", code=0)
    fake_run(here, "db", kind="database", elements=2, code=0)
    assert main(["status", str(here), "--json"]) == 0
    found = told(capsys)
    assert found["directory"] == str(here)
    database, model = found["runs"]
    assert (database["entity"], database["kind"], database["state"]) == (
        "db",
        "database",
        "Cancelled",
    )
    assert [task["index"] for task in database["tasks"]] == [0, 1]
    assert database["database"] is None
    assert (model["job"], model["code"], model["elapsed"]) == (GONE, 0, 1.5)
    assert set(model) == {
        *("entity", "kind", "directory", "scheduler", "job", "run_id", "submitted_at", "state"),
        *("code", "elapsed", "reason", "stale", "tasks", "database"),
    }


def test_status_of_a_run_that_vanished(here, capsys):
    where = fake_run(here, "m")
    assert main(["status", str(where)]) == 0
    assert "m is Lost: the task is gone and left no exit record; next: " in capsys.readouterr().out


def test_watch_without_a_terminal_prints_changes_and_ends(here, capsys):
    fake_run(here, "m", code=0)
    assert main(["status", "--watch"]) == 0
    assert capsys.readouterr().out == "m is Completed, exit code 0\n"
    assert main(["status", "--watch", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["run"]["entity"] for line in lines] == ["m"]


def test_watch_prints_a_change_once_and_follows_it(here, mocker, capsys):
    fake_run(here, "m")
    (run,) = runs.locate(str(here))
    reason = "the program ended with exit code 3"
    running = RunSnapshot(run, (TaskSnapshot(0, TaskState.RUNNING),))
    failed = RunSnapshot(run, (TaskSnapshot(0, TaskState.FAILED, 3, 1.0, reason),))
    mocker.patch.object(runs.Watcher, "snapshot", side_effect=[[running], [running], [failed]])
    nap = mocker.patch("time.sleep")
    assert main(["status", "--watch"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "m is Running"
    assert second == f"m is Failed: {reason}; next: hpcorch logs . m"
    assert [call.args for call in nap.call_args_list] == [(2.0,), (2.0,)]


def test_what_is_queued_is_shown_with_the_reason(here, mocker, capsys):
    fake_run(here, "m")
    fake_run(here, "db", kind="database")
    waiting = (TaskSnapshot(0, TaskState.QUEUED, reason="Resources"),)
    queued = [RunSnapshot(run, waiting) for run in runs.locate(str(here))]
    ended = [replace(shot, tasks=(TaskSnapshot(0, TaskState.CANCELLED),)) for shot in queued]
    mocker.patch.object(runs.Watcher, "snapshot", side_effect=[queued, queued, ended])
    mocker.patch("time.sleep")
    told = ["database db does not answer: it is queued: Resources", "m is Queued: Resources"]
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == told
    assert main(["status", "--watch"]) == 0
    changes = ["db is Queued: Resources", *told, "db is Cancelled", "m is Cancelled"]
    assert capsys.readouterr().out.splitlines() == changes


def test_a_refused_job_is_shown_with_the_refusal_and_no_logs_that_it_cannot_have(here, capsys):
    journal = Journal(here / "exp")
    run = Run("m", "model", str(here / "exp" / "m"), 1, 0, "t0", "slurm", 0.0)
    journal.intend(run)
    journal.rejected(run.parts[0], "sbatch refused the job: no such queue")
    assert main(["status", "exp"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "m is Failed: sbatch refused the job: no such queue"


def test_a_run_that_was_replaced_is_not_shown(here):
    where = here / "exp" / "m"
    journal = Journal(here / "exp")
    for number in range(2):
        run = Run("m", "model", str(where), 1, number, f"t{number}", "local", 0.0)
        journal.intend(run)
        journal.submitted(Part(run.token, 1, JobId(GONE)))
    found = runs.locate(str(here / "exp"))
    assert [run.token for run in found] == ["t0", "t1"]
    assert [run.token for run in runs.latest(found)] == ["t1"]
    assert [shot.run.token for shot in runs.Watcher().snapshot(found)] == ["t1"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["status", "nowhere"], 3, "there is no directory nowhere"),
        (["status", "."], 3, "holds no run of hpcorch"),
    ],
)
def test_bad_words_end_in_one_sentence_and_a_code(words, code, message, here, capsys):
    refused(words, code, message, capsys)
