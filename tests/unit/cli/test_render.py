"""`hpcorch render` without a spec file."""

from __future__ import annotations

import json
import subprocess

import pytest

from hpcorch.cli.main import main
from tests.unit.cli.fakes import refused


def test_render_prints_the_script_and_nothing_else(here, capfd):
    assert main(["render", "database", "--port", "7001"]) == 0
    caught = capfd.readouterr()
    assert caught.out.startswith("#!/bin/bash\n")
    assert f"HPCORCH_RUN_DIR={here}/orchestrator\n" in caught.out
    assert "HPCORCH_FIRST_PORT=7001\n" in caught.out
    assert list(here.iterdir()) == []
    done = subprocess.run(["bash", "-n"], input=caught.out, text=True, check=False)
    assert done.returncode == 0


def test_render_writes_a_private_file(here, capsys):
    assert main(["render", "database", "--nodes", "2", "-o", "db.sh", "--path", "x y"]) == 0
    caught = capsys.readouterr()
    assert caught.out == ""
    assert "to run it: bash db.sh" in caught.err
    assert (here / "db.sh").stat().st_mode & 0o777 == 0o700
    assert f"HPCORCH_RUN_DIR='{here}/x y'\n" in (here / "db.sh").read_text()


@pytest.mark.parametrize("file", [".", "..", "/"])
def test_a_directory_is_no_file_for_a_script(here, capsys, file):
    assert main(["render", "database", "-o", file]) == 1
    assert f"{file} cannot be written: Is a directory" in capsys.readouterr().err


def test_render_json(here, capsys):
    words = ["--security", "smartredis", "--threads", "2", "--maxmemory", "1gb"]
    assert main(["render", "database", "--json", *words]) == 0
    caught = capsys.readouterr()
    found = json.loads(caught.out)
    assert (found["version"], found["kind"], found["name"]) == (1, "database", "orchestrator")
    assert "maxmemory 1gb\n" in found["script"]
    assert found["warnings"]
    assert f"hpcorch: warning: {found['warnings'][0]}\n" in caught.err


def test_render_model_carries_its_words_byte_for_byte(here, capfd):
    words = ["--version", "a b", "$(id)", "--", "'", "", "-o"]
    assert main(["render", "model", "m", "--", "echo", *words]) == 0
    out = capfd.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("HPCORCH_PROGRAM=("))
    script = f"{line}\nprintf '%s\\0' \"${{HPCORCH_PROGRAM[@]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[1:-1] == words


def test_render_model_with_databases_and_colocation(here, capfd):
    (here / "orchestrator").mkdir()
    uses = ["--use", "orchestrator", "--use", "elsewhere:other-db"]
    pins = ["--colocate", "uds", "--pin", "0-1"]
    refused = ["render", "model", "m", *uses, *pins, "--", "true"]
    # The default identifier is in use by `orchestrator`, so that its variables would clash.
    assert main(refused) == 2
    assert "uses the variable SSDB already" in capfd.readouterr().err
    assert main(["render", "model", "m", *uses, "--", "true"]) == 0
    out = capfd.readouterr().out
    assert f"hpcorch_use_database {here}/orchestrator ''\n" in out
    assert f"hpcorch_use_database {here}/elsewhere _other-db\n" in out
    assert main(["render", "model", "m", *pins, "--", "true"]) == 0
    assert "HPCORCH_DB_CPUS=(0 1)\n" in capfd.readouterr().out


def test_a_database_whose_directory_is_not_there_is_told_of(here, capfd):
    (here / "there").mkdir()
    assert main(["render", "model", "m", "--use", "there", "--use", "theer", "--", "true"]) == 0
    said = capfd.readouterr().err
    assert f"{here}/theer is not there: the program will wait for it" in said
    assert f"{here}/there " not in said


def test_two_databases_of_one_identifier_are_refused(here, capsys):
    words = ["--use", "a:x", "--use", "b:x", "--", "true"]
    assert main(["render", "model", "m", *words]) == 2
    assert "--use names two databases 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["render"], 2, "render what?"),
        (["render", "cluster"], 2, "'cluster' is no kind of job"),
        (["render", "database", "--nodes", "many"], 2, "invalid int value: 'many'"),
        (["render", "database", "--nodes", "0"], 2, "db_nodes is 0"),
        (["render", "database", "--identifier", "a b"], 2, "db_identifier is 'a b'"),
        (["render", "database", "--identifier", "$(id)"], 2, "db_identifier is '$(id)'"),
        (["render", "database", "--security", "none"], 2, "security is 'none'"),
        (["render", "database", "--interface", "nope0"], 2, "interface is 'nope0'"),
        (["render", "database", "--module", "no.so"], 2, "no such readable file"),
        (["render", "database", "--maxmemory", "much"], 2, "maxmemory is 'much'"),
        (["render", "database", "--server", "no-such"], 2, "--server is 'no-such'"),
        (["render", "database", "--scheduler", "lfs"], 2, "launcher is 'lfs'"),
        (["render", "database", "--path", "a\nb"], 2, "path is 'a\\nb'"),
        (["render", "database", "--layout", "ring"], 2, "layout is 'ring'"),
        (["render", "database", "--scheduler", "local", "--time", "1:00:00"], 2, "time of orch"),
        (["render", "database", "--scheduler", "slurm", "--time", "1h"], 2, "time is '1h'"),
        (["render", "database", "--scheduler", "local", "--cpus", "2"], 2, "cpus of orch"),
        (["render", "database", "--scheduler", "slurm", "--run-arg", "v"], 2, "no srun starts"),
        (["render", "database", "--checkpoint-every", "0"], 2, "freq is 0"),
        (["render", "database", "--conf", "maxmemory"], 2, "--conf is 'maxmemory'"),
        (["render", "database", "--restore", "nowhere"], 2, "there is no checkpoint there"),
        (["render", "database", "--", "echo"], 2, "a database takes no program"),
        (["render", "database", "-o", "no/such/dir"], 1, "No such file or directory"),
        (["render", "model", "m"], 2, "the program of m is missing"),
        (["render", "model", "m", "--"], 2, "the program of m is missing"),
        (["render", "model", "m", "--", "no-such-program"], 2, "there is no such program"),
        (["render", "model", "m", "--pin", "0", "--", "true"], 2, "add --colocate"),
        (["render", "model", "m", "--db-cpus", "2", "--", "true"], 2, "add --colocate"),
        (["render", "model", "m", "--colocate", "ib", "--", "true"], 2, "invalid choice: 'ib'"),
        (
            ["render", "model", "m", "--colocate", "tcp", "--pin", "x", "--", "true"],
            2,
            "CPU list 'x'",
        ),
    ],
)
def test_bad_words_end_in_one_sentence_and_a_code(words, code, message, here, capsys):
    refused(words, code, message, capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["database", "--time", ""], "--time is empty"),
        (["database", "--queue", ""], "--queue is empty"),
        (["database", "--account", ""], "--account is empty"),
        (["database", "--scheduler", ""], "--scheduler is empty"),
        (["model", "m", "--use", "", "--", "true"], "--use is empty"),
        (["databse"], "'databse' is no kind of job and no FILE.toml"),
        (["spec"], "the following arguments are required: FILE.toml\n"),
    ],
)
def test_words_that_say_nothing_are_refused(words, message, here, capsys):
    refused(["render", *words], 2, message, capsys)
