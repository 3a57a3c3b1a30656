"""What the real SmartRedis writes hpcorch reads, and the other way round.

A plain Redis is enough for metadata, lists and polls. Tensors need RedisAI's commands: they go
through the recording server of the unit tests.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
from typing import Any

import numpy as np
import pytest

import hpcorch.client
from hpcorch.client import Client, Dataset
from tests.peer import peer_python
from tests.unit.client.recording import RecordingServer

pytestmark = pytest.mark.redis

NUMBERS = {
    "f8": ("float64", [1.5, -2.25]),
    "f4": ("float32", [0.5]),
    "i4": ("int32", [-7, 7]),
    "i8": ("int64", [-(2**60), 3]),
    "u4": ("uint32", [2**32 - 1]),
    "u8": ("uint64", [2**64 - 1, 0]),
}
TEXTS = {"words": ["hello", "wörld", "", "a\0b"], "one": ["x" * 5000]}
TENSORS = ("float64", "float32", "int8", "int16", "int32", "int64", "uint8", "uint16")

# Runs in both worlds: `Client` and `Dataset` are SmartRedis' or ours.
COMMON = """
import json
import numpy as np

def write(name):
    made = Dataset(name)
    for field, (kind, values) in NUMBERS.items():
        for value in values:
            made.add_meta_scalar(field, np.array(value, dtype=kind))
    for field, values in TEXTS.items():
        for value in values:
            made.add_meta_string(field, value)
    return made

def read(dataset):
    found = {}
    for field in dataset.get_metadata_field_names():
        if field in TEXTS:
            found[field] = dataset.get_meta_strings(field)
        else:
            values = dataset.get_meta_scalars(field)
            found[field] = [str(values.dtype), values.tolist()]
    return found

def with_tensors(name):
    made = Dataset(name)
    for kind in TENSORS:
        made.add_tensor(kind, np.arange(6).astype(kind).reshape(2, 3))
    made.add_meta_string("one", name)
    return made
"""

PEER_READS_AND_WRITES = """
client = Client(None, logger_name="peer")
facts = {
    "dataset": read(client.get_dataset("ours")),
    "exists": [client.dataset_exists("ours"), client.poll_dataset("ours", 1, 1)],
    "key": client.poll_key(KEY, 1, 1),
    "length": client.get_list_length("our list"),
    "names": [one.get_name() for one in client.get_datasets_from_list("our list")],
}
client.put_dataset(write("theirs"))
client.put_dataset(write("gone"))
client.delete_dataset("gone")
client.rename_dataset("ours", "moved")
for _ in range(3):
    client.append_to_list("their list", write("theirs"))
client.copy_list("their list", "copied")
print(json.dumps(facts))
"""

PEER_EXCHANGES_TENSORS = """
client = Client(None, logger_name="peer")
ours = client.get_dataset("ours")
facts = {
    "tensors": {
        kind: [str(client.get_tensor(kind).dtype), client.get_tensor(kind).tolist()]
        for kind in TENSORS
    },
    "dataset": {kind: ours.get_tensor(kind).tolist() for kind in ours.get_tensor_names()},
    "text": ours.get_meta_strings("one"),
}
for kind in TENSORS:
    client.put_tensor("their " + kind, np.arange(6).astype(kind).reshape(3, 2))
client.put_dataset(with_tensors("theirs"))
client.append_to_list("their list", with_tensors("theirs"))
print(json.dumps(facts))
"""

# Prints the parameters of every public function and method.
PEER_TELLS_ITS_NAMES = """
import inspect
import smartredis

found = {}
for owner in smartredis.__all__:
    thing = getattr(smartredis, owner)
    methods = dict(inspect.getmembers(thing, inspect.isroutine)) if inspect.isclass(thing) else {}
    for name, call in {"": thing, **methods}.items():
        if callable(call) and not name.startswith("_"):
            try:
                found[f"{owner}.{name}"] = list(inspect.signature(call).parameters)
            except (TypeError, ValueError):
                pass
print(json.dumps(found))
"""
# Ours have no pybind objects behind them; a Client has two signatures.
NOT_OURS = {
    "Client.",
    "ConfigOptions.from_pybind",
    "ConfigOptions.get_data",
    "ConfigOptions.set_configoptions",
    "LogContext.from_pybind",
    "LogContext.get_context",
    "LogContext.set_context",
}


@pytest.fixture(scope="session")
def peer(pytestconfig):
    return peer_python(pytestconfig.cache.mkdir("peer"))


@pytest.fixture
def run_peer(peer):
    def run(code: str) -> Any:
        constants = f"NUMBERS, TEXTS, TENSORS = {NUMBERS!r}, {TEXTS!r}, {TENSORS!r}\n"
        whole = f"from smartredis import Client, Dataset\n{constants}{COMMON}{code}"
        patient = {"SR_SOCKET_TIMEOUT": "30000", "SR_CMD_TIMEOUT": "30", "SR_LOG_LEVEL": "QUIET"}
        done = subprocess.run(
            [peer, "-c", whole],
            env=os.environ | patient,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def ours():
    names: dict[str, Any] = {"Dataset": Dataset, "NUMBERS": NUMBERS, "TEXTS": TEXTS}
    names["TENSORS"] = TENSORS
    exec(COMMON, names)
    return names


@pytest.mark.parametrize("prefix", ["", "m1"])
@pytest.mark.parametrize("kind", ["tcp", "uds", "cluster"])
def test_metadata_and_lists_both_ways(request, monkeypatch, run_peer, ours, kind, prefix):
    server = request.getfixturevalue("cluster" if kind == "cluster" else f"{kind}_server")
    nodes = server if isinstance(server, list) else [server]
    monkeypatch.setenv("SSDB", ",".join(node.ssdb for node in nodes))
    monkeypatch.setenv("SR_DB_TYPE", "Clustered" if kind == "cluster" else "Standalone")
    monkeypatch.setenv("SSKEYIN", prefix)
    monkeypatch.setenv("SSKEYOUT", prefix)
    for node in nodes:
        node.admin().execute_command("FLUSHALL")
    expected = {name: [kind, values] for name, (kind, values) in NUMBERS.items()} | TEXTS
    with Client() as client:
        client.put_dataset(ours["write"]("ours"))
        for _ in range(2):
            client.append_to_list("our list", ours["write"]("ours"))
        key = f"{prefix}.{{ours}}.meta" if prefix else "{ours}.meta"
        facts = run_peer(f"KEY = {key!r}\n" + PEER_READS_AND_WRITES)
        assert facts == {
            "dataset": expected,
            "exists": [True, True],
            "key": True,
            "length": 2,
            "names": ["ours", "ours"],
        }
        for name in ("theirs", "moved"):
            assert ours["read"](client.get_dataset(name)) == expected
        assert not client.dataset_exists("gone")
        assert not client.dataset_exists("ours")
        for name in ("their list", "copied"):
            assert client.poll_list_length(name, 3, 1, 1)
            assert [one.get_name() for one in client.get_datasets_from_list(name)] == ["theirs"] * 3


def test_tensors_both_ways(monkeypatch, run_peer, ours):
    server = RecordingServer()
    monkeypatch.setenv("SSDB", server.address)
    monkeypatch.setenv("SR_DB_TYPE", "Standalone")
    with Client() as client:
        for kind in TENSORS:
            client.put_tensor(kind, np.arange(6).astype(kind).reshape(2, 3))
        client.put_dataset(ours["with_tensors"]("ours"))
        square = [[0, 1, 2], [3, 4, 5]]
        assert run_peer(PEER_EXCHANGES_TENSORS) == {
            "tensors": {kind: [kind, square] for kind in TENSORS},
            "dataset": dict.fromkeys(sorted(TENSORS), square),
            "text": ["ours"],
        }
        for kind in TENSORS:
            got = client.get_tensor(f"their {kind}")
            assert (got.dtype.name, got.tolist()) == (kind, [[0, 1], [2, 3], [4, 5]])
        (listed,) = client.get_datasets_from_list("their list")
        for theirs in (client.get_dataset("theirs"), listed):
            assert sorted(theirs.get_tensor_names()) == sorted(TENSORS)
            for kind in TENSORS:
                assert theirs.get_tensor_type(kind) is np.dtype(kind).type
                assert theirs.get_tensor(kind).tolist() == square
    server.close()


def test_every_call_has_the_same_parameters(run_peer):
    wrong = {}
    told = run_peer(PEER_TELLS_ITS_NAMES)
    assert {"Client.put_tensor", "Dataset.add_tensor", "log_data."} <= set(told)
    for path, theirs in told.items():
        if path in NOT_OURS or re.search("model|script|function", path):
            continue
        call: Any = hpcorch.client
        for name in path.rstrip(".").split("."):
            call = getattr(call, name, None)
        ours = [] if call is None else list(inspect.signature(call).parameters)
        if ours[: len(theirs)] != theirs:
            wrong[path] = (theirs, ours)
    assert wrong == {}
