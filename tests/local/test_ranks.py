"""Programs of many processes on this machine, with a database beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpcorch import TaskState
from tests.helpers import directory, free_port, output, until
from tests.local.ranks import (
    ASK,
    CROWDED,
    MEET_AND_TELL,
    colocate,
    one_server,
    ranks_model,
    use_launchers,
    use_simple_mpirun,
)

pytestmark = pytest.mark.redis

UGLY = ["", " ", "a b", "'", '"', "$(id)", "`id`", "\\", "new\nline", "*", "-n", ":", "ü目", "--"]


@pytest.fixture
def launchers(tmp_path, monkeypatch, node_dir):
    use_launchers(tmp_path / "launchers", monkeypatch)


@pytest.fixture
def simple_mpirun(tmp_path, monkeypatch, node_dir):
    use_simple_mpirun(tmp_path / "launchers", monkeypatch)


@pytest.mark.parametrize(("launcher", "transport"), [("mpirun", "tcp"), ("mpiexec", "uds")])
def test_64_processes_find_one_server(exp, node_dir, launchers, launcher, transport):
    model = ranks_model(exp, "race", launcher, 64, MEET_AND_TELL, ["64"])
    colocate(model, transport, free_port())
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    assert one_server(output(exp, model), 64)
    assert list(node_dir.glob("hpcorch.*")) == []


def test_each_member_of_an_ensemble_has_a_server_for_its_processes(exp, node_dir, launchers):
    settings = exp.create_run_settings(
        "/bin/bash", ["-c", ASK + MEET_AND_TELL, "_", "2"], "mpirun", CROWDED
    )
    settings.set_tasks(2)
    ensemble = exp.create_ensemble("many", replicas=3, run_settings=settings)
    for member in ensemble:
        colocate(member, "uds")
    exp.start(ensemble)
    names = [f"many_{number}" for number in range(3)]
    said, errors = (
        [Path(exp.exp_path, "many", name, f"{name}.{ending}").read_text() for name in names]
        for ending in ("out", "err")
    )
    assert exp.get_status(ensemble) == [TaskState.COMPLETED] * 3, "\n".join(errors)
    assert [one_server(text, 2) for text in said] == [True] * 3
    assert len(set(said)) == 3
    assert list(node_dir.glob("hpcorch.*")) == []


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_arguments_and_variables_reach_every_process_as_they_are(exp, launchers, launcher):
    code = 'echo "$(printf "<%s>" "$@" "$UGLY" | od -An -v -tx1 | tr -d " \\n")"'
    model = ranks_model(exp, "echo", launcher, 2, code, UGLY)
    model.run_settings.update_env({"UGLY": "\n".join(UGLY)})
    colocate(model, "uds")
    exp.start(model)
    expected = "".join(f"<{word}>" for word in [*UGLY, "\n".join(UGLY)]).encode().hex()
    assert output(exp, model).split() == [expected] * 2


# Each process takes part in real MPI: it prints its rank and the number of ranks after a barrier.
REAL_MPI = """
import ctypes, sys
if sys.argv[1] == "mpiexec":
    mpi, world = ctypes.CDLL("libmpich.so.12", ctypes.RTLD_GLOBAL), ctypes.c_int(0x44000000)
else:
    mpi = ctypes.CDLL("libmpi.so.40", ctypes.RTLD_GLOBAL)
    world = ctypes.byref(ctypes.c_char.in_dll(mpi, "ompi_mpi_comm_world"))
rank, size = ctypes.c_int(), ctypes.c_int()
assert mpi.MPI_Init(None, None) == 0
assert mpi.MPI_Comm_rank(world, ctypes.byref(rank)) == 0
assert mpi.MPI_Comm_size(world, ctypes.byref(size)) == 0
assert mpi.MPI_Barrier(world) == 0
# In one piece, also where PYTHONUNBUFFERED is set: lines of several processes get mixed else.
sys.stdout.write(f"{rank.value} {size.value}\\n")
sys.stdout.flush()
assert mpi.MPI_Finalize() == 0
"""


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_mpi_works_in_processes_with_a_database_beside_them(exp, node_dir, launchers, launcher):
    code = '"$1" -c "$2" "$3"'
    model = ranks_model(exp, "mpi", launcher, 3, code, [sys.executable, REAL_MPI, launcher])
    colocate(model, "uds")
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    assert sorted(output(exp, model).splitlines()) == ["0 3", "1 3", "2 3"]


def test_a_launcher_s_sockets_reach_the_program_and_not_the_server(exp, launchers):
    """MPICH's processes talk to their launcher by a descriptor whose number a variable tells."""
    code = """
of() { readlink "/proc/$1/fd/$PMI_FD" || echo none; }
meet 8 start
printf '%s %s\\n' "$(of $$)" "$(of "$(server_info process_id)")"
meet 8 end
"""
    model = ranks_model(exp, "sockets", "mpiexec", 8, code)
    colocate(model, "uds")
    exp.start(model)
    pairs = [line.split() for line in output(exp, model).splitlines()]
    assert len(pairs) == 8
    assert all(mine.startswith("socket:") and mine != server for mine, server in pairs)


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_the_exit_code_of_one_process_is_the_program_s(exp, node_dir, launchers, launcher):
    code = '(($(ask INCR turn) == 2)) && exit 7; meet 1 never; sleep "$1"'
    model = ranks_model(exp, "bad", launcher, 2, code, ["0"])
    colocate(model, "tcp", free_port())
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert "exit code 7" in exp._ledger.snapshots()[0].reason
    until(lambda: list(node_dir.glob("hpcorch.*")) == [], "the end of the server")


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_a_stopped_program_is_asked_once_and_may_use_its_database_to_the_end(
    exp, node_dir, launchers, monkeypatch, launcher
):
    """Open MPI always waits this long, in seconds, before it kills what it has asked to end."""
    monkeypatch.setenv("OMPI_MCA_odls_base_sigkill_timeout", "15")
    code = """
asked() { ask INCR asked >>"$1"; ((++times)); }
times=0
trap 'asked "$1/asked.$$"' TERM
touch "$1/up.$$"
# A signal that comes before a `wait` would not end it.
until ((times)); do sleep 0.05; done
until (($(ask GET asked) == 2)); do sleep 0.05; done
echo "$times" >"$1/times.$$"
"""
    model = ranks_model(exp, "long", launcher, 2, code, [str(node_dir)])
    colocate(model, "uds")
    exp.start(model, block=False)
    until(lambda: len(list(node_dir.glob("up.*"))) == 2, "the start of both processes")
    exp.stop(model)
    assert [path.read_text() for path in node_dir.glob("times.*")] == ["1\n", "1\n"]
    assert sorted(path.read_text() for path in node_dir.glob("asked.*")) == ["1\n", "2\n"]
    assert exp.get_status(model) == [TaskState.CANCELLED]
    assert list(node_dir.glob("hpcorch.*")) == []


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_a_program_that_is_stopped_while_it_starts_leaves_nothing(
    exp, node_dir, launchers, launcher
):
    for turn in range(3):
        model = ranks_model(exp, f"early{turn}", launcher, 2, "sleep 600")
        colocate(model, "uds")
        exp.start(model, block=False)
        until(lambda: list(node_dir.glob("hpcorch.*/ranks/*")), "the start of a process")
        exp.stop(model)
        assert list(node_dir.glob("hpcorch.*")) == []


def test_a_program_that_is_stopped_before_all_its_processes_came_leaves_nothing(
    exp, node_dir, simple_mpirun, monkeypatch
):
    """Nobody waits for a process that the launcher would have started."""
    monkeypatch.setenv("DELAYS", "0 600")
    model = ranks_model(exp, "early", "simple", 2, "echo over")
    colocate(model, "uds")
    exp.start(model, block=False)
    until(lambda: said_by(exp, model) == "over\n", "the end of the first process")
    exp.stop(model)
    assert list(node_dir.glob("hpcorch.*")) == []


def test_a_process_that_comes_late_finds_what_an_early_one_has_left(
    exp, node_dir, simple_mpirun, monkeypatch
):
    monkeypatch.setenv("DELAYS", "0 1")
    code = 'ask APPEND log "$OMPI_COMM_WORLD_LOCAL_RANK" >/dev/null; ask GET log'
    model = ranks_model(exp, "late", "simple", 2, code)
    colocate(model, "uds")
    exp.start(model)
    assert output(exp, model).split() == ["0", "01"]
    assert list(node_dir.glob("hpcorch.*")) == []


@pytest.mark.parametrize("victim", ["$PPID", "$$", "$PPID $$"])
def test_killed_processes_take_no_server_from_the_others(exp, node_dir, simple_mpirun, victim):
    """The first two of four processes are killed: the wrapper, the program, or both."""
    code = f"""
meet 4 start
if ((OMPI_COMM_WORLD_LOCAL_RANK < 2)); then kill -KILL {victim}; exit 0; fi
for turn in 1 2 3 4 5; do ask INCR alive >/dev/null || echo lost; sleep 0.05; done
meet 2 end && ask GET alive
"""
    model = ranks_model(exp, "killed", "simple", 4, code)
    colocate(model, "uds")
    exp.start(model)
    assert output(exp, model).split() == ["10", "10"]
    assert exp.get_status(model) == [TaskState.FAILED]
    assert "137" in exp._ledger.snapshots()[0].reason
    assert list(node_dir.glob("hpcorch.*")) == []


def test_a_server_ends_when_all_its_processes_are_killed(exp, node_dir, simple_mpirun):
    model = ranks_model(exp, "gone", "simple", 3, "meet 3 start; kill -KILL $PPID $$")
    colocate(model, "tcp", free_port())
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert list(node_dir.glob("hpcorch.*")) == []


def said_by(exp, model):
    """Return what a program has printed; nothing before it has begun."""
    path = Path(exp.exp_path, model.name, f"{model.name}.out")
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("transport", ["tcp", "uds"])
def test_two_programs_at_once_do_not_meet(exp, node_dir, launchers, transport):
    code = (
        'meet 2 start; echo "$SSDB $(ask GET came-start)"; until [[ -e $1 ]]; do sleep 0.05; done'
    )
    gate, port = node_dir / "gate", free_port()
    models = [
        ranks_model(exp, name, launcher, 2, code, [str(gate)])
        for name, launcher in (("one", "mpirun"), ("two", "mpiexec"))
    ]
    for model in models:
        colocate(model, transport, port)
    exp.start(*models, block=False)
    until(
        lambda: all(len(said_by(exp, model).split()) == 4 for model in models),
        "the meeting of both programs' processes",
    )
    gate.touch()
    exp.poll()
    said = [set(output(exp, model).splitlines()) for model in models]
    assert [len(lines) for lines in said] == [1, 1]
    assert said[0] != said[1]
    assert all(line.endswith(" 2") for lines in said for line in lines)


def test_what_a_killed_job_left_is_removed_by_the_next_one(exp, node_dir):
    model = ranks_model(exp, "next", "none", 1, "true")
    colocate(model, "uds")
    name = f"hpcorch.0123456789ab.{Path('/proc/sys/kernel/hostname').read_text().split('.')[0]}"
    dead, strange = node_dir / name.strip(), node_dir / "hpcorch.other"
    for folder in (dead, strange):
        folder.mkdir()
        (folder / "alive").touch()
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    assert not dead.exists()
    assert strange.exists()


def test_a_site_s_own_steps_run_when_the_server_answers_and_before_the_program(
    node_dir, tmp_path, monkeypatch, launchers, new_experiment
):
    templates = tmp_path / "templates/local"
    templates.mkdir(parents=True)
    (templates / "model.sh.j2").write_text(
        '{% extends "!core/local/model.sh.j2" %}\n'
        "{% block before_ranks %}\n"
        'printf "%s\\n" "${HPCORCH_SERVERS[@]}" >>"$HPCORCH_RUN_DIR/loaded"\n'
        "{% endblock %}\n"
    )
    site = tmp_path / "site.toml"
    site.write_text(f'template_dirs = ["{templates.parent}"]\n')
    for path in (templates, templates.parent, templates / "model.sh.j2", site, tmp_path):
        path.chmod(0o755 if path.is_dir() else 0o644)
    monkeypatch.setenv("HPCORCH_SITE", str(site))
    exp = new_experiment(tmp_path / "exp")
    model = ranks_model(exp, "hooked", "mpiexec", 2, "cat loaded")
    colocate(model, "uds", custom_pinning=[])
    exp.start(model)
    lines = output(exp, model).splitlines()
    assert len(lines) == 2, output(exp, model, "err")
    assert lines[0] == lines[1]
    assert lines[0].startswith("- - ")


def test_a_debugged_server_tells_more_in_the_log_of_its_node(exp):
    for name, debug in (("quiet", False), ("chatty", True)):
        model = ranks_model(exp, name, "none", 1, "ask PING")
        colocate(model, "uds", debug=debug)
        exp.start(model)
        (log,) = (directory(exp, model) / "logs").glob(f"{name}.0.*.log")
        assert ("Accepted" in log.read_text()) is debug
