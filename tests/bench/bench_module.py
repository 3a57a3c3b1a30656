"""The server module: large tensors against plain values, and models run for SmartRedis programs.

RedisAI itself cannot be had from any registry. What it took is known in units of put_tensor on the
same server, and so is what is wanted here: run_model 1.2 by TCP, and put, run and get together 8.4
in a cluster of three shards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from hpcorch import Client, Experiment
from tests.bench import measure
from tests.bench.bench_client import peer_python
from tests.helpers import free_port
from tests.inference import models

LARGE = np.ones(1 << 24)
ROUNDS = 12


def bench_large(experiment: Experiment) -> None:
    """One tensor of 128 MiB, with and without the module."""
    plain = experiment.create_database(port=free_port(), db_identifier="plain")
    module = experiment.create_database(port=free_port(), db_identifier="ai", ai_commands=True)
    experiment.start(plain, module)
    with plain.client() as theirs, module.client() as ours:
        for client in (ours, theirs):
            client.put_tensor("x", LARGE)
        out = np.empty_like(LARGE)

        def put(client: Client) -> float:
            return measure.seconds(lambda: client.put_tensor("x", LARGE))

        def get(client: Client) -> float:
            return measure.seconds(lambda: client.get_tensor("x", out=out))

        for name, act in (("put", put), ("get", get)):
            found = measure.paired(partial(act, ours), partial(act, theirs), ROUNDS)
            reference = f"{found[0] * 1e3:.0f} ms, plain {found[1] * 1e3:.0f} ms"
            measure.show(f"128 MiB, {name}", found[0] / found[1], "x", "<= 1.3", reference)
    experiment.stop(plain, module)


def smartredis(python: str, address: str, model: Path) -> dict[str, float]:
    """Return what a SmartRedis program has measured."""
    kind = "Clustered" if "," in address else "Standalone"
    quiet = {"SR_LOG_LEVEL": "QUIET", "SR_SOCKET_TIMEOUT": "60000"}
    words = [python, str(Path(__file__).with_name("smartredis_run.py")), str(model)]
    environment = {**os.environ, **quiet, "SSDB": address, "SR_DB_TYPE": kind}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def bench_models(experiment: Experiment, python: str, model: Path, shards: int) -> None:
    """A small MLP, run for a SmartRedis program and for hpcorch's client."""
    database = experiment.create_database(
        port=free_port(shards),
        db_nodes=shards,
        db_identifier=f"of{shards}",
        security="smartredis",
        workers=1,
    )
    experiment.start(database)
    address = ",".join(database.get_address())
    took = {name: 1e6 * value for name, value in smartredis(python, address, model).items()}
    for name, wanted in (("run", "<= 1.2" if shards == 1 else "any"), ("whole", "<= 8.4")):
        reference = f"{took[name]:.0f} us, put_tensor {took['put']:.0f} us"
        label = "run_model" if name == "run" else "put, run and get"
        title = f"SmartRedis' {label}, {shards} shard(s)"
        measure.show(title, took[name] / took["put"], "x", wanted, reference)
    with Client("," in address, address) as client:
        runs = [measure.seconds(lambda: client.run_model("mlp", "x", "y")) for _ in range(500)]
    own = float(np.median(runs)) * 1e6
    measure.show("the same by hpcorch's client", took["run"] / own, "x", "any", f"{own:.0f} us")
    experiment.stop(database)


def main() -> None:
    python = peer_python()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "mlp.onnx")
        model.write_bytes(models.mlp())
        experiment = Experiment("bench", exp_path=f"{folder}/bench", launcher="local")
        bench_large(experiment)
        if python is None:
            sys.stdout.write("no Python below 3.12 for SmartRedis: its part is left out\n")
            return
        for shards in (1, 3):
            bench_models(experiment, python, model, shards)


if __name__ == "__main__":
    main()
