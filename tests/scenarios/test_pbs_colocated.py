"""Databases beside programs of several processes and nodes, in PBS jobs and as steps of one.

The nodes of the pretended PBS are this machine, but have names of their own; MPICH reaches them by
what stands in for rsh there, pbs_tmrsh.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.scenarios import table, told
from tests.fakebin.pbs import FakePbs
from tests.helpers import processes, until
from tests.local.ranks import ASK, TELL_CPUS, launcher_environment
from tests.scenarios.grounds import Pbs
from tests.scenarios.test_pbs_steps import inside

pytestmark = pytest.mark.redis

RSH = """\
#!/bin/sh
host=$1
shift
exec pbs_tmrsh "$host" sh -c "$*"
"""
# What a test wants is in the first argument; in the second is what the job's script runs first.
MODEL = """
nodes, tasks, transport, launcher, code = json.loads(sys.argv[1])
settings = exp.create_run_settings("/bin/bash", ["-c", code, "_", str(tasks // nodes)], launcher)
settings.set_nodes(nodes)
settings.set_tasks(tasks)
settings.set_tasks_per_node(tasks // nodes)
if launcher == "mpirun":
    settings.run_args = {"oversubscribe": None}
batch = exp.create_batch_settings()
batch.add_preamble(json.loads(sys.argv[2]))
batch = batch if exp.launcher == "pbs" else None
model = exp.create_model("m", settings, batch_settings=batch)
if transport == "uds":
    model.colocate_db_uds(security="open", custom_pinning=[1])
else:
    model.colocate_db_tcp(security="open", custom_pinning=[1])
"""
RUN = MODEL + "exp.start(model)\ntell(out=output(model), summary=exp.summary())\n"


@pytest.fixture
def ground(own_surroundings: None, tmp_path: Path):
    with FakePbs() as pbs:
        pbs.need_names()
        yield Pbs(pbs, tmp_path)
        assert pbs.complaints() == ""


@pytest.fixture
def modules(tmp_path: Path) -> list[str]:
    """What `module load` of an MPI would do in a job."""
    env = launcher_environment(tmp_path / "launchers")
    rsh = tmp_path / "launchers/rsh"
    rsh.write_text(RSH)
    rsh.chmod(0o755)
    mpich = {"HYDRA_LAUNCHER": "rsh", "HYDRA_LAUNCHER_EXEC": str(rsh), "HYDRA_IFACE": "lo"}
    env |= {**mpich, "PATH": f"{rsh.parent}:$PATH"}
    return [f'export {name}="{value}"' for name, value in env.items()]


def facts(nodes: int, tasks: int, transport: str, launcher: str, code: str = TELL_CPUS) -> str:
    return json.dumps([nodes, tasks, transport, launcher, ASK + code])


def check_places(out: str, nodes: int, tasks: int) -> None:
    """Each node has one server, on CPU 1, and all processes of the node have met there."""
    found = [json.loads(line) for line in out.splitlines()]
    servers = Counter((item["address"], item["pid"]) for item in found)
    assert list(servers.values()) == [tasks // nodes] * nodes
    assert {(item["server"], item["me"]) for item in found} == {("1", "0")}


@pytest.mark.parametrize(
    ("nodes", "tasks", "transport", "launcher"),
    [
        (2, 4, "uds", "mpiexec"),
        (2, 4, "tcp", "mpiexec"),
        (1, 2, "uds", "mpirun"),
        (1, 1, "tcp", "none"),
    ],
)
def test_each_node_of_a_job_has_one_server(ground, modules, nodes, tasks, transport, launcher):
    words = (facts(nodes, tasks, transport, launcher), json.dumps(modules))
    said = ground.lab.driver(RUN, *words)
    assert table(said["summary"])["m"]["Status"] == "Completed", said["out"]
    check_places(said["out"], nodes, tasks)
    logs = ground.lab.cli("logs", "lab", "m", "--server", "--json")
    names = [Path(log["path"]).name for log in json.loads(logs)["logs"]]
    assert names == [f"m.0.cn{number + 1}.log" for number in range(nodes)]
    assert list(ground.pbs.root.glob("tmp/*/hpcorch.*")) == []


def test_the_exit_code_of_a_process_on_another_node_is_the_job_s(ground, modules):
    code = "meet 2 start; exit $(($(uname -n | tr -d cn) == 2 ? 7 : 0))"
    said = ground.lab.driver(RUN, facts(2, 4, "uds", "mpiexec", code), json.dumps(modules))
    row = table(said["summary"])["m"]
    assert (row["Status"], row["Returncode"]) == ("Failed", "7")


def test_a_deleted_job_leaves_nothing_on_any_node(ground, modules):
    code = f'touch "{ground.path}/up.$$"; sleep 600'
    words = (facts(2, 4, "uds", "mpiexec", code), json.dumps(modules))
    ground.lab.driver(MODEL + "exp.start(model, block=False)", *words)
    until(lambda: len(list(ground.path.glob("up.*"))) == 4, "the start of four processes")
    assert len(list(ground.pbs.root.glob("tmp/*/hpcorch.*.cn*"))) == 2
    assert ground.stop()["m"][0] == "Cancelled"
    until(lambda: not processes(ground.path), "the end of all processes")
    assert list(ground.pbs.root.glob("tmp/*/hpcorch.*")) == []


def test_a_step_of_a_job_has_one_server_on_each_of_its_nodes(ground, modules):
    words = [shlex.quote(text) for text in (facts(2, 4, "uds", "mpiexec"), "[]")]
    inside(ground.pbs, ground.path, RUN, "pbsdsh", *words, exports=modules)
    until(lambda: not ground.pbs.queued(), "the end of the job", 60)
    said = told((ground.path / "job.log").read_text())
    assert table(said["summary"])["m"]["Status"] == "Completed", said.text
    check_places(said["out"], 2, 4)
