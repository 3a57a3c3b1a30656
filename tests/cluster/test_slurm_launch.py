"""Settings of a launch on a real Slurm: what the job asks for, and several programs in one step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.scenarios import Lab, table
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


def test_several_programs_are_one_step_with_ranks_in_their_order(lab):
    code = """
    say = 'echo "$1 $V $SLURM_PROCID $SLURM_NTASKS $SLURM_STEP_ID $(hostname)"'
    first = exp.create_run_settings("bash", ["-c", say, "_", "a b"], env_vars={"V": "1"})
    first.set_nodes(2)
    first.set_tasks(2)
    second = exp.create_run_settings("bash", ["-c", say, "_", "c:*"], env_vars={"V": "2"})
    second.set_tasks(3)
    first.make_mpmd(second)
    first.make_mpmd(exp.create_run_settings("bash", ["-c", say, "_", ""]))
    model = exp.create_model("several", first)
    exp.start(model)
    tell(out=output(model), err=output(model, "err"))
    """
    found = lab.driver(code)
    lines = sorted(line.rpartition(" ") for line in found["out"].splitlines())
    assert [said for said, _, _ in lines] == [
        " 1 5 6 0",
        "a b 1 0 6 0",
        "a b 1 1 6 0",
        "c:* 2 2 6 0",
        "c:* 2 3 6 0",
        "c:* 2 4 6 0",
    ], found["err"]
    assert sorted(Counter(node for _, _, node in lines).values()) == [3, 3]


def test_a_batch_job_asks_for_what_its_settings_say(lab):
    code = """
    settings = exp.create_run_settings("bash", ["-c", 'echo "$(hostname) $READY"'])
    settings.set_time(hours=26)
    settings.set_memory_per_node(64)
    settings.set_excluded_hosts("node1,node2")
    batch = exp.create_batch_settings()
    batch.set_exclusive()
    batch.add_preamble(["export READY=yes"])
    model = exp.create_model("asks", settings, batch_settings=batch)
    exp.start(model)
    tell(out=output(model).split(), summary=exp.summary())
    """
    found = lab.driver(code)
    node, ready = found["out"]
    assert node in ("node3", "node4")
    assert ready == "yes"
    job = table(found["summary"])["asks"]["JobID"]
    text = lab.cluster.run(["scontrol", "-o", "show", "job", job]).stdout
    shown = dict(word.split("=", 1) for word in text.split() if "=" in word)
    keys = ("TimeLimit", "MinMemoryNode", "ExcNodeList", "OverSubscribe")
    assert [shown[key] for key in keys] == ["1-02:00:00", "64M", "node[1-2]", "NO"]


def test_steps_of_an_allocation_take_their_settings_by_srun(lab):
    code = """
    settings = exp.create_run_settings("hostname", run_command="srun")
    settings.set_nodes(2)
    settings.set_excluded_hosts("node1")
    settings.set_time(minutes=2)
    model = exp.create_model("two", settings)
    exp.start(model)
    tell(out=output(model).split(), err=output(model, "err"))
    """
    found = lab.driver(code, inside=["salloc", "-N3", "-w", "node1,node2,node3"])
    assert sorted(found["out"]) == ["node2", "node3"], found["err"]


def test_open_mpi_carries_variables_to_every_node(lab):
    code = """
    root = {"OMPI_ALLOW_RUN_AS_ROOT": 1, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": 1}
    settings = exp.create_run_settings(
        "bash", ["-c", 'echo "$(hostname) $V"'], "mpirun", env_vars={"V": "a,b", **root}
    )
    settings.set_nodes(2)
    settings.set_tasks_per_node(1)
    model = exp.create_model("mpi", settings)
    exp.start(model)
    tell(out=output(model), err=output(model, "err"))
    """
    found = lab.driver(code)
    lines = [line.split() for line in found["out"].splitlines()]
    assert len({node for node, _ in lines}) == 2, found["err"]
    assert [value for _, value in lines] == ["a,b", "a,b"]
