"""The driver may go: others see and stop what it started, and Ctrl-C stops it all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from hpcorch import Experiment, TaskState
from hpcorch.errors import RunNotFound
from tests.helpers import (
    bash_model,
    command_line,
    directory,
    free_port,
    is_alive,
    kill,
    kill_together,
    processes,
    python_model,
    row,
    run_driver,
    until,
)

pytestmark = pytest.mark.redis

# Starts a database and a long program, says so, and waits for the program.
DRIVER = """
import sys
from hpcorch import Experiment
exp = Experiment("lab", exp_path=sys.argv[1])
database = exp.create_database(port=int(sys.argv[2]))
code = 'touch "$1"; exec sleep 600'
model = exp.create_model(
    "long", exp.create_run_settings("/bin/bash", ["-c", code, "_", sys.argv[3]])
)
exp.start(database, model)
"""
OBSERVER = """
import json, sys
from hpcorch import Experiment
exp = Experiment.attach(sys.argv[1])
shots = {shot.run.entity: str(shot.state) for shot in exp._ledger.snapshots()}
if len(sys.argv) > 2:
    exp.stop()
print(json.dumps([shots, {shot.run.entity: str(shot.state) for shot in exp._ledger.snapshots()}]))
"""


def observe(where, *more, cwd):
    done = subprocess.run(
        [sys.executable, "-c", OBSERVER, str(where), *more],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def driver(exp_dir, tmp_path):
    """A driver whose database and program run."""
    mark = tmp_path / "mark"
    process = run_driver(DRIVER, str(exp_dir), str(free_port()), str(mark), cwd=tmp_path)
    until(lambda: mark.exists() or process.poll() is not None, "the start of the program")
    assert process.poll() is None, process.communicate()[0]
    yield process
    process.kill()
    process.communicate()


def test_what_a_killed_driver_started_runs_on_and_others_stop_it(driver, exp_dir, tmp_path):
    driver.kill()
    driver.wait()
    running = {"orchestrator": "Running", "long": "Running"}
    assert observe(exp_dir, cwd=tmp_path) == [running, running]
    ended = {"orchestrator": "Cancelled", "long": "Cancelled"}
    assert observe(exp_dir, "stop", cwd=tmp_path) == [running, ended]
    assert observe(exp_dir, "stop", cwd=tmp_path) == [ended, ended]
    until(lambda: not processes(exp_dir), "the end of all processes")


def test_a_stop_from_elsewhere_is_seen_by_the_waiting_driver(driver, exp_dir, tmp_path):
    observe(exp_dir, "stop", cwd=tmp_path)
    said = driver.communicate(timeout=60)[0]
    assert driver.returncode == 0, said
    assert "long is Cancelled" in said


def test_ctrl_c_stops_what_the_driver_started(driver, exp_dir):
    driver.send_signal(signal.SIGINT)
    said = driver.communicate(timeout=60)[0]
    assert driver.returncode not in (0, None)
    assert "interrupted: stopping what was started" in said
    assert "KeyboardInterrupt" in said
    until(lambda: not processes(exp_dir), "the end of all processes")


def test_ctrl_c_while_a_database_starts_stops_it(exp_dir, tmp_path):
    """A cluster takes two seconds to form: time enough to interrupt it."""
    code = DRIVER.replace("port=int(sys.argv[2])", "port=int(sys.argv[2]), db_nodes=2")
    process = run_driver(code, str(exp_dir), str(free_port(2)), "x", cwd=tmp_path)
    try:
        shards = exp_dir / "orchestrator" / "shards"
        until(lambda: list(shards.glob("*.json")), "the first shard")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.communicate()
    assert "interrupted: stopping what was started" in said
    until(lambda: not processes(exp_dir), "the end of all processes")
    assert not (exp_dir / "orchestrator" / "address.env").exists()


def test_attach_finds_runs_and_knows_their_directories(exp, exp_dir):
    model = bash_model(exp, "m", "exit 4")
    exp.start(model)
    again = Experiment.attach(exp_dir)
    assert again.name == exp_dir.name
    assert "| 4 " in again.summary()
    assert again.summary() == exp.summary()


def test_how_earlier_runs_ended_is_known_to_who_comes_later(exp, exp_dir, new_experiment):
    good, bad = bash_model(exp, "good", "exit 0"), bash_model(exp, "bad", "exit 3")
    code = "exit $((HPCORCH_INDEX % 2))"
    settings = exp.create_run_settings("bash", ["-c", code])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=2)
    for _ in range(2):
        exp.start(good, bad, ensemble)
    # A process that does not look while another one runs the same again.
    exp.start(good, block=False)
    other = new_experiment(exp_dir)
    again = bash_model(other, "good", "exit 5")
    until((directory(exp, good) / "exit/0").exists, "the end of the program")
    other.start(again)
    assert exp.get_status(good) == [TaskState.COMPLETED]
    assert other.get_status(again) == [TaskState.FAILED]
    rows = [line.split("|")[2:9] for line in Experiment.attach(exp_dir).summary().splitlines()[2:]]
    states = [tuple(row[i].strip() for i in (0, 3, 5, 6)) for row in rows]
    assert sorted(states) == [
        *(("bad", run, "Failed", "3") for run in "01"),
        *(("ens", run, "Failed", "1") for run in "01"),
        *(("ens_1", run, "Failed", "1") for run in "01"),
        *(("good", run, "Completed", "0") for run in "012"),
        ("good", "3", "Failed", "5"),
    ]


def test_who_started_an_earlier_run_and_leaves_late_spoils_nothing(exp, exp_dir, tmp_path):
    go = tmp_path / "go"
    model = bash_model(exp, "m", "until [[ -e $1 ]]; do sleep 0.05; done", str(go))
    exp.start(model, block=False)
    until((directory(exp, model) / "shards/0.started").exists, "the start of the program")
    supervisor = int(exp._ledger.runs()[0].job.job)
    kill(supervisor, signal.SIGSTOP)
    go.touch()
    until((directory(exp, model) / "exit/0").exists, "the end of the program")
    exp.start(model)
    kill(supervisor, signal.SIGCONT)
    until(lambda: not is_alive(supervisor), "the end of who started it")
    attached = Experiment.attach(exp_dir)
    assert [row(attached, "m", run_id)["Status"] for run_id in (0, 1)] == ["Completed"] * 2


def test_an_experiment_that_was_moved_tells_what_it_told_before(exp, exp_dir, tmp_path):
    own = exp.create_run_settings("/bin/bash", ["-c", "exit 4"])
    elsewhere = exp.create_model("elsewhere", own, path=str(tmp_path / "own"))
    exp.start(bash_model(exp, "good", "echo here"), elsewhere)
    told = exp.summary()
    exp_dir.rename(tmp_path / "moved")
    assert Experiment.attach(tmp_path / "moved").summary() == told
    logs = [sys.executable, "-m", "hpcorch", "logs", str(tmp_path / "moved"), "good"]
    assert "here" in subprocess.run(logs, text=True, capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", ["with space", "ünïcode", "$(id)", "-dash"])
def test_attach_takes_any_directory_that_an_experiment_can_have(new_experiment, tmp_path, name):
    exp = new_experiment(tmp_path / name)
    exp.start(bash_model(exp, "m", "exit 0"))
    assert Experiment.attach(tmp_path / name).summary() == exp.summary()


def test_attach_refuses_a_directory_without_an_experiment(tmp_path):
    with pytest.raises(RunNotFound, match="holds no experiment"):
        Experiment.attach(tmp_path)
    with pytest.raises(RunNotFound, match="holds no experiment"):
        Experiment.attach(tmp_path / "missing")


def test_tasks_whose_supervisor_was_killed_are_seen_and_stopped(exp, tmp_path):
    database = exp.create_database(port=free_port(2), db_nodes=2)
    exp.start(database)
    supervisor = exp._ledger.runs()[0].job.job
    assert "--token" in command_line(int(supervisor))
    kill(int(supervisor))
    assert exp.get_status(database) == [TaskState.RUNNING]
    assert database.is_active()
    exp.stop()
    assert exp.get_status(database) == [TaskState.CANCELLED]
    until(lambda: not processes(directory(exp, database)), "the end of all processes")


def test_a_program_whose_task_was_killed_is_not_called_completed(exp, tmp_path):
    mark = tmp_path / "mark"
    code = "import sys, time; open(sys.argv[1], 'w'); time.sleep(600)"
    model = python_model(exp, "m", code, str(mark))
    exp.start(model, block=False)
    until(mark.exists, "the start of the program")
    for pid, words in processes(directory(exp, model)).items():
        if "--element" in words:
            kill(pid)
    exp.poll()
    assert exp.get_status(model) == [TaskState.FAILED]
    assert "died without a record" in exp._ledger.snapshots()[0].reason
    until(lambda: not processes(mark), "the end of the program that lost its task")


def test_everything_killed_at_once_is_lost_and_not_completed(exp, tmp_path):
    mark = tmp_path / "mark"
    model = bash_model(exp, "m", 'touch "$1"; exec sleep 600', str(mark))
    exp.start(model, block=False)
    until(mark.exists, "the start of the program")
    kill_together(processes(directory(exp, model)))
    exp.poll()
    assert exp.get_status(model) == [TaskState.LOST]
    assert "no exit record" in exp._ledger.snapshots()[0].reason
    exp.stop()


def test_a_program_that_somebody_else_ends_is_cancelled_and_not_waited_for(exp, tmp_path):
    mark = tmp_path / "mark"
    model = bash_model(exp, "m", 'touch "$1"; exec sleep 600', str(mark))
    exp.start(model, block=False)
    until(mark.exists, "the start of the program")
    kill(int(exp._ledger.runs()[0].job.job), signal.SIGTERM)
    until(lambda: exp.finished(model), "the end of the program")
    assert exp.get_status(model) == [TaskState.CANCELLED]
