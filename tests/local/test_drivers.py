"""What drivers written for SmartSim do with their entities, beyond starting them."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from hpcorch import Ensemble, Experiment, Model, RunSettings, TaskState
from hpcorch.errors import InputError
from tests.helpers import bash_model, free_port, output, run_driver, until

ECHO = RunSettings("echo", ["spam", "eggs"])


def test_entities_tell_where_they_run(exp, exp_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = exp.create_model("m", ECHO)
    given = exp.create_model("given", ECHO, path="./else")
    ensemble = exp.create_ensemble("ens", run_settings=ECHO, replicas=2)
    added = exp.create_model("added", ECHO)
    ensemble.add_model(added)
    own = Model("own", ECHO, path=str(tmp_path / "own"))
    ensemble.add_model(own)
    late = Ensemble("late", run_settings=ECHO, replicas=1)
    assert (late.path, late[0].path) == (None, None)
    exp.start(model, given, ensemble, late)
    assert model.path == str(exp_dir / "m")
    assert given.path == str(tmp_path / "else")
    assert ensemble.path == str(exp_dir / "ens")
    assert [item.path for item in ensemble] == [
        *(str(exp_dir / "ens" / name) for name in ("ens_0", "ens_1", "added")),
        str(tmp_path / "own"),
    ]
    assert late[0].path == str(exp_dir / "late/late_0")
    for item in (model, given, *ensemble, *late):
        assert Path(item.path, f"{item.name}.out").read_text() == "spam eggs\n"


def test_members_are_found_by_their_names(exp):
    ensemble = exp.create_ensemble("ens", run_settings=ECHO, replicas=12)
    ensemble.add_model(Model("given", ECHO))
    assert ensemble["ens_11"] is ensemble[11]
    assert ensemble["given"] is ensemble[np.int64(12)]
    reader = exp.create_model("reader", ECHO)
    reader.register_incoming_entity(ensemble["ens_3"])
    assert reader.incoming_names == ["ens_3"]
    with pytest.raises(InputError, match="'ens_12' is no member of ens: it has ens_0 to given"):
        ensemble["ens_12"]


def test_keys_that_are_looked_for_under_a_name_that_they_lack_are_told_of(exp, capsys):
    writer = exp.create_model("writer", ECHO)
    reader = exp.create_model("reader", ECHO)
    reader.register_incoming_entity(writer)
    told = "reader looks for keys that begin with writer, and those of writer do not: "
    exp.start(reader)
    assert told in capsys.readouterr().out
    writer.enable_key_prefixing()
    exp.start(reader)
    assert told not in capsys.readouterr().out


def test_arguments_are_replaced_and_the_program_runs_again(exp):
    model = bash_model(exp, "m", "mkdir -p models; echo x >>models/mine; cat models/mine")
    exp.start(model)
    model.run_settings.exe_args = ["-c", "cat models/mine; echo again"]
    model.run_settings.set("--unused", condition=False)
    exp.generate(model, overwrite=True)
    exp.start(model)
    # A directory of the program's own is not taken for one of ours.
    assert output(exp, model) == "x\nagain\n"


def test_what_is_attached_is_shown_and_said_when_it_is_put_in_place(exp, tmp_path, capsys):
    (tmp_path / "in.nml").write_text("n = ;n;\n")
    ensemble = exp.create_ensemble("ens", {"n": [1, 2]}, run_settings=ECHO)
    model = exp.create_model("m", ECHO)
    assert model.attached_files_table == "No file attached to this model."
    ensemble.attach_generator_files(to_configure=str(tmp_path / "in.nml"))
    ensemble.print_attached_files()
    shown = capsys.readouterr().out
    assert shown.count(str(tmp_path / "in.nml")) == 2
    assert "| ens_1 " in shown
    exp.generate(ensemble, verbose=True)
    place = Path(exp.exp_path, "ens/ens_1")
    assert f"ens_1: 0 copied, 0 linked, 1 configured in {place}" in capsys.readouterr().out
    with pytest.raises(InputError, match="holds an earlier run of ens"):
        exp.generate(ensemble)
    exp.generate(ensemble, overwrite=True)
    assert (place / "in.nml").read_text() == "n = 2\n"
    assert Ensemble("e", batch_settings=exp.create_batch_settings()).attached_files_table == (
        "The ensemble is empty, no files to show."
    )


def test_a_program_with_the_name_of_its_run_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solver").touch(mode=0o755)
    exp = Experiment("lab", exp_path=tmp_path, launcher="local")
    model = exp.create_model("solver", RunSettings("./solver"))
    for call in (exp.start, exp.preview, exp.generate):
        with pytest.raises(InputError, match=rf"directory of solver would be {tmp_path}/solver: a"):
            call(model)
    assert not (tmp_path / "solver").is_dir()
    assert not (tmp_path / ".hpcorch").exists()


def test_a_database_is_found_by_its_checkpoint_file(exp, new_experiment, tmp_path):
    database = exp.create_database(port=free_port(), batch=False, single_cmd=False)
    exp.start(database)
    assert database.path == str(Path(exp.exp_path, "orchestrator"))
    other = new_experiment(tmp_path / "other")
    for _ in range(2):
        assert other.reconnect_orchestrator(database.checkpoint_file).is_active()
    assert other.summary().count("orchestrator") == 1


def test_ctrl_c_while_polling_stops_the_programs(exp, mocker):
    model = bash_model(exp, "m", "exec sleep 300")
    exp.start(model, block=False)
    until(Path(exp.exp_path, "m/shards/0.started").exists, "the program")

    def press(_: float) -> None:
        mocker.stop(pause)
        signal.raise_signal(signal.SIGINT)

    pause = mocker.patch("hpcorch.track.time.sleep", side_effect=press)
    with pytest.raises(KeyboardInterrupt):
        exp.poll()
    assert exp.get_status(model) == [TaskState.CANCELLED]


def test_sigterm_while_polling_leaves_the_programs_alone_when_told_so(exp_dir, tmp_path, exp):
    code = """
import sys
from hpcorch import Experiment
exp = Experiment("lab", exp_path=sys.argv[1])
exp.start(exp.create_model("m", exp.create_run_settings("sleep", ["300"])), block=False)
exp.poll(kill_on_interrupt=False)
"""
    driver = run_driver(code, str(exp_dir), cwd=tmp_path)
    assert driver.stdout is not None
    # Who says this polls; until then the program belongs to its start.
    assert any("m is Running" in line for line in iter(driver.stdout.readline, ""))
    driver.terminate()
    driver.communicate(timeout=60)
    attached = Experiment.attach(exp_dir)
    assert "Running" in attached.summary()
    attached.stop()


def test_a_driver_goes_on_when_nobody_reads_its_messages_any_more(exp_dir, tmp_path):
    code = """if True:
        import sys, time
        from pathlib import Path
        from hpcorch import Experiment

        exp = Experiment("quiet", sys.argv[1], launcher="local")
        while not Path("unread").exists():
            time.sleep(0.01)
        model = exp.create_model("m", exp.create_run_settings("true"))
        exp.start(model)
        Path("end").write_text(str(exp.get_status(model)[0]))
    """
    driver = run_driver(code, str(exp_dir), cwd=tmp_path)
    assert driver.stdout is not None
    driver.stdout.readline()
    driver.stdout.close()
    (tmp_path / "unread").touch()
    driver.wait(60)
    assert (tmp_path / "end").read_text() == "Completed"
