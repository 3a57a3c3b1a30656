"""Programs and servers in directories whose names mean something to the tools that start them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hpcorch import Experiment, TaskState
from tests.helpers import free_port, output

pytestmark = pytest.mark.redis

PROGRAM = '#!/bin/bash\necho "ran with $# arguments: $*"\nexit 3\n'


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A directory as parameter sweeps have them: env(1) takes such a path for a variable."""
    path = tmp_path / "lr=0.1 it's"
    path.mkdir()
    (path / "program").write_text(PROGRAM)
    (path / "program").chmod(0o755)
    return path


@pytest.mark.parametrize("args", [[], ["--steps", "3"]])
@pytest.mark.parametrize("colocated", [False, True])
def test_a_program_below_a_directory_with_an_equals_sign_runs(
    exp, sweep, monkeypatch, args, colocated
):
    monkeypatch.chdir(sweep)
    model = exp.create_model("m", exp.create_run_settings("./program", args))
    if colocated:
        model.colocate_db_uds()
    exp.start(model)
    assert output(exp, model) == f"ran with {len(args)} arguments: {' '.join(args)}\n"
    assert exp.get_status(model) == [TaskState.FAILED]


def test_a_server_below_such_a_directory_starts(exp, sweep, monkeypatch, debian_server):
    server = sweep / "redis-server"
    shutil.copy(debian_server, server)
    monkeypatch.setenv("REDIS_PATH", str(server))
    database = exp.create_database(port=free_port())
    exp.start(database)
    assert database.is_active()


def test_a_database_below_a_directory_with_a_line_break_starts(sweep, monkeypatch):
    where = sweep / "two\nlines"
    where.mkdir()
    monkeypatch.chdir(where)
    exp = Experiment("e", launcher="local")
    database = exp.create_database(port=free_port(), checkpoint=True)
    exp.start(database)
    try:
        assert database.is_active()
    finally:
        exp.stop(database)
