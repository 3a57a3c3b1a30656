"""What a run of an AI model costs beyond the same call in the program itself.

A program with a colocated database and one worker measures itself. First everything shares one CPU,
as a synchronous caller does best; then the program has a CPU of its own, as it has by default.

What a run may cost more than the call is known in microseconds of another machine: 25 and 120,
where the least that a Python process behind a socket can do cost 13. Such a bare worker is measured
here too, in turn with the others, and stands for those 13.
"""

from __future__ import annotations

import os
import socket
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
BLOCKS = 40
ROUNDS = 50
# In units of what a bare worker adds: 25/13 and 120/13.
INLINE, BY_KEYS = "<= 1.9", "<= 9.2"
CALLERS = 4
CALLS = 150
WIDE = (256, 2048, 2048, 256)


def microseconds(action: Callable[[], object]) -> float:
    """Return the median time of one call in a row of calls."""
    for _ in range(ROUNDS // 10):
        action()
    return float(np.median([measure.seconds(action) for _ in range(ROUNDS)])) * 1e6


def in_process(model: bytes) -> Callable[[Any], Any]:
    """Return a call of ONNX Runtime with the worker's own settings."""
    from hpcorch.inference import backends
    from hpcorch.inference.blob import blob_of

    loaded = backends.get("ONNX").load(blob_of(model), backends.LoadOptions(threads=1))
    return lambda array: loaded.run([array])


def serve_barely(path: str) -> None:
    """Answer one caller's arrays of one shape from a socket, and do nothing else."""
    call = in_process(models.mlp())
    array: Any = np.empty_like(models.weights(1, 64))
    call(array)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        caller, _ = listener.accept()
        while caller.recv_into(array, array.nbytes, socket.MSG_WAITALL):
            caller.sendall(call(array)[0])


class BareWorker:
    """A process that serves barely on one CPU, and its caller."""

    def __init__(self, folder: str, cpu: int) -> None:
        path = f"{folder}/bare"
        words = ["taskset", "-c", str(cpu), sys.executable, "-m", "tests.bench.bench_inference"]
        self._process = subprocess.Popen([*words, "bare", path])
        self._socket = socket.socket(socket.AF_UNIX)
        while self._socket.connect_ex(path):
            time.sleep(0.01)
        self._found = np.empty_like(in_process(models.mlp())(models.weights(1, 64))[0])

    def run(self, array: Any) -> Any:
        self._socket.sendall(array)
        self._socket.recv_into(self._found, self._found.nbytes, socket.MSG_WAITALL)
        return self._found.copy()

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def bench_small(client: Client, bare: BareWorker, where: str) -> None:
    """A small MLP: what is added to the call itself."""
    rows = models.weights(1, 64)
    call = in_process(models.mlp())
    client.set_model("mlp", models.mlp(), "ONNX")
    client.put_tensor("in", rows)
    ways: dict[str, tuple[Callable[[], object], str]] = {
        "infer, arrays inline": (lambda: client.infer("mlp", rows), INLINE),
        "run_model, keys": (lambda: client.run_model("mlp", "in", "out"), BY_KEYS),
        "the queue, keys": (lambda: client.run_model("mlp", "in", "out", durable=True), "any"),
    }
    took: dict[str, list[float]] = {"call": [], "bare": [], **{name: [] for name in ways}}
    for _ in range(BLOCKS):
        took["call"].append(microseconds(lambda: call(rows)))
        took["bare"].append(microseconds(lambda: bare.run(rows)))
        for name, (way, _) in ways.items():
            took[name].append(microseconds(way))
    middle = {name: float(np.median(times)) for name, times in took.items()}
    floor = middle["bare"] - middle["call"]
    measure.show(f"a bare worker, {where}", floor, "us", "any", f"in process {middle['call']:.1f}")
    for name, (_, limit) in ways.items():
        added = middle[name] - middle["call"]
        reference = f"+{added:.1f} us, in process {middle['call']:.1f}, bare +{floor:.1f}"
        measure.show(f"{name}, {where}", added / floor, "x", limit, reference)


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
    with tempfile.TemporaryDirectory() as folder, Client() as client:
        bare = BareWorker(folder, min(mine))
        os.sched_setaffinity(0, {min(mine)})
        bench_small(client, bare, "one CPU")
        bench_large(client)
        os.sched_setaffinity(0, mine - {min(mine)} or mine)
        bench_small(client, bare, "CPU of its own")
        bare.close()
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
    if sys.argv[1:2] == ["bare"]:
        serve_barely(sys.argv[2])
    elif sys.argv[1:] == ["inside"]:
        inside()
    else:
        main()
