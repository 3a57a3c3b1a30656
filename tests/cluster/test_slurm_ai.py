"""AI models on Slurm: beside the ranks of a program, and on the shards of a cluster."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cluster.scenarios import Lab, table
from tests.helpers import until
from tests.inference import models
from tests.local.ranks import launcher_environment
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

# A time step of a simulation: every rank lets the model find its next state.
RANK = """
import os
import numpy as np
from hpcorch import Client
rank = int(os.environ["SLURM_PROCID"])
with Client() as client:
    state = np.full((1, 64), rank, np.float32)
    first = client.infer("closure", state)[0]
    client.put_tensor(f"in.{rank}", state)
    client.run_model("closure", f"in.{rank}", f"out.{rank}")
    assert np.allclose(client.get_tensor(f"out.{rank}"), first, atol=1e-5)
    print(rank, first.shape)
"""


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


def torchscript() -> bytes:
    import torch

    out = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(64, 10)), out)
    return out.getvalue()


# Two MPI ranks on each of two nodes; the first of each node kills its worker before the last step.
MPI_RANK = """
import os, signal
from mpi4py import MPI
import numpy as np
from hpcorch import Client
world = MPI.COMM_WORLD
with Client() as client:
    state = np.full((1, 64), world.rank, np.float32)
    first = client.infer("closure", state)[0]
    client.put_tensor(f"in.{world.rank}", state)
    client.run_model("closure", f"in.{world.rank}", f"out.{world.rank}")
    world.Barrier()
    here = [rank for rank in range(world.size) if client.tensor_exists(f"out.{rank}")]
    if world.rank == here[0]:
        client.set_source("pid", "def pid():\\n    import os\\n    return os.getpid()", "PYTHON")
        os.kill(int(client.infer_script("pid", "pid", [])[0]), signal.SIGKILL)
    world.Barrier()
    last = client.infer("closure", state)[0]
    assert np.allclose(client.get_tensor(f"out.{world.rank}"), first, atol=1e-5)
    assert np.allclose(last, first, atol=1e-5)
    for said in world.gather((MPI.Get_processor_name(), here)) or ():
        print(*said)
"""


def test_mpi_ranks_on_several_nodes_infer_with_the_worker_of_their_node(lab, shared_path):
    (shared_path / "closure.onnx").write_bytes(models.mlp())
    code = """
    settings = exp.create_run_settings(sys.executable, ["-c", sys.argv[1]], run_command="mpirun")
    settings.set_nodes(2)
    settings.set_tasks(4)
    settings.set_tasks_per_node(2)
    model = exp.create_model("sim", settings)
    model.colocate_db_uds(workers=1)
    model.add_ml_model("closure", "ONNX", model_path=sys.argv[2], batch_size=8)
    exp.start(model)
    tell(out=output(model), err=output(model, "err"), summary=exp.summary())
    """
    env = launcher_environment(lab.path / "launchers")
    found = lab.driver(code, MPI_RANK, shared_path / "closure.onnx", env=env)
    told = [line.split(maxsplit=1) for line in found["out"].splitlines()]
    assert [here for _, here in told] == ["[0, 1]"] * 2 + ["[2, 3]"] * 2, found["err"]
    assert len({node for node, _ in told}) == 2
    assert table(found["summary"])["sim"]["Status"] == "Completed"
    logs = [path.read_text() for path in (lab / "sim/logs").glob("sim.0.node*.worker.0.log")]
    assert len(logs) == 2
    assert all(
        "model worker 0 ended with exit code 137 and is started again" in log for log in logs
    )


@pytest.mark.parametrize(
    ("backend", "make"),
    [("ONNX", models.mlp), pytest.param("TORCH", torchscript, marks=pytest.mark.ai)],
)
def test_programs_of_other_nodes_infer_with_the_workers_of_a_cluster(
    lab, shared_path, backend, make
):
    (shared_path / "model").write_bytes(make())
    code = """
    database = exp.create_database(db_nodes=3, workers=1)
    database.add_ml_model("closure", sys.argv[2], model_path=sys.argv[3])
    settings = exp.create_run_settings(sys.executable, ["-c", sys.argv[1]], run_command="srun")
    settings.set_tasks_per_node(2)
    model = exp.create_model("sim", settings)
    exp.start(database, model)
    tell(out=output(model), err=output(model, "err"), summary=exp.summary())
    exp.stop()
    """
    found = lab.driver(code, RANK, backend, shared_path / "model")
    assert sorted(found["out"].splitlines()) == [f"{n} (1, 10)" for n in range(2)], found["err"]
    until(lab.nothing_runs, "the end of all processes")
