"""A program of SmartRedis users: stores AI models and scripts, and has them run.

Runs in the environment of the real wheel, with SSDB and SR_DB_TYPE set. Its argument is a folder
with the models, their inputs and the results wanted. With `shared` after it models of hpcorch's
client are there, with `torch` TorchScript is run and nothing else.
Prints a JSON list of the calls that gave something else than RedisAI, or than the folder says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from checks import (  # type: ignore[import-not-found, unused-ignore]
    ADDRESSES,
    NO_MODEL,
    NO_SCRIPT,
    NO_TENSOR,
    check,
    report,
)
from smartredis import Client  # type: ignore[import-not-found, unused-ignore]

FOLDER = Path(sys.argv[1])
FAILED = "RedisRuntimeError: ERR "
SCRIPT = "def bar(a):\n    return a + a\n\ndef two(a, b):\n    return a+b, a-b\n"


def loaded(name: str) -> Any:
    return np.load(FOLDER / f"{name}.npy")


def same(client: Any, name: str, wanted: Any) -> bool:
    got = client.get_tensor(name)
    return got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-4, atol=1e-5)


def counted(client: Any, name: str) -> dict[str, int]:
    """Return the counters of a model or script on all shards together."""
    told = [client.get_ai_info([address], name)[0] for address in ADDRESSES]
    return {field: sum(int(one[field]) for one in told) for field in ("calls", "samples", "errors")}


def file(name: str) -> str:
    return str(FOLDER / name)


def models(client: Any) -> None:
    rows, wanted = loaded("rows"), loaded("mlp")
    client.put_tensor("x", rows)
    client.put_tensor("bad", np.zeros((1, 3), "float32"))
    check("set", None, lambda: client.set_model_from_file("mlp", file("mlp.onnx"), "ONNX", "CPU"))
    check("run", None, lambda: client.run_model("mlp", ["x"], ["y"]))
    check("get y", True, lambda: same(client, "y", wanted))
    check("wrong shape", "invalid dimensions", lambda: client.run_model("mlp", ["bad"], ["y"]))
    check("y stays", True, lambda: same(client, "y", wanted))
    counts = {"calls": 2, "samples": len(rows), "errors": 1}
    check("counters", counts, lambda: counted(client, "mlp"))
    check("missing model", NO_MODEL, lambda: client.run_model("no", ["x"], ["y"]))
    check("missing input", NO_TENSOR, lambda: client.run_model("mlp", ["no"], ["y"]))
    told = "mlp has 1 output(s), and 2 names were given"
    check("two outputs", told, lambda: client.run_model("mlp", ["x"], ["y", "z"]))
    client.set_model_from_file("pair", file("pair.onnx"), "ONNX", "CPU")
    client.put_tensor("row", rows[0])
    names = ["sum", "none"]
    check("two in, two out", None, lambda: client.run_model("pair", ["row", "row"], names))
    check("sum", True, lambda: same(client, "sum", 2 * rows[0]))
    check("difference", True, lambda: same(client, "none", 0 * rows[0]))
    client.set_model_from_file("lite", file("lite.tflite"), "TFLITE", "CPU")
    client.put_tensor("lite x", loaded("lite_rows"))
    check("TFLITE", None, lambda: client.run_model("lite", ["lite x"], ["lite y"]))
    check("TFLITE y", True, lambda: same(client, "lite y", loaded("lite")))


def shared(client: Any) -> None:
    """Run what hpcorch's client has stored, and leave something for it to run."""
    rows = loaded("rows")
    check("our model", None, lambda: client.run_model("ours", ["x"], ["our y"]))
    check("our y", True, lambda: same(client, "our y", loaded("mlp")))
    check("its bytes", (FOLDER / "mlp.onnx").read_bytes(), lambda: client.get_model("ours"))
    # It is no TorchScript, but Python on numpy arrays.
    check("our function", None, lambda: client.run_script("half", "half", ["x"], ["our h"]))
    check("our h", True, lambda: same(client, "our h", rows / 2))
    client.set_model_from_file("theirs", file("other.onnx"), "ONNX", "CPU")


def replaced(client: Any) -> None:
    rows = loaded("rows")
    options = {"batch_size": 64, "min_batch_size": 1, "min_batch_timeout": 5}
    client.set_model_from_file("mlp", file("other.onnx"), "ONNX", "CPU", **options)
    for _ in range(3):
        check("joined", None, lambda: client.run_model("mlp", ["x"], ["y"]))
    check("another model", True, lambda: same(client, "y", loaded("other")))
    check("other counters", 3 * len(rows), lambda: counted(client, "mlp")["samples"])
    client.set_model("damaged", b"no model at all", "ONNX", "CPU")
    check("damaged", FAILED, lambda: client.run_model("damaged", ["x"], ["y"]))
    client.set_model_from_file_multigpu("mg", file("mlp.onnx"), "ONNX", 0, 2)
    device = "this worker has no device GPU:1: its framework finds CPU"
    gpu = FAILED + device
    check("no GPU", gpu, lambda: client.run_model_multigpu("mg", 1, 0, 2, ["x"], ["y"]))
    check("delete", None, lambda: client.delete_model("mlp"))
    check("run deleted", NO_MODEL, lambda: client.run_model("mlp", ["x"], ["y"]))


def prefixed() -> None:
    os.environ.update(SSKEYIN="p1,p2", SSKEYOUT="p1")
    client = Client(None, logger_name="prefixed")
    client.use_model_ensemble_prefix(True)
    client.set_data_source("p1")
    client.set_model_from_file("pm", file("mlp.onnx"), "ONNX", "CPU")
    client.put_tensor("x", loaded("rows"))
    check("run prefixed", None, lambda: client.run_model("pm", ["x"], ["y"]))
    check("prefixed y", True, lambda: same(client, "y", loaded("mlp")))
    check("prefixed key", True, lambda: client.key_exists("p1.y"))


def scripts(client: Any) -> None:
    rows = loaded("rows")

    def fn(x):
        return x + x

    client.set_script("s1", SCRIPT, "CPU")
    client.set_function("f1", fn)
    run: Callable[..., Any] = client.run_script
    check("one", None, lambda: run("s1", "bar", ["x"], ["sy"]))
    check("get sy", True, lambda: same(client, "sy", 2 * rows))
    check("two", None, lambda: run("s1", "two", ["x", "x"], ["o1", "o2"]))
    for name, wanted in (("o1", 2 * rows), ("o2", 0 * rows)):
        check(f"get {name}", True, partial(same, client, name, wanted))
    nofn = "RedisRuntimeError: Function does not exist: nofn"
    check("missing fn", nofn, lambda: run("s1", "nofn", ["x"], ["sy"]))
    check("missing script", NO_SCRIPT, lambda: run("no", "bar", ["x"], ["sy"]))
    counts = {"calls": 3, "samples": -len(ADDRESSES), "errors": 1}
    check("script counters", counts, lambda: counted(client, "s1"))
    check("function", None, lambda: run("f1", "fn", ["x"], ["fy"]))
    check("get fy", True, lambda: same(client, "fy", 2 * rows))
    client.set_model_from_file("net", file("net.pt"), "TORCH", "CPU")
    check("TORCH", None, lambda: client.run_model("net", ["x"], ["ty"]))
    check("TORCH y", True, lambda: same(client, "ty", loaded("net")))


def main() -> None:
    client = Client(None, logger_name="program")
    if "torch" in sys.argv:
        client.put_tensor("x", loaded("rows"))
        scripts(client)
    else:
        models(client)
        if "shared" in sys.argv:
            shared(client)
        replaced(client)
        prefixed()
    report()


if __name__ == "__main__":
    main()
