"""AI models on Slurm: beside the ranks of a program, and on the shards of a cluster."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cluster.scenarios import Lab, table
from tests.inference import models
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


def test_the_ranks_of_a_program_infer_with_the_model_of_their_node(lab, shared_path):
    (shared_path / "closure.onnx").write_bytes(models.mlp())
    code = """
    settings = exp.create_run_settings(sys.executable, ["-c", sys.argv[1]], run_command="srun")
    settings.set_tasks_per_node(3)
    model = exp.create_model("sim", settings)
    model.colocate_db_uds(custom_pinning=[], workers=1)
    model.add_ml_model("closure", "ONNX", model_path=sys.argv[2], batch_size=8)
    exp.start(model)
    tell(out=output(model), err=output(model, "err"), summary=exp.summary())
    """
    found = lab.driver(code, RANK, shared_path / "closure.onnx")
    assert sorted(found["out"].splitlines()) == [f"{n} (1, 10)" for n in range(3)], found["err"]
    assert table(found["summary"])["sim"]["Status"] == "Completed"


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
    assert lab.nothing_runs()
