"""A program of SmartRedis users: makes every call of the client and compares the results.

Runs in the environment of the real wheel, with SSDB and SR_DB_TYPE set. The results wanted are
those that RedisAI gave, without the bugs of the client. Prints a JSON list of the calls that gave
something else. Running models is another program's part. What is left behind is for hpcorch's
client to read. With the argument `user` nothing is asked that only administrators may.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from checks import (  # type: ignore[import-not-found, unused-ignore]
    ADDRESSES,
    CLUSTERED,
    NO_MODEL,
    NO_SCRIPT,
    NO_TENSOR,
    check,
    report,
)
from smartredis import Client, Dataset  # type: ignore[import-not-found, unused-ignore]

ADDRESS = ADDRESSES[0]
TENSORS = ("float64", "float32", "int8", "int16", "int32", "int64", "uint8", "uint16")
MODEL = bytes(range(256)) * 200
SCRIPT = "def bar(a):\n    return a + a\n"
SQUARE = [[0, 1, 2], [3, 4, 5]]


def dtype(client: Any, name: str) -> list[str]:
    return [str(client.get_tensor(name).dtype)]


def tensors(client: Any) -> None:
    for kind in TENSORS:
        square = np.arange(6).astype(kind).reshape(2, 3)
        check(f"put {kind}", None, partial(client.put_tensor, f"their {kind}", square))
        check(f"get {kind}", SQUARE, partial(client.get_tensor, f"their {kind}"))
        check(f"type {kind}", [kind], partial(dtype, client, f"their {kind}"))
    check("put strided", None, lambda: client.put_tensor("strided", np.arange(8.0)[::2]))
    check("get strided", [0, 2, 4, 6], lambda: client.get_tensor("strided"))
    for name, array in (("scalar", np.array(1.0)), ("empty", np.zeros(0))):
        check(f"put {name}", "RedisRuntimeError: ", partial(client.put_tensor, name, array))
        check(f"get {name}", NO_TENSOR, partial(client.get_tensor, name))
    check(
        "tensor_exists", [True, False], lambda: [client.tensor_exists(n) for n in ("strided", "no")]
    )
    check("key_exists", [True, False], lambda: [client.key_exists(n) for n in ("strided", "no")])
    check("copy", None, lambda: client.copy_tensor("strided", "copied"))
    check("copy missing", NO_TENSOR, lambda: client.copy_tensor("no", "copied"))
    # In a cluster these two are in different shards.
    check("rename", None, lambda: client.rename_tensor("copied", "renamed"))
    check("get renamed", [0, 2, 4, 6], lambda: client.get_tensor("renamed"))
    missing = NO_TENSOR if CLUSTERED else "RedisRuntimeError: ERR no such key"
    check("rename missing", missing, lambda: client.rename_tensor("no", "no 2"))
    check("delete", None, lambda: client.delete_tensor("renamed"))
    check("delete missing", None, lambda: client.delete_tensor("renamed"))
    check("poll", [True, False], lambda: [client.poll_tensor(n, 1, 2) for n in ("strided", "no")])
    check("poll_key", True, lambda: client.poll_key("strided", 1, 2))


def dataset(name: str) -> Any:
    made = Dataset(name)
    made.add_tensor("a", np.arange(3, dtype="float32"))
    made.add_tensor("b", np.arange(4).reshape(2, 2))
    for value in (1.5, 2.5):
        made.add_meta_scalar("numbers", value)
    for text in ("hello", "wörld", ""):
        made.add_meta_string("texts", text)
    return made


def values(found: Any) -> list[Any]:
    return [
        sorted(found.get_tensor_names()),
        found.get_tensor("a").tolist(),
        found.get_tensor("b").tolist(),
        found.get_meta_scalars("numbers").tolist(),
        found.get_meta_strings("texts"),
    ]


def fetched(client: Any, name: str) -> list[Any]:
    # The dataset must outlive the views of its values.
    found = client.get_dataset(name)
    return values(found)


WHOLE = [["a", "b"], [0, 1, 2], [[0, 1], [2, 3]], [1.5, 2.5], ["hello", "wörld", ""]]


def datasets(client: Any) -> None:
    check("put_dataset", None, lambda: client.put_dataset(dataset("theirs")))
    check(
        "dataset_exists",
        [True, False],
        lambda: [client.dataset_exists(n) for n in ("theirs", "no")],
    )
    check("get_dataset", WHOLE, lambda: fetched(client, "theirs"))
    check("get_dataset missing", "RedisKeyError: ", lambda: client.get_dataset("no"))
    check("put nothing", "RedisRuntimeError: ", lambda: client.put_dataset(Dataset("void")))
    check(
        "poll_dataset",
        [True, False],
        lambda: [client.poll_dataset(n, 1, 2) for n in ("theirs", "no")],
    )
    check("copy_dataset", None, lambda: client.copy_dataset("theirs", "ds2"))
    check("rename_dataset", None, lambda: client.rename_dataset("ds2", "ds3"))
    check("get renamed dataset", WHOLE, lambda: fetched(client, "ds3"))
    check("delete_dataset", None, lambda: client.delete_dataset("ds3"))
    check("delete_dataset missing", "RedisRuntimeError: ", lambda: client.delete_dataset("no"))
    check("gone", [False, False], lambda: [client.dataset_exists(n) for n in ("ds2", "ds3")])


def lists(client: Any) -> None:
    client.put_dataset(dataset("second"))
    for name in ("theirs", "second"):
        check("append_to_list", None, partial(client.append_to_list, "their list", dataset(name)))
    check("lengths", [2, 0], lambda: [client.get_list_length(n) for n in ("their list", "no")])
    check("poll length", True, lambda: client.poll_list_length("their list", 2, 1, 2))
    check("poll length gte", True, lambda: client.poll_list_length_gte("their list", 1, 1, 2))
    check("poll length lte", False, lambda: client.poll_list_length_lte("their list", 1, 1, 2))
    check("poll length no", False, lambda: client.poll_list_length("their list", 9, 1, 2))
    everything = [WHOLE, WHOLE]
    check(
        "get list",
        everything,
        lambda: list(map(values, client.get_datasets_from_list("their list"))),
    )
    check("range", 1, lambda: len(client.get_dataset_list_range("their list", -1, -1)))
    check("copy_list", None, lambda: client.copy_list("their list", "L2"))
    check("rename_list", None, lambda: client.rename_list("L2", "L3"))
    check("lengths 2", [0, 2], lambda: [client.get_list_length(n) for n in ("L2", "L3")])
    check("delete_list", None, lambda: client.delete_list("L3"))
    check("get list missing", [], lambda: client.get_datasets_from_list("no"))
    check("copy_list missing", "RedisRuntimeError: ", lambda: client.copy_list("no", "L4"))


def same_model(client: Any, name: str) -> bool:
    return bool(client.get_model(name) == MODEL)


def models(client: Any, folder: Path) -> None:
    file = folder / "model"
    file.write_bytes(MODEL)
    check("set_model", None, lambda: client.set_model("m", MODEL, "ONNX", "CPU"))
    options: dict[str, Any] = {"batch_size": 4, "min_batch_size": 2, "min_batch_timeout": 10}
    check("set options", None, lambda: client.set_model("m2", MODEL, "ONNX", tag="v1", **options))
    names: dict[str, Any] = {"inputs": ["in1", "in2"], "outputs": ["out"]}
    check("set TF", None, lambda: client.set_model("m3", MODEL, "TF", "GPU:1", **names))
    check("set file", None, lambda: client.set_model_from_file("m4", str(file), "TORCH", "GPU"))
    check("bad backend", "TypeError: ", lambda: client.set_model("m5", MODEL, "XYZ", "CPU"))
    check("bad device", "TypeError: ", lambda: client.set_model("m5", MODEL, "TORCH", "XPU"))
    check("multigpu", None, lambda: client.set_model_multigpu("mg", MODEL, "TORCH", 0, 2))
    check("exist", [True, False], lambda: [client.model_exists(n) for n in ("m", "no")])
    check("poll_model", True, lambda: client.poll_model("m", 1, 2))
    for name in ("m", "m2", "m3", "m4", "mg", "mg.GPU:0", "mg.GPU:1"):
        check(f"get {name}", True, partial(same_model, client, name))
    check("get missing", NO_MODEL, lambda: client.get_model("no"))
    client.put_tensor("x", np.ones((1, 4), "float32"))
    check("run missing model", NO_MODEL, lambda: client.run_model("no", ["x"], ["y"]))
    check("run missing input", NO_TENSOR, lambda: client.run_model("m", ["no"], ["y"]))
    check(
        "run multigpu missing",
        NO_MODEL,
        lambda: client.run_model_multigpu("no", 1, 0, 2, ["x"], ["y"]),
    )
    check("get_ai_info", [info("MODEL", "m", "ONNX")], lambda: client.get_ai_info([ADDRESS], "m"))
    tagged = info("MODEL", "m2", "ONNX", "v1")
    check("get_ai_info tag", [tagged], lambda: client.get_ai_info([ADDRESS], "m2"))
    no_info = "RedisRuntimeError: ERR cannot find run info for key"
    check("get_ai_info missing", no_info, lambda: client.get_ai_info([ADDRESS], "no"))
    check("delete", None, lambda: client.delete_model("m2"))
    check("deleted", False, lambda: client.model_exists("m2"))
    check("delete missing", NO_MODEL, lambda: client.delete_model("m2"))
    check("delete multigpu", None, lambda: client.delete_model_multigpu("mg", 0, 2))
    check("delete multigpu missing", NO_MODEL, lambda: client.delete_model_multigpu("mg", 0, 2))
    chunked(client)


def chunked(client: Any) -> None:
    check("chunk size", None, lambda: client.set_model_chunk_size(1000))
    check("set in chunks", None, lambda: client.set_model("chunks", MODEL, "ONNX", "CPU"))
    check("get chunks", True, lambda: client.get_model("chunks") == MODEL)
    refused = "RedisRuntimeError: ERR MODEL_CHUNK_SIZE: invalid chunk size"
    check("chunk size 0", refused, lambda: client.set_model_chunk_size(0))
    check("chunk size back", None, lambda: client.set_model_chunk_size(535822336))


def info(kind: str, key: str, backend: str, tag: str = "") -> dict[str, str]:
    numbers = {"duration": "0", "samples": "0" if kind == "MODEL" else "-1"}
    counts = {"calls": "0", "errors": "0"}
    words = {"key": key, "type": kind, "backend": backend, "device": "CPU", "tag": tag}
    return {**words, **numbers, **counts}


def scripts(client: Any, folder: Path) -> None:
    file = folder / "script"
    file.write_text(SCRIPT)

    def double(x: Any) -> Any:
        return x + x

    check("set_script", None, lambda: client.set_script("s", SCRIPT, "CPU"))
    check("set_script_from_file", None, lambda: client.set_script_from_file("s2", str(file), "CPU"))
    check("set_function", None, lambda: client.set_function("f", double))
    check("set multigpu", None, lambda: client.set_script_multigpu("sg", SCRIPT, 0, 2))
    for name in ("s", "s2", "sg", "sg.GPU:0", "sg.GPU:1"):
        check(f"get_script {name}", SCRIPT, partial(client.get_script, name))
    check("get function", "    def double(", lambda: client.get_script("f"))
    check("get_script missing", NO_SCRIPT, lambda: client.get_script("no"))
    check("run missing", NO_SCRIPT, lambda: client.run_script("no", "bar", ["x"], ["y"]))
    check("run missing input", NO_TENSOR, lambda: client.run_script("s", "bar", ["no"], ["y"]))
    check("info", [info("SCRIPT", "s", "TORCH")], lambda: client.get_ai_info([ADDRESS], "s"))
    check("delete_script", None, lambda: client.delete_script("s2"))
    check("delete_script missing", NO_SCRIPT, lambda: client.delete_script("s2"))
    check("delete multigpu", None, lambda: client.delete_script_multigpu("sg", 0, 2))
    check("delete multigpu missing", NO_SCRIPT, lambda: client.delete_script_multigpu("sg", 0, 2))


def prefixes() -> None:
    os.environ.update(SSKEYIN="p1,p2", SSKEYOUT="p1")
    client = Client(None, logger_name="prefixed")
    check("put prefixed", None, lambda: client.put_tensor("pt", np.arange(2.0)))
    check("get prefixed", [0, 1], lambda: client.get_tensor("pt"))
    check("prefixed key", True, lambda: client.key_exists("p1.pt"))
    check("put dataset prefixed", None, lambda: client.put_dataset(dataset("pds")))
    check("get dataset prefixed", WHOLE, lambda: fetched(client, "pds"))
    check("model without", None, lambda: client.set_model("pm", MODEL, "ONNX", "CPU"))
    client.use_model_ensemble_prefix(True)
    check("model with", None, lambda: client.set_model("pm", MODEL, "ONNX", "CPU"))
    check("get model with", True, lambda: client.get_model("pm") == MODEL)
    check("another source", None, lambda: client.set_data_source("p2"))
    check("not there", False, lambda: client.tensor_exists("pt"))


def servers(client: Any) -> None:
    check("node info", True, lambda: "hpcorch_module" in client.get_db_node_info([ADDRESS])[0])
    state = "ok" if CLUSTERED else "RedisRuntimeError: "
    check("cluster info", state, lambda: client.get_db_cluster_info([ADDRESS])[0]["cluster_state"])
    check("config_set", None, lambda: client.config_set("lua-time-limit", "5000", ADDRESS))
    limit = {"lua-time-limit": "5000"}
    check("config_get", limit, lambda: client.config_get("lua-time-limit", ADDRESS))
    check("config_set bad", "RedisRuntimeError: ERR", lambda: client.config_set("no", "1", ADDRESS))
    check("save", None, lambda: client.save([ADDRESS]))


def main() -> None:
    client = Client(None, logger_name="program")
    # What hpcorch's client has written before.
    check("get ours", SQUARE, lambda: client.get_tensor("our tensor"))
    check("get our dataset", WHOLE, lambda: fetched(client, "ours"))
    check(
        "get our list",
        [WHOLE] * 2,
        lambda: list(map(values, client.get_datasets_from_list("our list"))),
    )
    tensors(client)
    datasets(client)
    lists(client)
    with tempfile.TemporaryDirectory() as folder:
        models(client, Path(folder))
        scripts(client, Path(folder))
    if "user" not in sys.argv:
        servers(client)
    prefixes()
    report()


if __name__ == "__main__":
    main()
