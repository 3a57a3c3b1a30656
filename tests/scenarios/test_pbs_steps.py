"""Inside a PBS job: databases and programs become steps of it, on its nodes and in its sessions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.scenarios import NEW, WAITER, told
from tests.fakebin.pbs import FakePbs
from tests.helpers import DEBIAN_SERVER, processes, until

pytestmark = pytest.mark.redis


@pytest.fixture
def pbs() -> Iterator[FakePbs]:
    with FakePbs() as pbs:
        yield pbs


def inside(pbs: FakePbs, path: Path, code: str, starter: str, *args: str) -> str:
    """Submit a job of three nodes that runs a driver; return the job's id."""
    driver = path / "driver.py"
    driver.write_text(NEW + code)
    words = " ".join(args)
    (path / "job.sh").write_text(
        "#!/bin/bash\n"
        "#PBS -l select=3:ncpus=2:mpiprocs=2\n#PBS -l place=scatter:excl\n#PBS -j oe -k doe\n"
        f"#PBS -o {path}/job.log\n"
        f"cd {path}\n"
        f"export HPCORCH_PBS_STARTER={starter} HPCORCH_INTERFACE=lo REDIS_PATH={DEBIAN_SERVER}\n"
        f"export XDG_STATE_HOME={path}/state XDG_CONFIG_HOME={path}/config\n"
        f"{sys.executable} {driver} {words}\n"
    )
    done = pbs.run("qsub", "job.sh", cwd=path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def node_of(path: Path, index: int) -> str:
    """Return on which node of the job a shard is, by its process's own variables."""
    pid = json.loads((path / f"lab/orchestrator/shards/{index}.json").read_text())["pid"]
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(word.decode() for word in words if word.startswith(b"PBS_NODENUM="))


@pytest.mark.parametrize("starter", ["pbsdsh", "pbs_tmrsh"])
def test_shards_are_on_distinct_nodes_of_the_job(pbs, tmp_path, starter):
    code = """
database = exp.create_database(db_nodes=3)
exp.start(database)
client = Client(cluster=True, address=database.get_address()[0])
client.put_tensor("x", np.arange(5))
reader = python_model("reader", sys.argv[1])
exp.start(reader)
while not Path("go").exists():
    time.sleep(0.05)
exp.stop()
tell(launcher=exp.launcher, summary=exp.summary(), jobs=os.popen("qselect").read().split())
"""
    reader = tmp_path / "reader"
    reader.write_text("")
    job = inside(pbs, tmp_path, code, starter, "pass")
    marker = tmp_path / "lab/reader/exit/0"
    until(marker.exists, "the end of the program", 60)
    assert {node_of(tmp_path, index) for index in range(3)} == {
        "PBS_NODENUM=0",
        "PBS_NODENUM=1",
        "PBS_NODENUM=2",
    }
    (tmp_path / "go").touch()
    until(lambda: not pbs.queued(), "the end of the job", 60)
    said = told((tmp_path / "job.log").read_text())
    assert said["launcher"] == "pbs-steps", said.text
    # No further job was submitted.
    assert said["jobs"] == [job]
    assert [line.split("|")[7].strip() for line in said["summary"].splitlines()[2:]] == [
        "Cancelled",
        "Completed",
    ]
    assert f"| {job}(" in said["summary"]


def test_nothing_survives_the_end_of_the_job(pbs, tmp_path):
    """It is deleted while its driver waits; MOM finds all of it by its sessions."""
    code = """
database = exp.create_database(db_nodes=3)
exp.start(database)
exp.start(python_model("waiter", Path("waiter").read_text(), "never"))
"""
    (tmp_path / "waiter").write_text(WAITER)
    job = inside(pbs, tmp_path, code, "pbsdsh")
    out = tmp_path / "lab/waiter/waiter.out"
    until(lambda: out.exists() and "waiting" in out.read_text(), "the program", 60)
    pbs.run("qdel", job)
    until(lambda: not pbs.queued(), "the end of the job")
    until(lambda: not processes(tmp_path), "the end of all processes")
    assert not (tmp_path / "lab/orchestrator/address.env").exists()
    assert len(list((tmp_path / "lab/orchestrator/exit").iterdir())) == 3


def test_more_shards_than_nodes_are_refused_with_both_numbers(pbs, tmp_path):
    code = """
try:
    exp.start(exp.create_database(db_nodes=4))
except HpcorchError as error:
    tell(refused=error.message)
"""
    inside(pbs, tmp_path, code, "pbsdsh")
    until(lambda: not pbs.queued(), "the end of the job", 60)
    said = told((tmp_path / "job.log").read_text())
    assert said["refused"] == (
        "database orchestrator did not start: shard 0: PBS gave the job 3 node(s) for 4 tasks"
    )
