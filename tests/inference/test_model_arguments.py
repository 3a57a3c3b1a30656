"""What is said of models and scripts is checked, with the errors that SmartRedis has for it.

The classes were taken from the real smartredis 0.6.1, by the same calls of both clients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcorch.client import RedisRuntimeError
from hpcorch.errors import InputError
from tests.inference.models import MLP

pytestmark = pytest.mark.redis


def function(array):
    return np.abs(array)


NAMED = {"name": "m"}
GPUS = {"first_gpu": 0, "num_gpus": 1}
BATCHES = {"batch_size": 0, "min_batch_size": 0, "min_batch_timeout": 0}
MODEL: dict[str, Any] = {"model": MLP, "backend": "ONNX", **BATCHES, "tag": ""}
FILE = {"model_file": "m.onnx", "backend": "ONNX", **BATCHES, "tag": ""}
ENDS = {"inputs": ["a"], "outputs": ["b"]}
RUN = {"fn_name": "f", **ENDS}
# Every call, with arguments that make sense.
CALLS: dict[str, dict[str, Any]] = {
    "set_model": {**MODEL, "device": "CPU"},
    "set_model_multigpu": {**MODEL, **GPUS},
    "set_model_from_file": {**FILE, "device": "CPU"},
    "set_model_from_file_multigpu": {**FILE, **GPUS},
    "get_model": {},
    "model_exists": {},
    "poll_model": {"poll_frequency_ms": 1, "num_tries": 1},
    "run_model": ENDS,
    "run_model_multigpu": {**ENDS, **GPUS, "offset": 0},
    "delete_model": {},
    "delete_model_multigpu": GPUS,
    "set_script": {"script": "def f(x):\n    return x\n", "device": "CPU"},
    "set_script_multigpu": {"script": "def f(x):\n    return x\n", **GPUS},
    "set_script_from_file": {"file": "s.txt", "device": "CPU"},
    "set_script_from_file_multigpu": {"file": "s.txt", **GPUS},
    "set_function": {"function": function, "device": "CPU"},
    "set_function_multigpu": {"function": function, **GPUS},
    "get_script": {},
    "run_script": RUN,
    "run_script_multigpu": {**RUN, **GPUS, "offset": 0},
    "delete_script": {},
    "delete_script_multigpu": GPUS,
}
# For each argument: values, and what SmartRedis raises for them.
NUMBER: list[tuple[Any, type[Exception]]] = [("x", TypeError), (None, TypeError), (1.5, TypeError)]
TEXT: list[tuple[Any, type[Exception]]] = [(42, TypeError), (None, TypeError), (b"x", TypeError)]
LIST = [(42, TypeError), ([42], TypeError), ("", RedisRuntimeError), (["a", ""], RedisRuntimeError)]
PATH = [(42, TypeError), (None, TypeError), ("none", FileNotFoundError), (".", FileNotFoundError)]
BAD: dict[str, list[tuple[Any, type[Exception]]]] = {
    "name": [*TEXT, ("", RedisRuntimeError)],
    "model": [
        (42, TypeError),
        (None, TypeError),
        (np.zeros(3), TypeError),
        (b"", RedisRuntimeError),
    ],
    "backend": [*TEXT, ("PICKLE", TypeError), ("", TypeError)],
    "device": [*TEXT, ("TPU", TypeError), ("", TypeError), ("GPU:x", RedisRuntimeError)],
    "batch_size": NUMBER,
    "min_batch_size": [*NUMBER, (2, RedisRuntimeError)],
    "min_batch_timeout": [*NUMBER, (5, RedisRuntimeError)],
    "tag": TEXT,
    "inputs": LIST,
    "outputs": LIST,
    "first_gpu": [*NUMBER, (-1, ValueError)],
    "num_gpus": [*NUMBER, (0, ValueError)],
    "offset": [*NUMBER, (-1, RedisRuntimeError)],
    "poll_frequency_ms": NUMBER,
    "num_tries": NUMBER,
    "model_file": PATH,
    "file": PATH,
    "script": TEXT,
    "fn_name": [*TEXT, ("", RedisRuntimeError)],
    "function": [(42, TypeError), ("f", TypeError), (len, TypeError)],
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(MLP)
    (tmp_path / "s.txt").write_text("def f(x):\n    return x\n")


@pytest.mark.parametrize("call", CALLS)
def test_each_argument_is_checked_before_anything_is_sent(client, files, call):
    arguments = NAMED | CALLS[call]
    for name in arguments:
        for value, error in BAD[name]:
            with pytest.raises(error) as caught:
                getattr(client, call)(**{**arguments, name: value})
            assert isinstance(caught.value, InputError), f"{call}: {name}={value!r}"
            assert name in str(caught.value), f"{call}: {name}={value!r}: {caught.value}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "PICKLE"}, "backend is 'PICKLE': it must be one of TORCH, ONNX, TF, TFLITE"),
        ({"device": "GPU:x"}, "it must be CPU, GPU or GPU:number"),
        ({"backend": "TF"}, "inputs and outputs must name the nodes"),
        ({"inputs": "x"}, "inputs and outputs are for TF only"),
        ({"batch_size": -1}, "batch_size=-1 is not allowed"),
        (
            {"batch_size": 2, "min_batch_size": 3},
            "min_batch_size=3 is not allowed: batch",
        ),
        ({"batch_size": 2, "min_batch_timeout": 9}, "min_batch_timeout=9 is not allowed: without"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(client, changes, said):
    with pytest.raises(InputError, match=said):
        client.set_model(**{**NAMED, **CALLS["set_model"], **changes})


def test_a_batch_that_is_waited_for_without_an_end_is_warned_of(client):
    with pytest.warns(UserWarning, match="min_batch_timeout is 0"):
        client.set_model("m", MLP, "ONNX", batch_size=2, min_batch_size=2)


def test_what_is_not_there_is_said(client, tmp_path):
    for call in ("get_model", "delete_model", "get_script", "delete_script"):
        kind = call.rpartition("_")[2]
        with pytest.raises(RedisRuntimeError, match=f"there is no {kind} 'absent'"):
            getattr(client, call)("absent")
    for call in ("delete_model_multigpu", "delete_script_multigpu"):
        with pytest.raises(RedisRuntimeError, match="'absent' in the database"):
            getattr(client, call)("absent", **GPUS)
    (tmp_path / "empty").touch()
    with pytest.raises(RedisRuntimeError, match="the file of the model 'm' is empty"):
        client.set_model_from_file("m", tmp_path / "empty", "ONNX")
    with pytest.raises(FileNotFoundError, match="model_file is '/no/such': there is no such"):
        client.set_model_from_file("m", "/no/such", "ONNX")
    # Nor is it looked for when something else is wrong already.
    for wrong in ((42, "/no/such", "CPU"), ("s", "/no/such", 42)):
        with pytest.raises(TypeError, match=r"name must|device must"):
            client.set_script_from_file(*wrong)


def test_a_script_is_found_as_a_model_too(client):
    """As in SmartRedis, where both are keys."""
    client.set_script("source", CALLS["set_script"]["script"])
    assert client.model_exists("source")
    client.delete_script("source")
    assert not client.model_exists("source")
