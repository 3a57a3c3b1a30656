"""`hpcorch render FILE.toml`: one script printed, or all written with what they need."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hpcorch.cli.main import main
from tests.unit.cli.fakes import refused

SPEC = """
[database.db]
db_nodes = 3

[model.sim]
params = {dt = 0.5}
run_settings = {exe = "./sim", exe_args = ["$(id)"]}
attach_generator_files = {to_configure = ["in.nml"]}

[ensemble.many]
params = {n = [1, 2]}
params_as_args = ["n"]
run_settings = {exe = "./sim"}
"""


@pytest.fixture
def spec(here: Path) -> Path:
    """A spec file in a folder beside the one where the command runs."""
    folder = here / "lab"
    folder.mkdir()
    (folder / "heat.toml").write_text(SPEC)
    (folder / "in.nml").write_text("dt = ;dt;\n")
    (folder / "sim").write_text("#!/bin/sh\n")
    (folder / "sim").chmod(0o755)
    return folder / "heat.toml"


@pytest.mark.parametrize("scheduler", ["local", "slurm", "pbs"])
def test_one_script_is_printed(spec, scheduler, capfd):
    assert main(["render", "lab/heat.toml", "sim", "--scheduler", scheduler]) == 0
    caught = capfd.readouterr()
    where = spec.parent / "heat"
    assert f"HPCORCH_RUN_DIR={where}/sim\n" in caught.out
    assert f"hpcorch_use_database {where}/db _db\n" in caught.out
    assert f"{spec.parent}/sim '$(id)'" in caught.out
    assert "warning: sim needs files in its run directory, which -o puts there" in caught.err
    assert subprocess.run(["bash", "-n"], input=caught.out, text=True, check=False).returncode == 0
    assert not where.exists()


@pytest.mark.parametrize(
    ("scheduler", "ending", "submit"),
    [("local", "sh", "bash"), ("slurm", "sbatch", "sbatch"), ("pbs", "pbs", "qsub")],
)
def test_all_scripts_are_written_and_it_is_said_how_to_submit_them(
    spec, scheduler, ending, submit, capsys
):
    assert main(["render", "lab/heat.toml", "-o", "jobs", "--scheduler", scheduler]) == 0
    caught = capsys.readouterr()
    assert caught.out == ""
    files = [f"jobs/{name}.{ending}" for name in ("db", "sim", "many")]
    lines = [line for line in caught.err.splitlines() if "written" in line]
    assert lines == [f"{file} is written; to run it: {submit} {file}" for file in files]
    assert caught.err.splitlines()[-2:] == [
        "all can be submitted at once: programs wait for their databases",
        "next: hpcorch status lab/heat",
    ]
    assert all(Path(file).stat().st_mode & 0o777 == 0o700 for file in files)
    where = spec.parent / "heat"
    assert (where / "sim" / "in.nml").read_text() == "dt = 0.5\n"
    assert (where / "many" / "task-table" / "names").read_text() == "many_0\nmany_1\n"


def test_json_of_one_and_of_all(spec, capsys):
    assert main(["render", "--json", "lab/heat.toml", "many"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["kind"], found["name"]) == (1, "ensemble", "many")
    assert (found["elements"], found["file"], found["submit"]) == (2, None, [])
    words = ["lab/heat.toml", "db", "sim", "-o", "jobs", "--scheduler", "slurm", "--json"]
    assert main(["render", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["directory"] == str(Path("jobs").absolute())
    assert [item["name"] for item in found["scripts"]] == ["db", "sim"]
    assert [item["submit"] for item in found["scripts"]] == [
        ["sbatch jobs/db.sbatch"],
        ["sbatch jobs/sim.sbatch"],
    ]


def test_who_sits_where(spec, capfd):
    words = ["lab/heat.toml", "db", "--scheduler", "local", "--job-cpus", "0-3"]
    assert main(["render", *words, "--explain-pinning"]) == 0
    assert capfd.readouterr().out.startswith("db on each host, which has the CPUs 0-3")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["lab/heat.toml"], 2, "name one of db, sim, many, or write all with -o DIR"),
        (["lab/heat.toml", "smi"], 3, "did you mean 'sim'?"),
        (["lab/heat.toml", "sim", "--", "echo"], 2, "a spec file names its programs itself"),
        (["nowhere.toml"], 2, "the spec file nowhere.toml cannot be read"),
        (["spec"], 2, "the following arguments are required: FILE.toml"),
    ],
)
def test_bad_words(words, code, message, spec, capsys):
    refused(["render", *words], code, message, capsys)


def test_an_impossible_request_is_told_by_entity_and_file(spec, capsys):
    spec.write_text("[database.db]\ntime = '1:00:00'\n")
    refused(["render", "lab/heat.toml", "--scheduler", "local"], 2, "time of db is", capsys)
    spec.write_text("[database.db]\ndb_node = 2\n")
    refused(["render", "lab/heat.toml"], 2, "lab/heat.toml: [database.db] there is no", capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["lab/heat.toml", "sim", "--scheduler", "slurm"],
        ["lab/heat.toml", "--scheduler", "slurm", "sim"],
        ["--scheduler", "slurm", "lab/heat.toml", "sim"],
    ],
)
def test_names_may_stand_before_and_after_options(words, spec, capfd):
    assert main(["render", *words]) == 0
    assert "#SBATCH --job-name=sim\n" in capfd.readouterr().out
