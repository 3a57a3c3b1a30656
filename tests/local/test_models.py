"""Programs on this machine: ends of every kind, waiting, stopping, what reaches them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpcorch import TaskState
from hpcorch.errors import InputError
from tests.helpers import (
    bash_model,
    directory,
    free_port,
    output,
    processes,
    python_model,
    row,
    until,
)

pytestmark = pytest.mark.redis

LIVE_UNTIL_ASKED = 'touch "$1"; exec sleep 600'


def test_a_program_that_ends_well_is_completed(exp):
    model = bash_model(exp, "good", 'echo "to out"; echo "to err" >&2')
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]
    assert row(exp, "good")["Returncode"] == "0"
    assert output(exp, model) == "to out\n"
    assert "to err\n" in output(exp, model, "err")


def test_a_program_s_exit_code_is_kept_and_said(exp, capsys):
    model = bash_model(exp, "bad", "exit 3")
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert row(exp, "bad")["Returncode"] == "3"
    said = capsys.readouterr().out
    assert "bad is Failed, exit code 3: the program ended with exit code 3" in said


def test_a_program_that_kills_itself_has_failed(exp):
    model = bash_model(exp, "killed", "kill -KILL $$")
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert row(exp, "killed")["Returncode"] == "137"


def test_a_missing_program_is_refused_before_anything_starts(exp):
    database = exp.create_database(port=free_port())
    model = exp.create_model("m", exp.create_run_settings("/no/such/program"))
    with pytest.raises(InputError, match=r"exe of m is '/no/such/program': there is no such"):
        exp.start(database, model)
    assert not Path(exp.exp_path).exists()
    assert exp.get_status(database, model) == [TaskState.NEW, TaskState.NEW]


def test_a_running_program_can_be_stopped_and_started_again(exp, tmp_path):
    mark = tmp_path / "mark"
    model = bash_model(exp, "long", LIVE_UNTIL_ASKED, str(mark))
    exp.start(model, block=False)
    until(mark.exists, "the start of the program")
    assert exp.get_status(model) == [TaskState.RUNNING]
    assert not exp.finished(model)
    with pytest.raises(InputError, match="long is Running already"):
        exp.start(model, block=False)
    with pytest.raises(InputError, match="long is Running already"):
        exp.generate(model, overwrite=True)
    exp.stop(model)
    exp.stop(model)
    assert exp.get_status(model) == [TaskState.CANCELLED]
    assert exp.finished(model)
    mark.unlink()
    exp.start(model, block=False)
    until(mark.exists, "the second start of the program")
    assert [row(exp, "long", run_id)["Status"] for run_id in (0, 1)] == ["Cancelled", "Running"]
    exp.stop(model)
    assert exp.get_status(model) == [TaskState.CANCELLED]


def test_a_program_that_ignores_being_asked_is_killed(exp, tmp_path, mocker):
    mocker.patch("hpcorch.stop.stop.__defaults__", (0.3,))
    mark = tmp_path / "mark"
    code = 'trap "" TERM; touch "$1"; while :; do read -rt 9 <> <(:); done'
    model = bash_model(exp, "deaf", code, str(mark))
    exp.start(model, block=False)
    until(mark.exists, "the start of the program")
    exp.stop(model)
    assert exp.get_status(model)[0] in (TaskState.CANCELLED, TaskState.LOST)
    assert processes(directory(exp, model)) == {}


def test_poll_waits_for_programs_and_not_for_databases(exp, capsys):
    database = exp.create_database(port=free_port())
    model = bash_model(exp, "short", "sleep 0.3")
    with pytest.raises(InputError, match="short was never started"):
        exp.finished(model)
    exp.start(database, model, block=False)
    exp.poll()
    assert exp.finished(model)
    assert not exp.finished(database)
    assert exp.get_status(database, model) == [TaskState.RUNNING, TaskState.COMPLETED]
    assert "short is Completed, exit code 0" in capsys.readouterr().out


def test_a_program_that_was_queued_with_its_database_waits_for_it(exp):
    database = exp.create_database(port=free_port(2), db_nodes=2, db_identifier="a-b")
    code = """
import os
from hpcorch import Client, ConfigOptions
with Client(ConfigOptions.create_from_environment("a-b")) as client:
    print(client.key_exists("nothing"))
print(os.environ["SSDB_a-b"], os.environ["SSDB_a_b"], os.environ["SR_DB_TYPE_a-b"])
"""
    model = python_model(exp, "reader", code)
    exp.start(database, model, wait=False)
    exp.poll()
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    lines = output(exp, model).splitlines()
    found, alias, kind = lines[-1].split()
    assert "False" in lines
    assert found == alias
    assert len(found.split(",")) == 2
    assert kind == "Clustered"


def test_a_program_whose_database_dies_early_fails_with_the_reason(exp, tmp_path, monkeypatch):
    conf = tmp_path / "bad.conf"
    conf.write_text("no-such-directive yes\n")
    monkeypatch.setenv("REDIS_CONF", str(conf))
    database = exp.create_database(port=free_port())
    model = bash_model(exp, "reader", "echo never")
    exp.start(database, model, wait=False)
    exp.poll()
    assert exp.get_status(database, model) == [TaskState.FAILED, TaskState.FAILED]
    reason = exp._ledger.snapshots()[1].reason
    assert "the database in" in reason
    assert "has ended" in reason
    assert "no-such-directive" in reason
    assert "never" not in output(exp, model).splitlines()


def test_background_processes_of_a_program_end_with_it(exp, tmp_path):
    mark = tmp_path / "mark"
    code = 'nohup bash -c \'touch "$1"; sleep 600\' _ "$1" & until [[ -e $1 ]]; do :; done'
    model = bash_model(exp, "littering", code, str(mark))
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]
    until(lambda: not processes(mark), "the end of the background process")


def test_arguments_and_variables_reach_a_started_program_as_they_are(exp):
    ugly = ["", " ", "a b", "'", '"', "$(id)", "`id`", "\\", "new\nline", "*", "-n", "ü目"]
    code = "import sys, os; print(sys.argv[1:]); print(repr(os.environ['UGLY']))"
    settings = exp.create_run_settings(
        sys.executable, ["-c", code, *ugly], env_vars={"UGLY": "\n".join(ugly)}
    )
    model = exp.create_model("echo", settings)
    exp.start(model)
    assert output(exp, model).splitlines()[-2:] == [repr(ugly), repr("\n".join(ugly))]


def test_a_preview_is_what_start_sends(exp):
    model = bash_model(exp, "m", "true")
    text = exp.preview(model)
    assert not Path(exp.exp_path).exists()
    exp.start(model)
    assert (directory(exp, model) / "job.sh").read_text() == text


def test_another_driver_cannot_start_what_runs_already(new_experiment, exp_dir, tmp_path):
    first, second = new_experiment(exp_dir), new_experiment(exp_dir)
    mark = tmp_path / "mark"
    model = bash_model(first, "m", LIVE_UNTIL_ASKED, str(mark))
    first.start(model, block=False)
    until(mark.exists, "the start of the program")
    with pytest.raises(InputError, match="m is Running already"):
        second.start(bash_model(second, "m", "true"))
    assert first.get_status(model) == [TaskState.RUNNING]
    jobs = [words for words in processes(directory(first, model)).values() if "--token" in words]
    assert len(jobs) == 1
