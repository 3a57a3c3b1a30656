"""Ensembles on this machine: real programs, their directories, reruns, partial stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch import Experiment, TaskState
from hpcorch.errors import InputError, InputTypeError, RunNotFound
from hpcorch.journal import Journal
from tests.helpers import (
    bash_model,
    free_port,
    is_alive,
    kill,
    output,
    processes,
    row,
    run_driver,
    tool,
    until,
)

# Fails for odd numbers until the file `mended` is there.
MOODY = 'echo "run $HPCORCH_INDEX"; [[ -e $1 || $((HPCORCH_INDEX % 2)) == 0 ]] || exit 5'
ALL_FINE = [TaskState.COMPLETED] * 5


def moody(exp, tmp_path, **facts):
    settings = exp.create_run_settings("bash", ["-c", MOODY, "_", str(tmp_path / "mended")])
    return exp.create_ensemble("ens", run_settings=settings, replicas=5, **facts)


def sleepers(exp, count=3, **facts):
    settings = exp.create_run_settings("sleep", ["300"])
    return exp.create_ensemble("ens", run_settings=settings, replicas=count, **facts)


def log(exp, number, ending="out"):
    return Path(exp.exp_path, "ens", f"ens_{number}", f"ens_{number}.{ending}").read_text()


def begun(exp, *numbers):
    marks = [Path(exp.exp_path, "ens", "shards", f"{number}.started") for number in numbers]
    until(lambda: all(mark.exists() for mark in marks), f"the start of members {numbers}")


def test_members_run_where_they_belong_with_their_own_arguments(exp):
    code = 'printf "%s\\n" "$PWD" "$HPCORCH_INDEX" "$SSKEYOUT" "$@"'
    settings = exp.create_run_settings("bash", ["-c", code, "_"], env_vars={"V": "a b"})
    ensemble = exp.create_ensemble(
        "ens", {"name": ["x y", "$z"]}, run_settings=settings, params_as_args=["name"]
    )
    given = bash_model(exp, "given", code)
    ensemble.add_model(given)
    exp.start(ensemble)
    where = Path(exp.exp_path, "ens")
    assert log(exp, 0).splitlines() == [str(where / "ens_0"), "0", "ens_0", "--name=x y"]
    assert log(exp, 1).splitlines() == [str(where / "ens_1"), "1", "ens_1", "--name=$z"]
    given_out = (where / "given" / "given.out").read_text()
    assert given_out.splitlines() == [str(where / "given"), "2", ""]
    assert exp.get_status(ensemble) == [TaskState.COMPLETED] * 3
    assert exp.finished(ensemble)


def test_only_failed_members_run_again_and_the_others_keep_what_they_have_left(exp, tmp_path):
    ensemble = moody(exp, tmp_path)
    with pytest.raises(InputError, match="ens never ran here"):
        exp.start(ensemble, only="failed")
    exp.start(ensemble)
    odd = [TaskState.FAILED if number % 2 else TaskState.COMPLETED for number in range(5)]
    assert exp.get_status(ensemble) == odd
    assert exp.get_status(ensemble[3]) == [TaskState.FAILED]
    assert row(exp, "ens")["Status"] == "Failed"
    assert (row(exp, "ens_3")["Entity-Type"], row(exp, "ens_3")["Returncode"]) == ("Member", "5")
    before = Path(exp.exp_path, "ens", "exit", "2").read_text()
    (tmp_path / "mended").touch()
    exp.start(ensemble, only="failed")
    assert exp.get_status(ensemble) == ALL_FINE
    assert Path(exp.exp_path, "ens", "exit", "2").read_text() == before
    assert [log(exp, number) for number in range(5)] == [f"run {number}\n" for number in range(5)]
    assert row(exp, "ens", 1)["Status"] == "Completed"
    last = Journal(Path(exp.exp_path)).runs()[-1]
    assert (last.indices, last.again) == ((1, 3), True)
    exp.start(ensemble, only="failed")
    assert len(Journal(Path(exp.exp_path)).runs()) == 2


def test_another_driver_runs_the_failed_members_again(new_experiment, exp_dir, tmp_path):
    first = new_experiment(exp_dir)
    first.start(moody(first, tmp_path))
    (tmp_path / "mended").touch()
    second = new_experiment(exp_dir)
    ensemble = moody(second, tmp_path)
    second.start(ensemble, only="failed")
    shots = Experiment.attach(exp_dir)
    assert shots.get_status(moody(shots, tmp_path)) == ALL_FINE


def test_who_started_members_and_leaves_late_does_not_read_the_next_run_s_table(exp, tmp_path):
    code = "until [[ -e $1/go ]]; do sleep 0.05; done; [[ -e $1/mended || $HPCORCH_INDEX != 0 ]]"
    settings = exp.create_run_settings("bash", ["-c", code, "_", str(tmp_path)])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=3, max_running=3)
    exp.start(ensemble, block=False)
    begun(exp, 0, 1, 2)
    supervisor = int(exp._ledger.runs()[0].job.job)
    kill(supervisor, signal.SIGSTOP)
    (tmp_path / "go").touch()
    ends = Path(exp.exp_path, "ens", "exit")
    until(lambda: all((ends / str(n)).exists() for n in range(3)), "the end of the members")
    (tmp_path / "mended").touch()
    exp.start(ensemble, only="failed")
    kill(supervisor, signal.SIGCONT)
    until(lambda: not is_alive(supervisor), "the end of who started them")
    assert exp.get_status(ensemble) == [TaskState.COMPLETED] * 3
    assert "error" not in Path(exp.exp_path, "ens", "logs", "job.log").read_text()


def test_only_is_for_ensembles_and_knows_two_words(exp, tmp_path):
    model = bash_model(exp, "m", "true")
    with pytest.raises(InputError, match="only is 'failed': m is no ensemble"):
        exp.start(model, only="failed")
    with pytest.raises(InputError, match="only is 'all': it must be"):
        exp.start(moody(exp, tmp_path), only="all")


def test_one_member_is_stopped_while_the_others_go_on_and_unfinished_ones_run_again(exp):
    ensemble = sleepers(exp, max_running=3)
    exp.start(ensemble, block=False)
    begun(exp, 0, 1, 2)
    exp.stop(ensemble[1])
    running, ended = TaskState.RUNNING, TaskState.CANCELLED
    assert exp.get_status(ensemble) == [running, ended, running]
    assert row(exp, "ens")["Status"] == "Running"
    exp.stop(ensemble[1])
    exp.stop(ensemble)
    assert exp.get_status(ensemble) == [ended] * 3
    exp.start(ensemble, only="failed")
    exp.start(ensemble, only="unfinished", block=False)
    begun(exp, 0, 1, 2)
    assert exp.get_status(ensemble) == [running] * 3


def test_no_more_members_run_at_once_than_allowed(exp, tmp_path):
    code = 'ls "$1" | wc -l; touch "$1/$HPCORCH_INDEX"; sleep 0.1; rm "$1/$HPCORCH_INDEX"'
    (tmp_path / "alive").mkdir()
    settings = exp.create_run_settings("bash", ["-c", code, "_", str(tmp_path / "alive")])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=7, max_running=2)
    exp.start(ensemble)
    assert exp.get_status(ensemble) == [TaskState.COMPLETED] * 7
    assert {int(log(exp, number)) for number in range(7)} <= {0, 1}


def test_a_member_that_waits_for_room_is_stopped_too(exp, tmp_path):
    code = "until [[ -e $1 ]]; do sleep 0.05; done"
    settings = exp.create_run_settings("bash", ["-c", code, "_", str(tmp_path / "go")])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=4, max_running=1)
    exp.start(ensemble, block=False)
    begun(exp, 0)
    exp.stop(ensemble[2])
    assert exp.get_status(ensemble[2]) == [TaskState.CANCELLED]
    (tmp_path / "go").touch()
    exp.poll(verbose=False)
    words = [str(state) for state in exp.get_status(ensemble)]
    assert words == ["Completed", "Completed", "Cancelled", "Completed"]
    assert not Path(exp.exp_path, "ens", "shards", "2.started").exists()


def test_a_throttled_ensemble_that_is_stopped_starts_no_further_member(exp):
    ensemble = sleepers(exp, 6, max_running=2)
    exp.start(ensemble, block=False)
    begun(exp, 0, 1)
    exp.stop()
    assert exp.get_status(ensemble) == [TaskState.CANCELLED] * 6
    reason = json.loads(Path(exp.exp_path, "ens", "exit", "5").read_text())["reason"]
    assert reason == "it was stopped before it started"


def test_a_member_belongs_to_its_ensemble(exp):
    ensemble = sleepers(exp)
    with pytest.raises(InputError, match="ens_0 is a member of ens: it starts with all others"):
        exp.start(ensemble[0])
    with pytest.raises(InputError, match="an ensemble of this experiment has that name"):
        bash_model(exp, "ens", "true")
    with pytest.raises(InputTypeError, match="a database, a model or an ensemble is expected"):
        exp.start([ensemble])
    assert exp.get_status(ensemble, ensemble[2]) == [TaskState.NEW] * 4


def test_members_wait_for_their_database_and_write_under_their_names(exp):
    code = """
import os, sys
import numpy as np
from hpcorch import Client, ConfigOptions
name = os.environ.pop("SSKEYOUT")
client = Client(ConfigOptions.create_from_environment(""))
client.put_tensor(f"{name}.x", np.array([int(sys.argv[2])]))
"""
    settings = exp.create_run_settings(sys.executable, ["-c", code])
    database = exp.create_database(port=free_port())
    ensemble = exp.create_ensemble(
        "ens", {"n": [4, 5]}, run_settings=settings, params_as_args=["n"], max_running=2
    )
    exp.start(ensemble, database, wait=False)
    exp.poll(verbose=False)
    assert exp.get_status(ensemble) == [TaskState.COMPLETED] * 2
    assert exp.reconnect_orchestrator(Path(exp.exp_path, "orchestrator")) is database
    with database.client() as client:
        assert [client.get_tensor(f"ens_{n}.x").tolist() for n in range(2)] == [[4], [5]]


def test_a_preview_shows_scripts_and_members(exp):
    settings = exp.create_run_settings("true")
    text = exp.preview(exp.create_ensemble("ens", run_settings=settings, replicas=30))
    assert text.startswith("#!/bin/bash")
    assert "\n19\tens_19\t" in text
    assert "\n20\tens_20" not in text
    assert text.endswith("# and 10 more\n")


def test_generate_makes_the_directories_of_members(exp):
    ensemble = sleepers(exp)
    exp.generate(ensemble)
    assert all(Path(exp.exp_path, "ens", f"ens_{number}").is_dir() for number in range(3))


def test_the_command_line_knows_members(exp, tmp_path):
    exp.start(moody(exp, tmp_path))

    def cli(*words):
        done = subprocess.run(
            [tool("hpcorch"), *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    assert "| ens_3 " in cli("status", exp.exp_path)
    assert cli("logs", exp.exp_path, "ens_2").endswith("run 2\n")
    shown = json.loads(cli("status", exp.exp_path, "--json"))["runs"][0]
    assert [task["name"] for task in shown["tasks"]] == [f"ens_{number}" for number in range(5)]


def test_sigterm_ends_what_a_blocking_start_began(exp_dir, tmp_path):
    code = """
import sys
from hpcorch import Experiment
exp = Experiment("lab", exp_path=sys.argv[1])
settings = exp.create_run_settings("sleep", ["300"])
exp.start(exp.create_ensemble("ens", run_settings=settings, replicas=2, max_running=2))
"""
    driver = run_driver(code, str(exp_dir), cwd=tmp_path)
    marks = exp_dir / "ens" / "shards"
    until(lambda: len(list(marks.glob("*.started"))) == 2, "the start of the members")
    driver.terminate()
    said = driver.communicate(timeout=60)[0]
    assert driver.returncode == 128 + signal.SIGTERM
    assert "interrupted: stopping what was started" in said
    assert not [pid for pid, words in processes(exp_dir).items() if "sleep" in words]


def test_a_database_of_another_experiment_is_taken_over_used_and_stopped(new_experiment, tmp_path):
    owner = new_experiment(tmp_path / "first", "first")
    database = owner.create_database(port=free_port(), db_identifier="shared")
    owner.start(database)
    heir = new_experiment(tmp_path / "second", "second")
    taken = heir.reconnect_orchestrator(tmp_path / "first" / "shared" / "address.json")
    assert taken.get_address() == database.get_address()
    model = bash_model(heir, "m", 'echo "$SSDB_shared"')
    heir.start(model)
    assert output(heir, model).strip() == database.get_address()[0]
    assert row(heir, "shared")["Status"] == "Running"
    heir.stop()
    assert not database.is_active()
    assert owner.get_status(database) == heir.get_status(taken) == [TaskState.CANCELLED]
    with pytest.raises(RunNotFound):
        heir.reconnect_orchestrator(tmp_path / "second" / "m")


def test_an_ensemble_rendered_by_the_command_line_runs_by_hand(tmp_path):
    words = ["render", "ensemble", "heat", "--param", "n=a b,c", "--replicas", "2", "-o", "heat.sh"]
    words += ["--max-running", "4", "--scheduler", "local", "--", "echo", "-n", "$x"]
    said = subprocess.run(
        [tool("hpcorch"), *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "heat.sh is written; to run it: bash heat.sh" in said.stderr
    subprocess.run(["bash", "heat.sh"], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    found = [(tmp_path / "heat" / f"heat_{n}" / f"heat_{n}.out").read_text() for n in range(4)]
    assert found == ["$x -n a b", "$x -n a b", "$x -n c", "$x -n c"]
    status = subprocess.run(
        [tool("hpcorch"), "status", "heat"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Completed" in status.stdout


def test_a_printed_ensemble_shows_its_members(tmp_path):
    words = ["render", "ensemble", "heat", "--replicas", "2", "--scheduler", "slurm", "--", "true"]
    done = subprocess.run(
        [tool("hpcorch"), *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "#SBATCH --array=0-1" in done.stdout
    assert done.stdout.count("\theat_1\t") == 1
    assert list(tmp_path.iterdir()) == []


def test_who_runs_failed_members_again_knows_how_the_others_ended(
    exp, exp_dir, new_experiment, tmp_path
):
    ensemble = moody(exp, tmp_path)
    exp.start(ensemble)
    exp.start(ensemble)
    later = new_experiment(exp_dir)
    ensemble = moody(later, tmp_path)
    (tmp_path / "mended").touch()
    later.start(ensemble, only="failed")
    assert later.get_status(ensemble) == ALL_FINE
    again = new_experiment(exp_dir)
    ensemble = moody(again, tmp_path)
    again.start(ensemble, only="failed")
    assert again.get_status(ensemble) == ALL_FINE
    assert again.summary().count("ens") == 1
    larger = new_experiment(exp_dir)
    settings = larger.create_run_settings("true")
    with pytest.raises(InputError, match="only is 'failed': ens has 6 members and ran with 5"):
        larger.start(
            larger.create_ensemble("ens", run_settings=settings, replicas=6), only="failed"
        )


def test_a_model_that_was_added_to_an_ensemble_is_found_where_it_ran_last(exp):
    model = bash_model(exp, "given", "[[ $SSKEYOUT ]] || exec sleep 300")
    ensemble = exp.create_ensemble("ens", batch_settings=exp.create_batch_settings())
    ensemble.add_model(model)
    with pytest.raises(InputError, match="ens2 was never started"):
        exp.finished(exp.create_ensemble("ens2", batch_settings=exp.create_batch_settings()))
    exp.start(ensemble, block=False)
    assert not exp.finished(model)
    exp.stop(model)
    assert exp.get_status(model, ensemble) == [TaskState.CANCELLED] * 2
    model.enable_key_prefixing()
    exp.start(model)
    assert exp.get_status(model, ensemble) == [TaskState.COMPLETED, TaskState.CANCELLED]


def test_nothing_is_started_twice_by_one_call(exp):
    model = bash_model(exp, "given", "exit 0")
    ensemble = exp.create_ensemble("ens", batch_settings=exp.create_batch_settings())
    for call in (exp.start, exp.generate, exp.preview):
        with pytest.raises(InputError, match="given is given twice"):
            call(model, model)
    ensemble.add_model(model)
    with pytest.raises(InputError, match="given is a member of ens: it starts with all others"):
        exp.start(model, ensemble)
    assert not Path(exp.exp_path).exists()
