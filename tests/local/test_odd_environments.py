"""What the environment has for bash changes neither what job scripts do nor what programs get."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpcorch.cli.main import main
from tests.helpers import free_port, output

pytestmark = pytest.mark.redis

# Each script gets the words as its environment: a database, and programs that use one.
SESSION = """
env "$@" timeout 60 bash db.sh & job=$!
until [[ -e db/address.env ]]; do kill -0 "$job" || exit 1; sleep 0.05; done
env "$@" timeout 60 bash sim.sh && env "$@" timeout 60 bash beside.sh
code=$?
kill -TERM "$job"
wait "$job" && exit "$code"
"""
# A program that is bash gets none of the scripts' own options.
PROGRAM = ("bash", "-c", "[[ $- != *[eu]* && -n $SSDB$SSDB_db ]]")
ODD = {
    "options": "SHELLOPTS=allexport:keyword:monitor:noclobber:noglob",
    "shopts": "BASHOPTS=failglob:lastpipe:nocasematch:nullglob:varredir_close:xpg_echo",
    "posix": "POSIXLY_CORRECT=1",
    "a file that bash reads": "BASH_ENV=noise.sh",
    "a relative TMPDIR": "TMPDIR=.",
}


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A file for BASH_ENV."""
    path = tmp_path / "noise.sh"
    path.write_text("echo noise; shopt -s failglob nullglob nocasematch; set -C -f\n")
    return path


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_scripts_run_as_ever(node_dir, monkeypatch, noise, odd):
    # A relative TMPDIR is this short one.
    monkeypatch.chdir(node_dir)
    words = ["database", "--nodes", "2", "--identifier", "db", "--port", str(free_port(2))]
    assert main(["render", *words, "-o", "db.sh"]) == 0
    for words in (["sim", "--use", "db"], ["beside", "--colocate", "uds"]):
        assert main(["render", "model", *words, "-o", f"{words[0]}.sh", "--", *PROGRAM]) == 0
    odd = odd.replace("noise.sh", str(noise))
    call = ["bash", "-c", SESSION, "_", odd]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    logs = "".join(log.read_text() for log in node_dir.glob("*/logs/*.err"))
    assert done.returncode == 0, done.stdout + done.stderr + logs


def test_a_driver_is_not_misled(exp, monkeypatch, noise):
    monkeypatch.setenv("BASH_ENV", str(noise))
    model = exp.create_model("m", exp.create_run_settings("true"))
    exp.start(model)
    assert [str(status) for status in exp.get_status(model)] == ["Completed"]


def test_a_program_gets_its_user_s_locale(exp, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    model = exp.create_model("m", exp.create_run_settings("printenv", ["LC_ALL"]))
    exp.start(model)
    assert output(exp, model) == "C.UTF-8\n"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program's script."""
    monkeypatch.chdir(tmp_path)
    assert main(["render", "model", "m", "-o", "m.sh", "--", "echo", "hello"]) == 0
    return tmp_path / "m.sh"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_script_whose_output_was_closed_runs(script, closed):
    done = subprocess.run(["bash", "-c", f"bash m.sh {closed}"], timeout=60, check=False)
    assert done.returncode == 0
    assert (script.parent / "m" / "logs" / "m.0.out").read_text() == "hello\n"


def test_a_script_that_comes_through_a_pipe_says_what_to_do(script):
    text = script.read_text()
    done = subprocess.run(
        ["bash"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "m: error: write the script into a file and run it by: bash FILE\n"
