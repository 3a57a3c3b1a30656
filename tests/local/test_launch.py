"""Launch commands for real: Open MPI and MPICH, containers by a stand-in, the user's own lines."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from hpcorch import Container, TaskState
from hpcorch.build import Builder, choose_scheduler
from hpcorch.errors import InputError
from hpcorch.plan import ModelJob
from hpcorch.sites import load_site
from tests.helpers import bash_model, directory, free_port, output, until

SAY = 'echo "$1 ${OMPI_COMM_WORLD_RANK-$PMI_RANK} ${OMPI_COMM_WORLD_SIZE-$PMI_SIZE} $V"'
# Writes what it was given, then runs the program behind the image as if it were inside.
APPTAINER = """#!{python}
import json, os, sys
words = sys.argv[1:]
seen = {{name: value for name, value in os.environ.items() if name.startswith("APPTAINER")}}
with open({record!r} + f".{{os.getpid()}}", "w") as stream:
    json.dump([words, seen, os.getcwd()], stream)
os.replace(stream.name, {record!r})
clean = {{"PATH": os.environ["PATH"]}}
clean.update((name[13:], value) for name, value in seen.items() if name.startswith("APPTAINERENV_"))
program = words[words.index("image.sif") + 1:]
os.execvpe(program[0], program, clean)
"""


@pytest.fixture(autouse=True)
def root_may_run(monkeypatch):
    """Open MPI refuses root unless it is told twice."""
    for name in ("", "_CONFIRM"):
        monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT" + name, "1")


@pytest.fixture
def mpich(tmp_path, monkeypatch):
    """MPICH's launch command under its usual name, which another library may have here."""
    folder = tmp_path / "mpich"
    folder.mkdir()
    program = folder / "mpiexec"
    # It looks for its helpers beside the path that it was called by.
    program.write_text('#!/bin/bash\nexec mpiexec.hydra "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_open_mpi_starts_several_programs_as_one_launch(exp):
    first = exp.create_run_settings("bash", ["-c", SAY, "_", "a b"], run_command="mpirun")
    first.set("oversubscribe")
    first.set_tasks(1)
    first.update_env({"V": "it's"})
    second = exp.create_run_settings("bash", ["-c", SAY, "_", "c"], env_vars={"V": "own"})
    second.set_tasks(2)
    first.make_mpmd(second)
    model = exp.create_model("several", first)
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    lines = sorted(output(exp, model).splitlines())
    assert lines == ["a b 0 3 it's", "c 1 3 own", "c 2 3 own"]


def test_open_mpi_is_told_which_variables_to_carry(exp):
    code = 'echo "$OMPI_MCA_mca_base_env_list"'
    settings = exp.create_run_settings("bash", ["-c", code], "mpirun", env_vars={"V": 1, "W": 2})
    model = exp.create_model("told", settings)
    exp.start(model)
    assert output(exp, model) == "V;W;HPCORCH_INDEX\n"


def test_open_mpi_has_its_own_files_on_the_node(exp, monkeypatch):
    """In the usual place of all, one of two launches that begin at the same moment may fail."""
    code = 'echo "$OMPI_MCA_orte_tmpdir_base"; ls -A "$OMPI_MCA_orte_tmpdir_base"'
    settings = exp.create_run_settings("bash", ["-c", code], "mpirun")
    models = [exp.create_model(name, settings) for name in ("one", "two")]
    exp.start(*models)
    found = [output(exp, model).split() for model in models]
    assert all(files[0].startswith("ompi.") for _, *files in found)
    places = {Path(place) for place, *_ in found}
    assert len(places) == 2
    assert not any(place.exists() for place in places)
    monkeypatch.setenv("OMPI_MCA_orte_tmpdir_base", str(exp.exp_path))
    exp.start(models[0])
    assert output(exp, models[0]).split()[0] == str(exp.exp_path)


def test_open_mpi_ends_a_launch_whose_time_is_over(exp):
    settings = exp.create_run_settings("sleep", ["600"], "mpirun")
    settings.set_time(seconds=1)
    model = exp.create_model("long", settings)
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert "time limit" in output(exp, model, "err")


def test_mpich_is_recognised_and_binds_as_it_was_asked(exp, mpich):
    cpu = min(os.sched_getaffinity(0))
    code = SAY + "; grep Cpus_allowed_list /proc/self/status"
    settings = exp.create_run_settings("bash", ["-c", code, "_", "x"], "mpiexec")
    settings.set_cpu_bindings([cpu])
    model = exp.create_model("bound", settings)
    assert "-bind-to" in exp.preview(model)
    exp.start(model)
    assert output(exp, model).split() == ["x", "0", "1", "Cpus_allowed_list:", str(cpu)]


@pytest.mark.parametrize(("said", "library"), [("auto", "openmpi"), ("hydra", "hydra")])
def test_the_site_s_word_counts_more_than_the_command_s(exp, said, library):
    site = load_site({**os.environ, "HPCORCH_MPI": said})
    scheduler, _ = choose_scheduler("local", site, os.environ)
    settings = exp.create_run_settings("true", run_command="mpirun")
    settings.set_tasks(2)
    plan = Builder(site, scheduler, os.environ).model(
        exp.create_model("m", settings), (), Path(exp.exp_path)
    )
    (job,) = plan.jobs
    assert isinstance(job, ModelJob)
    assert job.forward_environment == (library == "openmpi")


@pytest.fixture
def apptainer(tmp_path, monkeypatch):
    """A stand-in on PATH; what it was given is in the file returned."""
    record = tmp_path / "given.json"
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER.format(python=sys.executable, record=str(record)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("APPTAINER_BIND", "/site")
    return record


@pytest.mark.redis
def test_a_container_gets_the_program_s_variables_and_directories(exp, apptainer):
    code = 'echo "$V|$SSDB|${HPCORCH_CREDENTIALS##*/}|$HPCORCH_INDEX"'
    database = exp.create_database(port=free_port())
    image = Container("image.sif", args="--cleanenv", mount={"/data": "/in side"})
    settings = exp.create_run_settings(
        "bash", ["-c", code], env_vars={"V": "a,b 'c'", "not-a-name": 1}, container=image
    )
    model = exp.create_model("inside", settings)
    exp.start(database, model)
    address = database.get_address()[0]
    assert output(exp, model) == f"a,b 'c'|{address}|credentials|0\n"
    words, seen, where = json.loads(apptainer.read_text())
    start = ["exec", "--cleanenv", "--bind", "/data:/in side", "image.sif"]
    assert words == [*start, "bash", "-c", code]
    top = Path(exp.exp_path)
    assert seen["APPTAINER_BIND"] == f"/site,{top / 'inside'},{top / 'orchestrator'}"
    assert where == str(top / "inside")
    assert "APPTAINERENV_not-a-name" not in seen


@pytest.mark.redis
def test_a_container_sees_the_socket_of_the_database_beside_it(exp, apptainer):
    settings = exp.create_run_settings(
        "bash", ["-c", 'test -S "${SSDB#unix://}"'], container=Container("image.sif")
    )
    model = exp.create_model("near", settings)
    model.colocate_db_uds()
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]
    _, seen, _ = json.loads(apptainer.read_text())
    assert seen["APPTAINER_BIND"].startswith("/site,")
    assert_mounted(seen)


def assert_mounted(seen):
    """The last directory of the mounted ones has all that is needed of the database beside it."""
    private = Path(seen["APPTAINER_BIND"].split(",")[-1])
    assert Path(seen["APPTAINERENV_SSDB"].removeprefix("unix://")).is_relative_to(private)
    assert Path(seen["APPTAINERENV_HPCORCH_CREDENTIALS"]).is_relative_to(private)


@pytest.mark.redis
@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_containers_of_many_processes_share_the_database_beside_them(
    exp, apptainer, mpich, launcher
):
    """What starts the server runs outside of the containers, of which each holds one process."""
    code = 'test -S "${SSDB#unix://}" && echo "$SSDB $V $HPCORCH_INDEX"'
    settings = exp.create_run_settings(
        "bash",
        ["-c", code],
        launcher,
        {"oversubscribe": None} if launcher == "mpirun" else {},
        env_vars={"V": "it's"},
        container=Container("image.sif", args="--cleanenv"),
    )
    settings.set_tasks(3)
    model = exp.create_model("near", settings)
    model.colocate_db_uds(custom_pinning=[])
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    lines = output(exp, model).splitlines()
    assert len(lines) == 3
    assert len(set(lines)) == 1
    assert lines[0].endswith(" it's 0")
    words, seen, _ = json.loads(apptainer.read_text())
    assert words == ["exec", "--cleanenv", "image.sif", "bash", "-c", code]
    assert_mounted(seen)


def test_a_missing_container_runtime_is_refused(exp):
    container = Container("image.sif", runtime="singularity")
    model = exp.create_model("m", exp.create_run_settings("only-inside", container=container))
    with pytest.raises(
        InputError, match="container of m is 'singularity': there is no such program"
    ):
        exp.start(model)


def test_lines_of_the_user_s_run_first_as_at_a_prompt(exp):
    model = bash_model(exp, "ready", 'echo "$GREETING $UNSET"')
    model.run_settings.set_mpmd_preamble(["export GREETING='it''s \"me\"'"])
    model.batch.add_preamble(["false", 'echo "first $NOT_SET"', "export UNSET=$NOT_SET."])
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]
    assert output(exp, model) == 'first \nits "me" .\n'


def test_lines_of_the_user_s_may_end_the_job(exp):
    model = bash_model(exp, "refused", "echo never")
    model.batch.add_preamble("exit 7")
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert output(exp, model) == ""


def test_what_lines_of_the_user_s_change_in_bash_does_not_reach_the_job_s_own_work(exp):
    model = bash_model(exp, "ready", "exit 3")
    model.run_settings.set_mpmd_preamble(["IFS=:", "trap 'echo the end' EXIT", "trap '' TERM"])
    exp.start(model)
    record = json.loads((directory(exp, model) / "exit/0").read_text())
    assert record["reason"] == "the program ended with exit code 3"
    assert output(exp, model) == "the end\n"
    sleeper = bash_model(
        exp, "sleeper", "trap 'echo asked; exit 0' TERM; touch up; sleep 99 & wait"
    )
    sleeper.run_settings.set_mpmd_preamble("trap 'echo mine' TERM")
    exp.start(sleeper, block=False)
    until((directory(exp, sleeper) / "up").exists, "the program")
    exp.stop(sleeper)
    assert output(exp, sleeper) == "asked\n"


def test_the_mask_that_lines_of_the_user_s_set_is_the_program_s(exp):
    model = bash_model(exp, "shared", "touch made")
    model.run_settings.set_mpmd_preamble(["umask 027", "touch ../beside"])
    exp.start(model)
    where = directory(exp, model)
    assert (where / "made").stat().st_mode & 0o777 == 0o640
    assert (where / "exit/0").stat().st_mode & 0o777 == 0o600


def test_a_last_word_of_any_length_does_not_hold_a_job_up(exp):
    model = bash_model(exp, "wordy", "echo never")
    model.batch.add_preamble(["head -c 3000000 /dev/zero | tr '\\0' '\"' >&2", "exit 7"])
    exp.start(model, block=False)
    until(lambda: exp.finished(model), "the end of the job")
    assert (directory(exp, model) / "exit/0").stat().st_size < 10000


@pytest.mark.redis
def test_lines_of_the_user_s_run_before_a_database_too(exp):
    database = exp.create_database(port=free_port())
    database.batch.add_preamble("echo before the server")
    exp.start(database)
    log = Path(exp.exp_path, "orchestrator/logs/orchestrator.0.out").read_text()
    assert log.startswith("before the server\n")
