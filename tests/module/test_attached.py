"""Unmodified SmartRedis programs run the models and scripts that their driver has attached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcorch import Experiment, Model, TaskState, Workers
from tests.helpers import directory, free_port, output, processes, until
from tests.inference import models
from tests.module.databases import PROGRAMS

pytestmark = pytest.mark.redis

ROWS = models.weights(3, 64, seed=5)


def twice(x):
    return x * 2


def described(exp: Experiment, peer: str, folder: Path, *arguments: str) -> Model:
    """Describe a SmartRedis program that gets `arguments` after its folder."""
    words = [str(PROGRAMS / "smartredis_attached.py"), str(folder), *arguments]
    return exp.create_model("app", exp.create_run_settings(peer, words))


def check(exp: Experiment, model: Model) -> None:
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED], output(exp, model, "err")
    printed = output(exp, model)
    assert "2097152 bytes of inputs, above this worker's limit of 1048576" in printed
    assert printed.endswith("all is well\n")
    until(lambda: not processes(directory(exp, model)), "the end of all processes")


@pytest.mark.parametrize("transport", ["uds", "tcp"])
def test_a_program_beside_its_database_runs_what_is_attached(exp, peer, tmp_path, transport):
    np.save(tmp_path / "rows.npy", ROWS)
    np.save(tmp_path / "net.npy", models.mlp_result(ROWS))
    limited = Workers(1, threads=1, max_request="1mb")
    if transport == "uds":
        model = described(exp, peer, tmp_path, "", "twice", "twice")
        model.colocate_db_uds(security="smartredis", workers=limited)
    else:
        model = described(exp, peer, tmp_path, "local", "twice", "twice")
        model.colocate_db_tcp(
            port=free_port(), db_identifier="local", security="smartredis", workers=limited
        )
    model.add_ml_model("net", "ONNX", model=models.mlp())
    model.add_function("twice", twice, language="PYTHON")
    check(exp, model)


@pytest.mark.ai
def test_attached_torchscript_is_run(exp, peer, tmp_path):
    import torch

    np.save(tmp_path / "rows.npy", ROWS)
    net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU()).eval()
    torch.jit.save(torch.jit.script(net), str(tmp_path / "net.pt"))
    with torch.no_grad():
        np.save(tmp_path / "net.npy", net(torch.from_numpy(ROWS)).numpy())
    model = described(exp, peer, tmp_path, "", "s", "two")
    model.colocate_db_uds(security="smartredis", workers=Workers(1, threads=1, max_request="1mb"))
    model.add_ml_model("net", "TORCH", model_path=str(tmp_path / "net.pt"))
    model.add_script("s", script="def one(x):\n    return x\n\ndef two(x):\n    return x + x\n")
    check(exp, model)
