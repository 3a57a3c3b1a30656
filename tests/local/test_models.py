"""Programs on this machine: ends of every kind, waiting, colocated databases, odd directories."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hpcorch import Experiment, TaskState
from hpcorch.errors import InputError
from tests.helpers import (
    ROOT,
    admin,
    bash_model,
    directory,
    free_port,
    kill,
    listening,
    output,
    processes,
    python_model,
    row,
    until,
)

pytestmark = pytest.mark.redis

LIVE_UNTIL_ASKED = 'touch "$1"; exec sleep 600'
# Talks to its colocated database; says where it and the server may run.
COLOCATED = """
import json, os, sys
import numpy as np
from hpcorch import Client, ConfigOptions
from tests.helpers import connect
config = ConfigOptions.create_from_environment(sys.argv[1])
with Client(config) as client:
    client.put_tensor("here", np.arange(4))
    found = client.get_tensor("here").tolist()
suffix = "_" + sys.argv[1] if sys.argv[1] else ""
address = os.environ["SSDB" + suffix]
print(json.dumps([found, address, sorted(os.sched_getaffinity(0))]))
"""


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


def test_a_directory_that_cannot_be_made_is_refused_in_one_sentence(new_experiment, tmp_path):
    (tmp_path / "file").touch()
    exp = new_experiment(tmp_path / "file" / "exp")
    model = exp.create_model("m", exp.create_run_settings("true"))
    with pytest.raises(InputError, match=r"the directory .* cannot be made"):
        exp.start(model)
    with pytest.raises(InputError, match=r"the directory .* cannot be made"):
        exp.generate(model)


@contextmanager
def not_root():
    """Root may write everywhere, so it acts as nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_is_read_only_is_refused_in_one_sentence(node_dir):
    exp = Experiment("lab", exp_path=node_dir / "exp")
    model = exp.create_model("m", exp.create_run_settings("true"))
    node_dir.chmod(0o555)
    with not_root(), pytest.raises(InputError, match=r"the directory .* cannot be"):
        exp.start(model)


def test_an_experiment_that_others_hide_is_refused_in_one_sentence(node_dir):
    exp = Experiment("lab", exp_path=node_dir / "exp")
    model = exp.create_model("m", exp.create_run_settings("true"))
    Path(exp.exp_path).mkdir(mode=0)
    try:
        with not_root(), pytest.raises(InputError, match=r"journal.jsonl cannot be read: Perm"):
            exp.start(model)
    finally:
        Path(exp.exp_path).chmod(0o700)


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
    until(lambda: not processes(mark), "the end of the background process", 5)


@pytest.mark.parametrize("transport", ["tcp", "uds"])
@pytest.mark.parametrize("identifier", ["", "my-db"])
def test_a_colocated_database_serves_its_program(exp, node_dir, transport, identifier):
    model = python_model(exp, "app", COLOCATED, identifier, PYTHONPATH=str(ROOT))
    if transport == "tcp":
        model.colocate_db_tcp(port=free_port(), db_identifier=identifier, custom_pinning=[])
    else:
        model.colocate_db_uds(db_identifier=identifier, custom_pinning=[])
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    said = output(exp, model)
    assert "[[0, 1, 2, 3]" in said
    assert ("unix:///" if transport == "uds" else "127.0.0.1:") in said
    assert list(node_dir.iterdir()) == []


def test_a_colocated_database_is_pinned_and_its_program_kept_off_its_cpus(exp, debian_server):
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.fail("this test needs two CPUs")
    code = """
import os, sys
from pathlib import Path
def cpus(pid):
    return sorted(os.sched_getaffinity(pid))
servers = []
for entry in Path("/proc").glob("[0-9]*"):
    try:
        words = (entry / "cmdline").read_bytes()
    except OSError:
        continue
    if words.startswith(sys.argv[1].encode()) and os.getsid(int(entry.name)) == os.getsid(0):
        servers.append(int(entry.name))
print(cpus(0), [cpus(pid) for pid in servers])
"""
    for limit, mine in ((True, allowed[:1] + allowed[2:]), (False, allowed)):
        model = python_model(exp, f"app-{limit}", code, debian_server)
        model.colocate_db_uds(custom_pinning=[1], limit_app_cpus=limit)
        exp.start(model)
        assert f"{mine} [[{allowed[1]}]]" in output(exp, model), output(exp, model, "err")


def test_pinning_to_a_cpu_that_the_job_lacks_fails_with_the_allowed_ones(exp):
    model = bash_model(exp, "app", "true")
    model.colocate_db_uds(custom_pinning=[4095])
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert "cannot have CPU number 4095: this task may use" in exp._ledger.snapshots()[0].reason


def test_a_colocated_database_needs_its_password(exp):
    code = """
import os
from tests.helpers import connect
try:
    print("in", connect(os.environ["SSDB"]).ping())
except Exception as error:
    print("out", error)
"""
    model = python_model(exp, "app", code, PYTHONPATH=str(ROOT))
    model.colocate_db_tcp(port=free_port(), custom_pinning=[])
    exp.start(model)
    said = output(exp, model)
    assert said.startswith("out"), said + output(exp, model, "err")
    assert "uthenticat" in said


def test_a_colocated_database_that_dies_leaves_no_socket_behind(
    exp, node_dir, tmp_path, debian_server
):
    mark = tmp_path / "mark"
    model = bash_model(exp, "app", LIVE_UNTIL_ASKED, str(mark))
    model.colocate_db_uds(custom_pinning=[])
    exp.start(model, block=False)
    until(mark.exists, "the start of the program")
    assert list(node_dir.glob("*/*/db.socket"))
    found = processes(tmp_path)
    servers = [pid for pid, words in found.items() if words.startswith(debian_server)]
    assert len(servers) == 1
    kill(servers[0])
    exp.stop(model)
    assert list(node_dir.iterdir()) == []


def test_an_identifier_of_a_running_database_cannot_be_colocated(exp):
    database = exp.create_database(port=free_port(), db_identifier="x")
    model = bash_model(exp, "app", "true")
    model.colocate_db_tcp(db_identifier="x")
    with pytest.raises(InputError, match=r"db_identifier of the database colocated with app"):
        exp.start(database, model)
    assert not directory(exp, database).exists()


ODD = [
    "with space",
    "quote'\"s",
    "$HOME $(id) `id`",
    "ünïcode-目录",
    "-dash",
    "back\\slash",
    "a;b&c",
]


@pytest.mark.parametrize("name", ODD)
def test_any_directory_will_do(new_experiment, tmp_path, name):
    exp = new_experiment(tmp_path / name / "exp")
    database = exp.create_database(port=free_port(), db_identifier="d")
    model = python_model(
        exp,
        "app",
        """
from hpcorch import Client, ConfigOptions
for name in ("d", "near"):
    with Client(ConfigOptions.create_from_environment(name)) as client:
        print(name, client.key_exists("k"))
""",
    )
    model.colocate_db_uds(db_identifier="near", custom_pinning=[])
    exp.start(database, model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    lines = output(exp, model).splitlines()
    assert lines[-2:] == ["d True", "near False"] or lines[-2:] == ["d False", "near False"]
    with database.client() as client:
        client.put_tensor("k", np.zeros(1))
    assert admin(exp, database).dbsize() == 1


def test_arguments_and_variables_reach_a_started_program_as_they_are(exp):
    ugly = ["", " ", "a b", "'", '"', "$(id)", "`id`", "\\", "new\nline", "*", "-n", "ü目"]
    code = "import sys, os; print(sys.argv[1:]); print(repr(os.environ['UGLY']))"
    settings = exp.create_run_settings(
        sys.executable, ["-c", code, *ugly], env_vars={"UGLY": "\n".join(ugly)}
    )
    model = exp.create_model("echo", settings)
    exp.start(model)
    assert output(exp, model).splitlines()[-2:] == [repr(ugly), repr("\n".join(ugly))]


def test_a_colocated_server_passes_over_a_busy_port(exp):
    port = free_port()
    model = bash_model(exp, "app", 'echo "$SSDB"')
    model.colocate_db_tcp(port=port, custom_pinning=[])
    with listening(port):
        exp.start(model)
    found = int(output(exp, model).rpartition(":")[2])
    assert found > port


def test_a_preview_is_what_start_sends(exp):
    model = bash_model(exp, "m", "true")
    text = exp.preview(model)
    assert not Path(exp.exp_path).exists()
    exp.start(model)
    assert (directory(exp, model) / "job.sh").read_text() == text


def test_generate_makes_directories_and_spares_an_earlier_run(exp):
    model = bash_model(exp, "m", "echo one")
    exp.generate(model)
    assert directory(exp, model).is_dir()
    exp.start(model)
    with pytest.raises(InputError, match="holds an earlier run of m") as caught:
        exp.generate(model)
    assert caught.value.hint == "say overwrite=True"
    assert output(exp, model) == "one\n"
    exp.generate(model, overwrite=True)
    assert not (directory(exp, model) / "exit").exists()


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


def test_a_program_runs_in_its_own_directory_with_its_own_variables(exp):
    code = 'pwd; echo "$HPCORCH_INDEX $MINE"; umask; tty; cat'
    settings = exp.create_run_settings("/bin/bash", ["-c", code], env_vars={"MINE": 5})
    model = exp.create_model("m", settings)
    exp.start(model)
    lines = output(exp, model).splitlines()
    assert lines == [str(directory(exp, model)), "0 5", lines[2], "not a tty"]


def test_two_entities_cannot_share_a_directory(exp, tmp_path):
    """Each would remove what the other is writing."""
    where = str(tmp_path / "shared")
    exp.create_model("a", exp.create_run_settings("true"), path=where)
    with pytest.raises(InputError, match=r"path of b is .*shared: a of this experiment has it"):
        exp.create_model("b", exp.create_run_settings("true"), path=where)


def test_a_program_may_be_named_from_where_the_driver_is(exp, tmp_path, monkeypatch):
    program = tmp_path / "my program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    model = exp.create_model("m", exp.create_run_settings("./my program"))
    exp.start(model)
    assert output(exp, model) == "found\n"
