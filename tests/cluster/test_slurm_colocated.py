"""Databases beside programs of several nodes and processes on Slurm."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.scenarios import Lab, table
from tests.helpers import until
from tests.local.ranks import ASK, launcher_environment
from tests.testbed.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.redis]

MEET_AND_TELL = """
meet 3 start || exit 9
echo "$(uname -n) $SSDB $(server_info run_id) $(ask GET came-start)"
meet 3 end || exit 9
"""
# A program of six processes on two nodes, whose bash code is the first argument.
SIX = """
code = sys.argv[1]
settings = exp.create_run_settings("/bin/bash", ["-c", code, "_", *sys.argv[2:]])
settings.set_nodes(2)
settings.set_tasks(6)
settings.set_tasks_per_node(3)
model = exp.create_model("six", settings)
model.colocate_db_uds(security="open")
"""


@pytest.fixture
def node_dir(cluster: Cluster) -> Iterator[Path]:
    """TMPDIR of all nodes, which share it here: what one node has there is no other's business."""
    path = Path(tempfile.mkdtemp(dir=cluster.shared, prefix="n"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


def one_server_a_node(said: str) -> bool:
    """Whether three processes on each of two nodes told of one server each."""
    lines = said.splitlines()
    nodes = {line.split()[0] for line in lines}
    return (len(lines), len(set(lines)), len(nodes)) == (6, 2, 2)


@pytest.mark.parametrize("inside", [[], ["salloc", "-N2", "--ntasks-per-node=3"]])
def test_each_node_has_one_server_for_all_its_processes(lab, node_dir, inside):
    code = SIX + "exp.start(model)\ntell(out=output(model), summary=exp.summary())"
    env = {"TMPDIR": str(node_dir)}
    found = lab.driver(code, ASK + MEET_AND_TELL, inside=inside, env=env)
    assert one_server_a_node(found["out"]), found["out"]
    assert table(found["summary"])["six"]["Status"] == "Completed"
    assert list(node_dir.iterdir()) == []
    logs = sorted(path.name for path in (lab / "six/logs").glob("six.0.node*.log"))
    assert len(logs) == 2


def test_several_programs_of_one_launch_share_their_node_s_server(lab, node_dir):
    code = """
    settings = exp.create_run_settings("/bin/bash", ["-c", sys.argv[1], "_", "a"])
    settings.set_tasks(2)
    other = exp.create_run_settings("/bin/bash", ["-c", sys.argv[1], "_", "it's"])
    settings.make_mpmd(other)
    model = exp.create_model("both", settings)
    model.colocate_db_uds(security="open")
    exp.start(model)
    tell(out=output(model), summary=exp.summary())
    """
    program = 'meet 3 start; echo "$SLURM_PROCID $1 $(ask GET came-start)"; meet 3 end'
    found = lab.driver(code, ASK + program, env={"TMPDIR": str(node_dir)})
    assert table(found["summary"])["both"]["Status"] == "Completed"
    assert sorted(found["out"].splitlines()) == ["0 a 3", "1 a 3", "2 it's 3"]
    assert list(node_dir.iterdir()) == []


def test_a_cancelled_program_leaves_nothing_on_any_node(lab, node_dir):
    code = SIX + "exp.start(model, block=False)"
    program = 'trap "ask INCR asked; exit 3" TERM; touch "$1/up.$(uname -n).$$"; sleep 600 & wait'
    lab.driver(code, ASK + program, lab.path, env={"TMPDIR": str(node_dir)})
    until(lambda: len(list(lab.path.glob("up.*"))) == 6, "the start of six processes")
    assert len(list(node_dir.glob("hpcorch.*.node*"))) == 2
    lab.cli("stop", "lab")
    until(lab.nothing_runs, "the end of all processes")
    assert list(node_dir.iterdir()) == []


def test_the_exit_code_of_one_process_on_another_node_is_the_job_s(lab, node_dir):
    code = SIX + "exp.start(model)\ntell(summary=exp.summary())"
    program = "meet 3 start; exit $((SLURM_PROCID == 5 ? 7 : 0))"
    found = lab.driver(code, ASK + program, env={"TMPDIR": str(node_dir)})
    row = table(found["summary"])["six"]
    assert (row["Status"], row["Returncode"]) == ("Failed", "7")
    assert list(node_dir.iterdir()) == []


def test_killed_processes_take_no_server_from_the_others_of_their_node(lab, node_dir):
    """On each node the first process is killed; it may be the one that had the server started."""
    code = SIX + "exp.start(model)\ntell(out=output(model), summary=exp.summary())"
    program = """
    meet 3 start
    if ((SLURM_LOCALID == 0)); then kill -KILL $PPID $$; fi
    for turn in 1 2 3 4 5; do ask INCR alive >/dev/null || echo lost; sleep 0.05; done
    meet 2 end && echo "$(uname -n) $(ask GET alive)"
    """
    found = lab.driver(code, ASK + program, env={"TMPDIR": str(node_dir)})
    said = sorted(found["out"].splitlines())
    assert [line.split()[1] for line in said] == ["10"] * 4, said
    assert len(set(said)) == 2
    row = table(found["summary"])["six"]
    assert (row["Status"], row["Returncode"]) == ("Failed", "137")
    assert list(node_dir.iterdir()) == []


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec"])
def test_mpi_s_own_launchers_start_processes_on_all_nodes(lab, node_dir, launcher):
    """They pass on few variables to other nodes, or none."""
    use = "settings.run_command = sys.argv[2]\nsettings.set_nodes"
    code = SIX.replace("settings.set_nodes", use, 1) + "exp.start(model)\ntell(out=output(model))"
    folder = lab.path / "launchers"
    env = {"TMPDIR": str(node_dir), **launcher_environment(folder)}
    found = lab.driver(code, ASK + MEET_AND_TELL, launcher, env=env)
    assert one_server_a_node(found["out"]), found["out"]
    assert list(node_dir.glob("hpcorch.*")) == []
