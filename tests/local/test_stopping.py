"""Stopping goes on to the end, whatever one of several runs, or what it has left, is like."""

from __future__ import annotations

import os

import pytest

from hpcorch import TaskState
from hpcorch.cli.main import main
from hpcorch.journal import Journal, Part, Run
from hpcorch.schedulers.base import JobId
from tests.helpers import bash_model, directory, free_port, processes

pytestmark = pytest.mark.redis


@pytest.mark.parametrize(
    ("name", "content", "warning"),
    [
        ("admin-credentials", b"user=hpcorch\npassw", "line 2 of the credentials file"),
        ("admin-credentials", b"\xff\xfe", "is not UTF-8 text"),
        ("address.json", b'{"version":1,"job":', ""),
    ],
)
def test_a_database_whose_files_are_damaged_is_stopped(exp, capsys, name, content, warning):
    database = exp.create_database(port=free_port())
    exp.start(database)
    (directory(exp, database) / name).write_bytes(content)
    exp.stop(database)
    assert exp.get_status(database) == [TaskState.CANCELLED]
    assert warning in capsys.readouterr().out
    assert processes(directory(exp, database)) == {}


def test_an_address_of_a_newer_form_is_none(exp):
    database = exp.create_database(port=free_port())
    exp.start(database)
    job = exp._ledger.runs()[0].mark
    (directory(exp, database) / "address.json").write_text(f'{{"version":2,"job":"{job}"}}')
    assert not database.is_active()
    exp.stop(database)
    assert exp.get_status(database) == [TaskState.CANCELLED]


def test_a_silent_scheduler_keeps_nobody_from_stopping_what_another_one_runs(
    exp, exp_dir, tmp_path, monkeypatch, capsys
):
    for name in ("squeue", "scancel"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{name}: error: Unable to contact' >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    part = Part("0a", 1, JobId("77"))
    other = Run("far", "model", str(exp_dir / "far"), 1, 0, "0a", "slurm", 0.0, parts=(part,))
    Journal(exp_dir).intend(other)
    Journal(exp_dir).submitted(part)
    model = bash_model(exp, "near", "exec sleep 600")
    exp.start(model, block=False)
    assert main(["stop", str(exp_dir)]) == 4
    assert "these jobs could not be cancelled: 77" in capsys.readouterr().err
    assert processes(directory(exp, model)) == {}
    assert exp.get_status(model) == [TaskState.CANCELLED]
