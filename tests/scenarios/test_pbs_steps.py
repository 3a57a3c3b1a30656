"""Inside a PBS job: databases and programs become steps of it, on its nodes and in its sessions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
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


def inside(
    pbs: FakePbs, path: Path, code: str, starter: str, *args: str, exports: Sequence[str] = ()
) -> str:
    """Submit a job of three nodes that runs a driver, its arguments as bash reads them.

    `exports` are lines of bash before it. Returns the job's id.
    """
    driver = path / "driver.py"
    driver.write_text(NEW + code)
    words = " ".join(args)
    (path / "job.sh").write_text(
        "#!/bin/bash\n"
        "#PBS -l select=3:ncpus=2:mpiprocs=2\n#PBS -l place=scatter:excl\n#PBS -j oe -k doe\n"
        f"#PBS -o {path}/job.log\n"
        f"cd {path}\n"
        + "".join(f"{line}\n" for line in exports)
        + f"export HPCORCH_PBS_STARTER={starter} HPCORCH_INTERFACE=lo REDIS_PATH={DEBIAN_SERVER}\n"
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


@pytest.mark.parametrize(("starter", "shards", "each"), [("pbsdsh", 3, 1), ("pbs_tmrsh", 5, 2)])
def test_shards_are_spread_over_the_nodes_of_the_job(pbs, tmp_path, starter, shards, each):
    code = """
database = exp.create_database(db_nodes=int(sys.argv[2]), shards_per_host=int(sys.argv[3]))
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
    job = inside(pbs, tmp_path, code, starter, "pass", str(shards), str(each))
    marker = tmp_path / "lab/reader/exit/0"
    until(marker.exists, "the end of the program", 60)
    assert [node_of(tmp_path, index) for index in range(shards)] == [
        f"PBS_NODENUM={index // each}" for index in range(shards)
    ]
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
