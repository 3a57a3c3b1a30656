"""Runs of the local launcher that another machine with the same file system has started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcorch import Experiment, Model
from hpcorch.cli.main import main
from hpcorch.journal import this_host
from tests.helpers import bash_model, directory, kill, processes, until


def _killed(where: Path) -> bool:
    """Kill what there is; one that is about to die may have started another."""
    for pid in processes(where):
        kill(pid)
    return not processes(where)


@pytest.fixture
def far(exp_dir: Path) -> Model:
    """A program that cannot be seen from here and has left no record, as one of login1."""
    exp = Experiment("lab", exp_dir, launcher="local")
    model = bash_model(exp, "far", "exec sleep 600")
    exp.start(model, block=False)
    where = directory(exp, model)
    until((where / "shards/0.started").exists, "the task's mark")
    until(lambda: _killed(where), "the end of its processes")
    # Its supervisor may have been the last to go.
    (where / "exit/0").unlink(missing_ok=True)
    journal = exp_dir / ".hpcorch/journal.jsonl"
    mine = f'"host": {json.dumps(this_host())}'
    assert mine in journal.read_text()
    journal.write_text(journal.read_text().replace(mine, '"host": "login1"'))
    return model


def state(exp_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["status", str(exp_dir), "--json"]) == 0
    return str(json.loads(capsys.readouterr().out)["runs"][0]["state"])


def test_what_cannot_be_seen_from_here_is_not_lost(far, exp_dir, capsys):
    capsys.readouterr()
    assert main(["status", str(exp_dir)]) == 0
    said = capsys.readouterr().out
    assert f"far may have ended: it is a process of login1, and this is {this_host()}" in said
    assert state(exp_dir, capsys) == "Running"
    record = {"index": 0, "job": "", "code": 3, "signal": None, "elapsed": 1, "reason": "x"}
    record["job"] = json.loads((exp_dir / "far/job.json").read_text())["job"]
    (exp_dir / "far/exit/0").write_text(json.dumps(record))
    assert state(exp_dir, capsys) == "Failed"


def test_what_cannot_be_seen_from_here_is_not_said_to_be_stopped(far, exp_dir, capsys):
    near = Experiment.attach(exp_dir)
    beside = bash_model(near, "beside", "exec sleep 600")
    near.start(beside, block=False)
    assert main(["stop", str(exp_dir)]) == 4
    said = capsys.readouterr().err
    assert "error: far is the job" in said
    assert f"of login1, and this is {this_host()}\nhint: stop it on login1\n" in said
    assert processes(directory(near, beside)) == {}
    assert state(exp_dir, capsys) == "Running"


def test_it_can_be_started_again_with_a_warning(far, exp_dir, capsys):
    again = Experiment("again", exp_dir, launcher="local")
    again.start(bash_model(again, "far", "true"))
    said = capsys.readouterr().out
    assert "WARNING far left no record of its end on login1: it may run there\n" in said
    assert "far is Completed" in said
