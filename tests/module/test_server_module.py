"""The server module on every kind of server: what is kept, what is answered, what is refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
import redis

from hpcorch import __version__
from tests.helpers import until
from tests.module.conftest import module_server

pytestmark = pytest.mark.redis

TENSOR = np.arange(6.0).reshape(2, 3)
WHOLE = [b"dtype", b"DOUBLE", b"shape", [2, 3], b"blob", TENSOR.tobytes()]


def put(server, key="t", array=TENSOR, name="DOUBLE"):
    words = ("AI.TENSORSET", key, name, *array.shape, "BLOB", array.tobytes())
    assert server.execute_command(*words) == b"OK"


def whole(server, key="t"):
    return server.execute_command("AI.TENSORGET", key, "META", "BLOB")


def test_what_is_sent_comes_back(server):
    ask = server.start()
    put(ask)
    assert whole(ask) == WHOLE
    assert ask.execute_command("AI.TENSORGET", "t", "META") == WHOLE[:4]
    assert ask.execute_command("AI.TENSORGET", "t", "BLOB") == TENSOR.tobytes()
    put(ask, "t", np.float64(7))
    assert whole(ask) == [b"dtype", b"DOUBLE", b"shape", [], b"blob", np.float64(7).tobytes()]
    assert ask.info("everything")["hpcorch_version"] == __version__
    assert "hpcorch" in str(ask.execute_command("MODULE", "LIST"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("FLOAT", "f4"),
        ("DOUBLE", "f8"),
        ("INT8", "i1"),
        ("INT16", "i2"),
        ("INT32", "i4"),
        ("INT64", "i8"),
        ("UINT8", "u1"),
        ("UINT16", "u2"),
        ("BOOL", "?"),
    ],
)
@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_every_element_type_is_kept_with_its_name(server, name, kind):
    ask = server.start()
    array = np.ones((3, 1, 2), kind)
    put(ask, array=array, name=name.lower())
    assert whole(ask) == [b"dtype", name.encode(), b"shape", [3, 1, 2], b"blob", array.tobytes()]


def test_tensors_are_ordinary_keys(server):
    ask = server.start()
    data = os.urandom(1 << 20)
    big = np.frombuffer(data, np.uint8)
    for _ in range(2):
        put(ask, "big", big, "UINT8")
    assert ask.memory_usage("big") >= len(data)
    ask.rename("big", "b")
    assert ask.exists("big") == 0
    assert ask.copy("b", "c")
    ask.restore("d", 0, ask.dump("b"))
    ask.delete("b")
    for key in ("c", "d"):
        assert ask.execute_command("AI.TENSORGET", key, "BLOB") == data
    ask.unlink("c")
    ask.flushall(asynchronous=True)
    assert ask.dbsize() == 0


def test_models_and_scripts_are_kept_whole(server):
    ask = server.start()
    store = ("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "v1", "BATCHSIZE", 4, "MINBATCHSIZE", 2)
    assert ask.execute_command(*store, "MINBATCHTIMEOUT", 9, "BLOB", "ab", "c", "de") == b"OK"
    assert ask.execute_command("AI.MODELGET", "m", "BLOB") == b"abcde"
    assert ask.execute_command("AI.SCRIPTSET", "s", "GPU:1", "SOURCE", "def f(): pass") == b"OK"
    assert ask.execute_command("AI.SCRIPTGET", "s", "SOURCE") == b"def f(): pass"
    told = [b"MODEL", b"ONNX", b"CPU", b"v1", 0, 0, 0, 0]
    assert ask.execute_command("AI.INFO", "m")[3::2] == told
    assert ask.execute_command("AI.INFO", "s")[3::2] == [
        *(b"SCRIPT", b"TORCH", b"GPU:1", b""),
        *(0, -1, 0, 0),
    ]
    assert ask.execute_command("AI.INFO", "m", "RESETSTAT") == b"OK"
    assert ask.execute_command("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == 535822336
    assert ask.execute_command("AI.CONFIG", "MODEL_CHUNK_SIZE", 1024) == b"OK"
    assert ask.execute_command("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == 1024
    for command, key in (("AI.MODELDEL", "m"), ("AI.SCRIPTDEL", "s")):
        assert ask.execute_command(command, key) == b"OK"
        assert ask.exists(key) == 0


BAD = [
    (("AI.TENSORSET", "t", "DOUBLE", 2, "BLOB", b"x"), "data length does not match tensor shape"),
    (("AI.TENSORSET", "t", "FLOAT", 1 << 62, 4, "BLOB", b""), "data length does not match"),
    (("AI.TENSORSET", "t", "UINT32", 1, "BLOB", b"xxxx"), "invalid data type"),
    (("AI.TENSORSET", "t", "FLOAT", -1, "BLOB", b"x"), "invalid or negative value found"),
    (("AI.TENSORSET", "t", "FLOAT", "x", "BLOB", b"x"), "invalid or negative value found"),
    (("AI.TENSORSET", "t", "FLOAT", 1, "VALUES", 1), "a single binary string should come after"),
    (("AI.TENSORSET", "t", "INT8", *[1] * 65, "BLOB", b"x"), "at most 64 dimensions"),
    (("AI.TENSORSET", "t", "INT8"), "wrong number of arguments"),
    (("AI.TENSORSET", "text", "INT8", 1, "BLOB", b"x"), "WRONGTYPE"),
    (("AI.TENSORGET", "none", "META", "BLOB"), "tensor key is empty or in a different shard"),
    (("AI.TENSORGET", "m", "META", "BLOB"), "WRONGTYPE"),
    (("AI.TENSORGET", "t", "VALUES"), "unsupported argument"),
    (("AI.MODELSTORE", "t", "ONNX", "CPU", "BLOB", "a"), "WRONGTYPE"),
    (("AI.MODELSTORE", "n", "CAFFE", "CPU", "BLOB", "a"), "unsupported backend"),
    (("AI.MODELSTORE", "n", "ONNX", "TPU", "BLOB", "a"), "Invalid DEVICE"),
    (("AI.MODELSTORE", "n", "ONNX", "CPU", "BLOB"), "wrong number of arguments"),
    (("AI.MODELSTORE", "n", "ONNX", "CPU", "TAG", "BLOB"), "missing model BLOB"),
    (
        ("AI.MODELSTORE", "n", "ONNX", "CPU", "TAG", "a", "TAG", "b", "BLOB", "x"),
        "Invalid argument",
    ),
    (("AI.MODELSTORE", "n", "ONNX", "CPU", "BATCHSIZE", "x", "BLOB", "a"), "no whole number"),
    (("AI.MODELSTORE", "n", "TF", "CPU", "BLOB", "a"), "INPUTS and OUTPUTS not specified"),
    (("AI.MODELSTORE", "n", "TF", "CPU", "INPUTS", 9, "a", "BLOB", "a"), "the number of names"),
    (("AI.MODELGET", "none", "BLOB"), "model key is empty"),
    (("AI.MODELDEL", "none"), "model key is empty"),
    (("AI.MODELDEL", "t"), "WRONGTYPE"),
    (("AI.SCRIPTGET", "none", "SOURCE"), "script key is empty"),
    (("AI.SCRIPTDEL", "m"), "WRONGTYPE"),
    (("AI.SCRIPTSET", "n", "CPU", "TEXT", "x"), "missing script SOURCE"),
    (("AI.INFO", "t"), "cannot find run info for key"),
    (("AI.INFO", "none"), "cannot find run info for key"),
    (("AI.CONFIG", "MODEL_CHUNK_SIZE", 0), "MODEL_CHUNK_SIZE: invalid chunk size"),
    (("AI.CONFIG", "GET", "OTHER"), "unsupported setting"),
    (("AI.MODELEXECUTE", "m", "INPUTS", 1, "t", "OUTPUTS", 1, "u"), "no model worker"),
    (("AI.MODELEXECUTE", "m", "INPUTS", 1, "t", "OUTPUTS", 2, "u"), "the number of names"),
    (("AI.MODELEXECUTE", "m", "INPUTS", 0, "OUTPUTS", 1, "u"), "the number of names"),
    (("AI.MODELEXECUTE", "m", "INPUTS", 1, "t"), "missing INPUTS or OUTPUTS"),
    (("AI.MODELEXECUTE", "m", "INPUTS", 1, "t", "OUTPUTS", 1, "u", "v"), "Invalid argument"),
    (
        ("AI.MODELEXECUTE", "m", "INPUTS", 1, "t", "OUTPUTS", 1, "u", "TIMEOUT", 0),
        "Invalid value for TIMEOUT",
    ),
    (("AI.MODELEXECUTE", "m", "INPUTS", 1, "no", "OUTPUTS", 1, "u"), "tensor key is empty"),
    (("AI.MODELEXECUTE", "m", "INPUTS", 1, "m", "OUTPUTS", 1, "u"), "WRONGTYPE"),
    (("AI.MODELEXECUTE", "t", "INPUTS", 1, "t", "OUTPUTS", 1, "u"), "model key is empty"),
    (("AI.MODELEXECUTE",), "wrong number of arguments"),
    (("AI.SCRIPTRUN", "none", "f", "INPUTS", "t", "OUTPUTS", "u"), "script key is empty"),
    (("AI.SCRIPTRUN", "s", "f", "INPUTS", "no", "OUTPUTS", "u"), "tensor key is empty"),
    (("AI.SCRIPTRUN", "s", "f", "INPUTS", "t"), "missing OUTPUTS"),
    (("AI.SCRIPTRUN", "s", "f", "INPUTS", "t", "OUTPUTS"), "missing OUTPUTS"),
    (("AI.SCRIPTRUN", "s", "f", "t"), "missing INPUTS"),
    (("AI.SCRIPTRUN", "s", "f"), "wrong number of arguments"),
    (("AI.SCRIPTRUN", "s", "f", "TIMEOUT", "x", "INPUTS", "t"), "Invalid value for TIMEOUT"),
    (("HPCORCH.PROGRAM", "m", "META"), "unsupported argument"),
]


@pytest.fixture(scope="module")
def filled():
    """One server for all requests that change nothing."""
    with module_server("debian") as server:
        ask = server.start("WORKER_WAIT", "0")
        put(ask)
        ask.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "abc")
        ask.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "def f(): pass")
        ask.set("text", "x")
        yield ask


@pytest.mark.parametrize(("words", "expected"), BAD)
def test_what_makes_no_sense_is_refused_and_changes_nothing(filled, words, expected):
    with pytest.raises(redis.ResponseError, match=expected):
        filled.execute_command(*words)
    assert whole(filled) == WHOLE
    assert filled.execute_command("AI.MODELGET", "m", "BLOB") == b"abc"
    assert filled.dbsize() == 4


def fill(ask):
    put(ask)
    put(ask, "scalar", np.float64(3))
    put(ask, "large", np.arange(1 << 17, dtype="i8"), "INT64")
    ask.execute_command(
        *("AI.MODELSTORE", "m", "TF", "CPU", "TAG", "t", "BATCHSIZE", 2),
        *("INPUTS", 2, "a", "b", "OUTPUTS", 1, "c", "BLOB", "xy", "z"),
    )
    ask.execute_command("AI.SCRIPTSET", "s", "CPU", "TAG", "t", "SOURCE", "def f(): pass")


def everything(ask):
    return [
        *(whole(ask, key) for key in ("t", "scalar", "large")),
        ask.execute_command("AI.MODELGET", "m", "BLOB"),
        ask.execute_command("AI.INFO", "m"),
        ask.execute_command("AI.SCRIPTGET", "s", "SOURCE"),
        ask.execute_command("AI.INFO", "s"),
    ]


def test_a_snapshot_holds_everything(server):
    ask = server.start()
    fill(ask)
    before = everything(ask)
    ask.save()
    server.stop()
    assert everything(server.start()) == before


def test_a_rewritten_log_of_commands_holds_everything(server):
    ask = server.start("--aof-use-rdb-preamble", "no", "--appendonly", "yes")
    fill(ask)
    before = everything(ask)
    ask.bgrewriteaof()
    until(
        lambda: (
            not (
                ask.info("persistence")["aof_rewrite_in_progress"]
                or ask.info("persistence")["aof_rewrite_scheduled"]
            )
        ),
        "the end of the rewrite",
    )
    server.stop()
    assert everything(server.start("--appendonly", "yes")) == before


@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_the_digest_tells_changes_and_survives_a_reload(server):
    ask = server.start("--enable-debug-command", "yes")
    digest = ask.execute_command("DEBUG", "DIGEST")
    fill(ask)
    assert ask.execute_command("DEBUG", "DIGEST") != digest
    digest = ask.execute_command("DEBUG", "DIGEST")
    ask.execute_command("DEBUG", "RELOAD")
    assert ask.execute_command("DEBUG", "DIGEST") == digest
