"""The command line on real runs: scripts started by hand, a driver that is killed, and the demo."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, bash_model, free_port, kill, processes, run_driver, until

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


def hpcorch(*words: object, code: int = 0, cwd: Path | None = None) -> str:
    """Run the command in a process of its own, as another shell would."""
    done = subprocess.run(
        [sys.executable, "-m", "hpcorch", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@contextmanager
def following(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Run the command beside the test, with Ctrl-C in order even where a shell has disabled it."""
    command = ["env", "--default-signal=INT", sys.executable, "-m", "hpcorch", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


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
        assert watch.wait(10) == 0
    with following("status", exp_dir, "--watch") as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "long is Running\n"
        hpcorch("stop", exp_dir)
        assert watch.stdout.read().startswith("long is Cancelled")
        assert watch.wait(10) == 0
    assert first.startswith("long is ")


def test_status_watch_redraws_on_a_terminal(exp, exp_dir):
    exp.start(bash_model(exp, "m", "exit 0"))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "hpcorch", "status", str(exp_dir), "--watch"]
    with subprocess.Popen(words, stdout=theirs) as watch:
        os.close(theirs)
        shown = b""
        # Linux reports the end of a terminal's other side as an error.
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass
        assert watch.wait(10) == 0
    os.close(ours)
    assert shown.startswith(b"\x1b[H\x1b[J|")
    assert shown.count(b"\x1b") == 2
    assert b"Completed" in shown


def test_logs_follow_until_the_end(exp, exp_dir, tmp_path):
    go = tmp_path / "go"
    code = 'echo one; until [[ -e $1 ]]; do sleep 0.02; done; echo problem >&2; printf "two"'
    exp.start(bash_model(exp, "m", code, str(go)), block=False)
    with following("logs", exp_dir, "m", "-f") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "m[0]: one\n"
        go.touch()
        assert sorted(logs.stdout.read().splitlines()) == ["m[0]: problem", "m[0]: two"]
        assert logs.wait(10) == 0
    folder = exp_dir / "m" / "logs"
    expected = f"==> {folder}/m.0.out <==\none\ntwo\n==> {folder}/m.0.err <==\nproblem\n"
    assert hpcorch("logs", exp_dir, "m") == expected


def test_an_interrupted_logs_command_has_its_code(exp, exp_dir):
    exp.start(bash_model(exp, "m", "echo one; exec sleep 600"), block=False)
    with following("logs", exp_dir, "-f") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "m[0]: one\n"
        logs.send_signal(signal.SIGINT)
        assert logs.wait(10) == 130


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


@pytest.mark.slow
def test_the_demo_ends_well_and_leaves_nothing(tmp_path):
    found = json.loads(hpcorch("demo", "--path", tmp_path, "--json"))
    assert {run["entity"]: (run["state"], run["code"]) for run in found["runs"]} == {
        "single_shard_db_identifier": ("Cancelled", 0),
        "multi-shard-db-identifier": ("Cancelled", 0),
        "tutorial_model": ("Completed", 0),
        "colo_model": ("Completed", 0),
    }
    assert processes(tmp_path) == {}


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
    assert processes(where) == {}


def test_the_pictures_of_the_readme_are_what_the_command_prints(tmp_path):
    blocks = re.findall(
        r"^\$ (hpcorch .*--explain-pinning.*)\n((?:.+\n)+)```", README, re.MULTILINE
    )
    program = tmp_path / "sim"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert len(blocks) == 2
    for command, picture in blocks:
        words = shlex.split(command)[1:]
        assert hpcorch(*words, cwd=tmp_path).rstrip("\n") == picture.rstrip("\n")
        found = json.loads(hpcorch(words[0], words[1], "--json", *words[2:], cwd=tmp_path))
        assert found["seats"][0]["title"] == picture.partition(",")[0]
