"""What a run of an AI model costs beyond the same call in the program itself.

A program with a colocated database and one worker measures itself. First everything shares one CPU,
as a synchronous caller does best; then the program has a CPU of its own, as it has by default.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from hpcorch import Client, Experiment
from hpcorch.describe.workers import Workers
from tests.bench import measure
from tests.inference import models

ROOT = Path(__file__).parents[2]
ROUNDS = 2000
CALLERS = 4
CALLS = 150
WIDE = (256, 2048, 2048, 256)


def microseconds(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median time of one call."""
    for _ in range(rounds // 10):
        action()
    return float(np.median([measure.seconds(action) for _ in range(rounds)])) * 1e6


def in_process(model: bytes) -> Callable[[Any], Any]:
    """Return a call of ONNX Runtime with the worker's own settings."""
    from hpcorch.inference import backends

    loaded = backends.get("ONNX").load(model, backends.LoadOptions(threads=1))
    return lambda array: loaded.run([array])


def bench_small(client: Client, where: str, wanted: tuple[str, str]) -> None:
    """A small MLP: what is added to the call itself."""
    rows = models.weights(1, 64)
    call = in_process(models.mlp())
    client.set_model("mlp", models.mlp(), "ONNX")
    client.put_tensor("in", rows)
    floor = microseconds(lambda: call(rows))
    ways: tuple[tuple[str, Callable[[], object], str], ...] = (
        ("infer, arrays inline", lambda: client.infer("mlp", rows), wanted[0]),
        ("run_model, keys", lambda: client.run_model("mlp", "in", "out"), wanted[1]),
        ("the queue, keys", lambda: client.run_model("mlp", "in", "out", durable=True), "any"),
    )
    for name, way, limit in ways:
        took = microseconds(way, ROUNDS // 4 if limit == "any" else ROUNDS)
        reference = f"{took:.1f} us, in process {floor:.1f} us, ratio {took / floor:.1f}"
        measure.show(f"{name}, {where}", took - floor, "us", limit, reference)


def bench_large(client: Client) -> None:
    """A model that takes tens of milliseconds."""
    image = models.weights(1, 3, 224, 224)
    call = in_process(models.heavy())
    client.set_model("heavy", models.heavy(), "ONNX")
    client.infer("heavy", image)
    ours, theirs = measure.paired(
        lambda: measure.seconds(lambda: client.infer("heavy", image)),
        lambda: measure.seconds(lambda: call(image)),
        rounds=40,
    )
    reference = f"{ours * 1e3:.1f} ms, in process {theirs * 1e3:.1f} ms"
    measure.show("a model of ResNet-18's size", ours / theirs, "x", "<= 1.03", reference)


def caller(name: str, start: Any, done: Any) -> None:
    rows = models.weights(1, WIDE[0])
    with Client() as client:
        client.infer(name, rows)
        start.wait()
        for _ in range(CALLS):
            client.infer(name, rows)
        done.wait()


def throughput(name: str) -> float:
    """Return the runs a second of several callers together."""
    context = get_context("spawn")
    start, done = context.Barrier(CALLERS + 1), context.Barrier(CALLERS + 1)
    callers = [context.Process(target=caller, args=(name, start, done)) for _ in range(CALLERS)]
    for process in callers:
        process.start()
    start.wait()
    took = measure.seconds(done.wait)
    for process in callers:
        process.join()
    return CALLERS * CALLS / took


def bench_batches(client: Client) -> None:
    """Several callers of a model whose weights do not fit a cache, with and without batches."""
    client.set_model("alone", models.mlp(WIDE), "ONNX")
    client.set_model("joined", models.mlp(WIDE), "ONNX", "CPU", 64, CALLERS, 5)
    joined, alone = throughput("joined"), throughput("alone")
    reference = f"{joined:.0f} and {alone:.0f} runs a second of {CALLERS} callers"
    measure.show("throughput with batches", joined / alone, "x", "> 1", reference)


def bench_start(client: Client) -> None:
    """A further worker, from its start until it has a model loaded."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "ready")
        began = time.perf_counter()
        words = ["serve", "--name", "late", "--socket", f"{folder}/socket", "--ready", str(ready)]
        worker = subprocess.Popen(
            [sys.executable, "-m", "hpcorch.inference", *words], stderr=subprocess.DEVNULL
        )
        try:
            while not ready.exists():
                time.sleep(0.002)
            client.load_model("mlp")
            took = time.perf_counter() - began
        finally:
            worker.kill()
            worker.wait()
    measure.show("a worker, from its start to a loaded model", took, "s", "any")


def inside() -> None:
    """Be the program beside the database."""
    mine = os.sched_getaffinity(0)
    with Client() as client:
        os.sched_setaffinity(0, {min(mine)})
        bench_small(client, "one CPU", ("<= 25", "<= 120"))
        bench_large(client)
        os.sched_setaffinity(0, mine - {min(mine)} or mine)
        bench_small(client, "CPU of its own", ("any", "any"))
        bench_batches(client)
        bench_start(client)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment("bench", exp_path=f"{folder}/bench", launcher="local")
        settings = experiment.create_run_settings(
            sys.executable, ["-m", "tests.bench.bench_inference", "inside"]
        )
        settings.update_env({"PYTHONPATH": str(ROOT)})
        program = experiment.create_model("program", settings)
        program.colocate_db_uds(
            custom_pinning=[0], limit_app_cpus=False, workers=Workers(threads=1)
        )
        experiment.start(program)
        for ending in ("out", "err"):
            sys.stdout.write(Path(folder, "bench/program", f"program.{ending}").read_text())


if __name__ == "__main__":
    inside() if sys.argv[1:] == ["inside"] else main()
