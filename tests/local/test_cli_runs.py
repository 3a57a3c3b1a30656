"""The command line on real runs: scripts started by hand, a driver that is killed, and the demo."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpcorch.journal import Journal, Run
from tests.helpers import ROOT, bash_model, free_port, kill, processes, run_driver, until
from tests.local.commands import following, hpcorch

pytestmark = pytest.mark.redis

README = (ROOT / "README.md").read_text()
# All that a script may need besides the server; there is no Python among it.
TOOLS = (
    *("bash", "cat", "env", "flock", "grep", "ip", "kill", "ln", "mkdir", "mktemp", "mv", "od"),
    *("openssl", "rm", "setsid", "sleep", "sort", "tail", "taskset", "tr", "uname"),
)
# Starts a database and a long program, and waits for the program.
DRIVER = """
import sys
from hpcorch import Experiment
exp = Experiment("lab", exp_path=sys.argv[1])
database = exp.create_database(port=int(sys.argv[2]))
model = exp.create_model("long", exp.create_run_settings("sleep", ["600"]))
exp.start(database, model)
"""


def states(where: Path) -> dict[str, str]:
    """Return the state of every entity, nothing while there is no run."""
    done = subprocess.run(
        [sys.executable, "-m", "hpcorch", "status", str(where), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    runs = json.loads(done.stdout)["runs"] if done.returncode == 0 else []
    return {run["entity"]: run["state"] for run in runs}


def databases(where: Path) -> list[dict[str, Any]]:
    found = json.loads(hpcorch("status", where, "--json"))["runs"]
    return [run["database"] for run in found if run["database"]]


def is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.fixture
def bare_path(tmp_path: Path, debian_server: str) -> str:
    """A PATH that holds the tools of a bare machine, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (*TOOLS, debian_server):
        program = shutil.which(name)
        if program is None:
            pytest.fail(f"{name} is missing on this machine")
        (folder / Path(name).name).symlink_to(program)
    assert shutil.which("python3", path=str(folder)) is None
    return str(folder)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_database_by_hand_without_python_is_seen_and_stopped(shards, tmp_path, bare_path):
    port = free_port(shards)
    words = ("--identifier", "db", "--nodes", shards, "--port", port, "-o", "db.sh")
    hpcorch("render", "database", *words, cwd=tmp_path)
    where = tmp_path / "db"
    environ = {"PATH": bare_path, "TMPDIR": os.environ["TMPDIR"]}
    script = subprocess.Popen(
        ["bash", "db.sh"], cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL
    )
    try:
        until((where / "address.env").exists, "an answer of the database")
        (found,) = databases(where)
        assert found["answers"]
        assert len(found["addresses"]) == shards
        assert all(is_open(address) for address in found["addresses"])
        assert f"database db answers at {','.join(found['addresses'])}\n" in hpcorch(
            "status", tmp_path
        )
        assert "ready: 127.0.0.1:" in hpcorch("logs", where, "--shard", 0)
        assert "eady to accept connections" in hpcorch("logs", where, "--server")
        logs = json.loads(hpcorch("logs", where, "--server", "--json"))["logs"]
        assert [item["index"] for item in logs] == list(range(shards))
        assert hpcorch("stop", where) == "db is Cancelled, exit code 0\n"
        assert script.wait(30) == 0
    finally:
        if script.poll() is None:
            hpcorch("stop", where)
            script.wait(30)
    assert hpcorch("stop", where) == "nothing to stop: db is Cancelled, exit code 0\n"
    assert not any(is_open(address) for address in found["addresses"])
    assert processes(where) == {}


def test_a_program_with_a_database_beside_it_runs_by_hand_without_python(tmp_path, bare_path):
    words = ("--colocate", "uds", "--db-cpus", 1, "-o", "app.sh", "--", "bash", "-c", "echo $SSDB")
    hpcorch("render", "model", "app", *words, cwd=tmp_path)
    environ = {"PATH": bare_path, "TMPDIR": os.environ["TMPDIR"]}
    subprocess.run(["bash", "app.sh"], cwd=tmp_path, env=environ, check=True, timeout=60)
    assert hpcorch("logs", tmp_path / "app").startswith("unix:///")
    assert "eady to accept" in hpcorch("logs", tmp_path / "app", "--server")


def test_a_killed_driver_leaves_runs_that_another_shell_sees_and_stops(tmp_path, exp_dir):
    driver = run_driver(DRIVER, str(exp_dir), str(free_port()), cwd=tmp_path)
    try:
        until(lambda: states(exp_dir).get("long") == "Running", "the start of the program")
    finally:
        kill(driver.pid)
        driver.communicate()
    assert states(exp_dir) == {"orchestrator": "Running", "long": "Running"}
    (found,) = databases(exp_dir)
    assert found["answers"]
    stopped = hpcorch("stop", exp_dir, "long")
    assert stopped.startswith("long is Cancelled")
    assert states(exp_dir) == {"orchestrator": "Running", "long": "Cancelled"}
    assert "orchestrator is Cancelled, exit code 0\n" in hpcorch("stop", exp_dir)
    assert states(exp_dir) == {"orchestrator": "Cancelled", "long": "Cancelled"}
    assert not is_open(found["addresses"][0])
    assert processes(exp_dir) == {}


def test_status_knows_both_runs_when_an_experiment_is_started_anew(exp, exp_dir):
    model = bash_model(exp, "m", "exit 3")
    exp.start(model)
    exp.start(model)
    out = hpcorch("status", exp_dir)
    assert out.count("| m ") == 1
    assert "| 1 " in out
    expected = "m is Failed: the program ended with exit code 3; next: hpcorch logs "
    assert f"{expected}{exp_dir} m\n" in out
    # An entity's own directory does as well.
    assert "m is Failed" in hpcorch("status", exp_dir / "m")


def test_status_watch_ends_with_the_runs_and_quietly_on_an_interrupt(exp, exp_dir):
    exp.start(bash_model(exp, "long", "exec sleep 600"), block=False)
    with following("status", exp_dir, "--watch") as watch:
        assert watch.stdout is not None
        until(lambda: states(exp_dir)["long"] == "Running", "the start of the program")
        first = watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 0
    with following("status", exp_dir, "--watch") as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "long is Running\n"
        hpcorch("stop", exp_dir)
        assert watch.stdout.read().startswith("long is Cancelled")
        assert watch.wait(30) == 0
    assert first.startswith("long is ")


def test_stop_kills_what_does_not_heed_it_after_the_grace(exp, exp_dir):
    model = bash_model(exp, "stubborn", 'trap "" TERM; echo up; while :; do sleep 1; done')
    exp.start(model, block=False)
    with following("logs", exp_dir, "-f") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "stubborn[0]: up\n"
    (run,) = json.loads(hpcorch("stop", exp_dir, "--grace", "0.5", "--json"))["runs"]
    assert run["was_running"]
    assert run["state"] != "Running"
    # The program's own last child may outlive it by a second.
    until(lambda: not processes(exp_dir), "the end of all processes")


def test_a_model_by_hand_reads_its_database(exp, exp_dir, tmp_path):
    database = exp.create_database(port=free_port())
    exp.start(database)
    use = ("--use", exp_dir / "orchestrator")
    program = ("--", "bash", "-c", 'echo "at $SSDB"; exit 5')
    script = tmp_path / "m.sh"
    hpcorch("render", "model", "m", *use, "-o", script, *program, cwd=tmp_path)
    done = subprocess.run(["bash", str(script)], check=False, stdout=subprocess.DEVNULL)
    assert done.returncode == 5
    assert hpcorch("logs", tmp_path / "m") == f"at {database.get_address()[0]}\n"
    assert states(tmp_path / "m") == {"m": "Failed"}


SPEC = """
[experiment]
name = "lab"
launcher = "local"

[database.db]
port = {port}

[[database.db.add_function]]
name = "twice"
function = "post.py:twice"
language = "PYTHON"

[model.good]
params = {{dt = 0.5}}
run_settings = {{exe = "bash", exe_args = ["-c", "cat in.txt; echo $SSDB_db"]}}
attach_generator_files = {{to_configure = "in.txt"}}

[ensemble.many]
replicas = 3
run_settings = {{exe = "bash", exe_args = ["-c", "[[ $HPCORCH_INDEX != 1 || -e ../../../go ]]"]}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec file of a database, a program, and an ensemble of which a member fails at first."""
    (tmp_path / "post.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "in.txt").write_text("dt = ;dt;\n")
    (tmp_path / "lab.toml").write_text(SPEC.format(port=free_port()))
    return tmp_path / "lab.toml"


def test_a_spec_file_from_start_to_stop(spec, tmp_path):
    where = tmp_path / "lab"
    try:
        out = hpcorch("start", spec, "--json", code=None)
        found = {run["entity"]: run for run in json.loads(out)["runs"]}
        assert {name: run["state"] for name, run in found.items()} == {
            "db": "Running",
            "good": "Completed",
            "many": "Failed",
        }
        (address,) = found["db"]["database"]["addresses"]
        assert hpcorch("logs", where, "good") == f"dt = 0.5\n{address}\n"
        said = hpcorch("start", spec, code=2)
        assert f"{spec} was started already: db is Running" in said
        assert f"hpcorch start {spec} good many" in said
        (tmp_path / "go").touch()
        hpcorch("start", spec, "many", "--only", "failed")
        assert states(where) == {"db": "Running", "good": "Completed", "many": "Completed"}
        # A program that comes later is told of the database, which ends with it.
        hpcorch("start", spec, "good", "--stop")
        assert hpcorch("logs", where, "good") == f"dt = 0.5\n{address}\n"
        assert states(where)["db"] == "Cancelled"
    finally:
        hpcorch("stop", where, "--grace", 1)
    until(lambda: not processes(where), "the end of all processes")


def test_a_program_whose_driver_died_before_it_was_accepted_can_be_started(spec, tmp_path):
    where = tmp_path / "lab"
    run = Run("good", "model", str(where / "good"), 1, 0, "0123456789abcdef", "local", 0.0)
    Journal(where).intend(run)
    assert states(where) == {"good": "Unknown"}
    hpcorch("start", spec, "good")
    assert states(where) == {"good": "Completed"}


def test_a_detached_start_leaves_everything_to_the_jobs(spec, tmp_path):
    where = tmp_path / "lab"
    (tmp_path / "go").touch()
    try:
        hpcorch("start", spec, "--detach")
        done = {"db": "Running", "good": "Completed", "many": "Completed"}
        until(lambda: states(where) == done, "the end of the programs")
        assert "dt = 0.5\n127.0.0.1:" in hpcorch("logs", where, "good")
    finally:
        hpcorch("stop", where, "--grace", 1)


def test_rendered_scripts_of_a_spec_file_run_by_hand(spec, tmp_path):
    where = tmp_path / "lab"
    (tmp_path / "go").touch()
    hpcorch("render", spec, "-o", tmp_path / "jobs")
    database = subprocess.Popen(["bash", "jobs/db.sh"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        for name in ("good", "many"):
            subprocess.run(
                ["bash", f"jobs/{name}.sh"],
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                timeout=60,
                check=True,
            )
        assert "dt = 0.5\n127.0.0.1:" in hpcorch("logs", where, "good")
        assert states(where) == {"db": "Running", "good": "Completed", "many": "Completed"}
    finally:
        hpcorch("stop", where, "--grace", 1)
        assert database.wait(30) == 0


@pytest.mark.slow
def test_the_demo_ends_well_and_leaves_nothing(tmp_path):
    found = json.loads(hpcorch("demo", "--path", tmp_path, "--json"))
    assert {run["entity"]: (run["state"], run["code"]) for run in found["runs"]} == {
        "single_shard_db_identifier": ("Cancelled", 0),
        "multi-shard-db-identifier": ("Cancelled", 0),
        "tutorial_model": ("Completed", 0),
        "colo_model": ("Completed", 0),
    }
    until(lambda: not processes(tmp_path), "the end of all processes")


def test_a_demo_that_breaks_off_leaves_nothing_running(tmp_path):
    with following("demo", "--path", tmp_path) as demo:
        assert demo.stdout is not None
        where = tmp_path / "getting-started-multidb"
        address = where / "single_shard_db_identifier" / "address.env"
        until(address.exists, "the first database's answer")
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
        assert demo.wait(60) == 130
    assert set(states(where).values()) <= {"Cancelled", "Completed", "Failed"}
    until(lambda: not processes(where), "the end of all processes")


def test_the_pictures_of_the_readme_are_what_the_command_prints(tmp_path):
    shown = re.findall(r"^\$ (hpcorch (?:.*\\\n)*.*)\n((?:.+\n)+)```", README, re.MULTILINE)
    blocks = [block for block in shown if "--explain-pinning" in block[0]]
    program = tmp_path / "my_simulation"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert len(blocks) == 2
    for command, picture in blocks:
        words = shlex.split(command.replace("\\\n", " "))[1:]
        assert hpcorch(*words, cwd=tmp_path).rstrip("\n") == picture.rstrip("\n")
        found = json.loads(hpcorch(words[0], words[1], "--json", *words[2:], cwd=tmp_path))
        assert found["seats"][0]["title"] == picture.partition(",")[0]


@pytest.mark.parametrize(
    "words",
    [
        ["module", "check"],
        ["site", "check", "--submit", "--scheduler", "local"],
        ["start", "saved.toml", "--stop"],
    ],
)
def test_what_jobs_tell_does_not_stand_in_json(tmp_path, words):
    (tmp_path / "saved.toml").write_text(
        '[experiment]\nname = "saved"\nlauncher = "local"\n'
        f"[database.db]\nport = {free_port()}\ncheckpoint = true\n"
    )
    assert json.loads(hpcorch(*words, "--json", cwd=tmp_path))["version"] == 1
