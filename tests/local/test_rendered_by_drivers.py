"""Scripts that a driver writes for somebody to submit by hand."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from hpcorch import TaskState
from hpcorch.errors import InputError
from tests.helpers import bash_model, directory, free_port, processes

pytestmark = pytest.mark.redis


def test_what_a_driver_has_rendered_runs_by_hand(exp, new_experiment, exp_dir, tmp_path):
    (tmp_path / "in.txt").write_text("dt = ;dt;\n")
    database = exp.create_database(port=free_port(), db_identifier="db")
    settings = exp.create_run_settings("bash", ["-c", 'cat in.txt; echo "at $SSDB_db"'])
    model = exp.create_model("m", settings, params={"dt": 0.5})
    model.attach_generator_files(to_configure=str(tmp_path / "in.txt"))
    many = exp.create_ensemble("many", run_settings=exp.create_run_settings("true"), replicas=2)
    jobs = tmp_path / "two words"
    commands = exp.render(database, model, many, directory=jobs)
    scripts = [jobs / f"{name}.sh" for name in ("db", "m", "many")]
    assert [shlex.split(command) for command in commands] == [["bash", str(it)] for it in scripts]
    assert processes(exp_dir) == {}
    server = subprocess.Popen(shlex.split(commands[0]), stdout=subprocess.DEVNULL)
    other = new_experiment(exp_dir)
    try:
        for command in commands[1:]:
            words = shlex.split(command)
            subprocess.run(words, timeout=60, check=True, stdout=subprocess.DEVNULL)
        found = other.reconnect_orchestrator(str(database.path))
        printed = (directory(exp, model) / "logs/m.0.out").read_text()
        assert printed.endswith(f"dt = 0.5\nat {found.get_address()[0]}\n")
        other.stop(found)
        assert other.get_status(found) == [TaskState.CANCELLED]
    finally:
        if server.poll() is None:
            server.terminate()
        assert server.wait(30) == 0


def test_files_that_were_generated_stay_as_they_are(exp, tmp_path):
    (tmp_path / "in.txt").write_text("dt = @dt@\n")
    model = exp.create_model("m", exp.create_run_settings("true"), params={"dt": 0.5})
    model.attach_generator_files(to_configure=str(tmp_path / "in.txt"))
    exp.generate(model, tag="@")
    exp.render(model, directory=tmp_path / "jobs")
    assert (directory(exp, model) / "in.txt").read_text() == "dt = 0.5\n"


def test_nothing_is_written_when_one_of_them_cannot_be(exp, exp_dir, tmp_path):
    good = bash_model(exp, "good", "true")
    bad = exp.create_model("bad", exp.create_run_settings("no-such-program"))
    with pytest.raises(InputError, match="exe of bad is 'no-such-program'"):
        exp.render(good, bad, directory=tmp_path / "jobs")
    assert not (tmp_path / "jobs").exists()
    assert not Path(exp_dir).exists()
