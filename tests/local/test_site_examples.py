"""The workstation's example profile, and modules that a profile loads, in real runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hpcorch import Experiment
from hpcorch.paths import site_dir
from hpcorch.schedulers.base import TaskState
from tests.helpers import bash_model, tool


@pytest.mark.redis
def test_the_workstation_s_profile_runs_a_database_and_a_program(tmp_path):
    profile = Path(shutil.copy(site_dir() / "workstation.toml", tmp_path / "site.toml"))
    profile.chmod(0o644)
    done = subprocess.run(
        [tool("hpcorch"), "site", "check", "--submit"],
        cwd=tmp_path,
        env={**os.environ, "HPCORCH_SITE": str(profile)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok    scheduler                      local: {profile} says so" in done.stdout
    assert "ok    program with a database" in done.stdout


def test_a_site_s_modules_are_loaded_before_the_user_s_own_lines(tmp_path, monkeypatch):
    (tmp_path / "tool").write_text("#%Module\nsetenv SITE_TOOL here\n")
    monkeypatch.setenv("MODULEPATH", str(tmp_path))
    monkeypatch.setenv("HPCORCH_LOAD_MODULES", "tool")
    exp = Experiment("lab", exp_path=tmp_path / "lab", launcher="local")
    model = bash_model(exp, "m", 'echo "$SITE_TOOL $COPY" >seen')
    model.run_settings.set_mpmd_preamble(['export COPY="$SITE_TOOL"'])
    exp.start(model)
    assert Path(exp.exp_path, "m", "seen").read_text() == "here here\n"


def test_a_module_that_is_not_there_fails_the_task_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HPCORCH_LOAD_MODULES", "nothere")
    exp = Experiment("lab", exp_path=tmp_path / "lab", launcher="local")
    model = bash_model(exp, "m", "touch began")
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert "module nothere cannot be loaded on" in capsys.readouterr().out
    assert not Path(exp.exp_path, "m", "began").exists()
