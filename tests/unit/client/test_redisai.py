"""What is sent to a server with RedisAI, against recordings of SmartRedis 0.6.1."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse

from hpcorch.client import (
    Client,
    Dataset,
    RedisConnectionError,
    RedisReplyError,
    RedisRuntimeError,
)
from hpcorch.client.redisai import RedisAICodec
from hpcorch.client.replies import ReplyReader
from hpcorch.errors import InputError, InputTypeError
from tests.unit.client.recording import RecordingServer, encode, read_transcript

CALLS = read_transcript(Path(__file__).parent / "transcripts/redisai.txt")
KINDS = {"f8": "<f8", "f4": "<f4", "i8": "<i8", "i4": "<i4", "i2": "<i2"}
KINDS |= {"i1": "i1", "u2": "<u2", "u1": "u1"}


@pytest.fixture
def server():
    made = RecordingServer()
    yield made
    made.close()


@pytest.fixture
def client(server):
    with Client(False, server.address) as made:
        yield made


@pytest.fixture
def sent(server, client):
    """Check that a call sends what was recorded of it, and return what the call returns."""

    def check(name, call, in_order=True):
        server.recorded.clear()
        result = call()
        expected, got = CALLS[name], server.recorded
        if not in_order:
            # SmartRedis keeps fields and tensors in hash tables, in the order of those.
            expected, got = sorted(expected), sorted(got)
        assert got == expected
        return result

    return check


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_every_type(client, sent, kind):
    array = np.arange(6, dtype=KINDS[kind]).reshape(2, 3)
    sent(f"put_tensor('t_{kind}', 2x3 {kind})", lambda: client.put_tensor(f"t_{kind}", array))
    got = client.get_tensor(f"t_{kind}")
    assert got.dtype == array.dtype
    assert np.array_equal(got, array)
    assert got.flags.writeable
    filled = np.zeros_like(array)
    assert client.get_tensor(f"t_{kind}", out=filled) is filled
    assert np.array_equal(filled, array)


def test_other_calls_for_tensors(client, sent):
    put = client.put_tensor
    sent("put_tensor 1-D", lambda: put("t1", np.arange(4.0)))
    sent("put_tensor strided a[::2]", lambda: put("tst", np.arange(8.0)[::2]))
    fortran = np.asfortranarray([[0.0, 3.0, 1.0], [4.0, 2.0, 5.0]])
    sent("put_tensor fortran order 2x3", lambda: put("tf", fortran))
    sent("tensor_exists yes", lambda: client.tensor_exists("t1"))
    sent("copy_tensor", lambda: client.copy_tensor("t1", "t1copy"))
    sent("rename_tensor", lambda: client.rename_tensor("t1copy", "t1ren"))
    assert client.get_tensor("t1ren").tolist() == [0, 1, 2, 3]
    assert not sent("poll_tensor no (5ms x 2)", lambda: client.poll_tensor("nope", 5, 2))


def full(name):
    made = Dataset(name)
    made.add_meta_string("empty", "")
    made.add_meta_string("str", "hello")
    made.add_meta_string("str", "wörld")
    made.add_meta_scalar("s_u8", np.uint64(10))
    made.add_meta_scalar("s_u4", np.uint32(9))
    made.add_meta_scalar("s_i8", np.int64(-3))
    made.add_meta_scalar("s_i4", np.int32(7))
    made.add_meta_scalar("s_f4", np.float32(0.5))
    made.add_meta_scalar("s_f8", 1.5)
    made.add_meta_scalar("s_f8", 2.5)
    made.add_tensor("a", np.arange(3, dtype=np.float32))
    made.add_tensor("b", np.arange(4).reshape(2, 2))
    return made


def test_datasets_and_lists(client, sent):
    sent("put_dataset", lambda: client.put_dataset(full("ds1")), in_order=False)
    assert sent("dataset_exists yes", lambda: client.dataset_exists("ds1"))
    got = sent("get_dataset", lambda: client.get_dataset("ds1"))
    assert got.get_tensor("b").tolist() == [[0, 1], [2, 3]]
    assert got.get_meta_strings("str") == ["hello", "wörld"]
    assert got.get_meta_scalars("s_f8").tolist() == [1.5, 2.5]
    client.put_dataset(full("ds4"))
    only = Dataset("dsm")
    only.add_meta_scalar("pyint", 5)
    sent("put_dataset meta only, py int", lambda: client.put_dataset(only))
    sent("append_to_list", lambda: client.append_to_list("L", full("ds1")))
    client.append_to_list("L", full("ds4"))
    assert sent("get_list_length", lambda: client.get_list_length("L")) == 2
    listed = sent("get_datasets_from_list", lambda: client.get_datasets_from_list("L"))
    assert [one.get_name() for one in listed] == ["ds1", "ds4"]
    last = "get_dataset_list_range(L,-1,-1)"
    assert len(sent(last, lambda: client.get_dataset_list_range("L", -1, -1))) == 1


def test_prefixes(server, monkeypatch):
    monkeypatch.setenv("SSKEYIN", "p1,p2")
    monkeypatch.setenv("SSKEYOUT", "p1")
    dataset = Dataset("pds")
    dataset.add_meta_scalar("pyint", 5)
    with Client(False, server.address) as client:
        for name, call in {
            "put_tensor (prefix)": lambda: client.put_tensor("pt", np.arange(2.0)),
            "get_tensor (prefix)": lambda: client.get_tensor("pt"),
            "put_dataset (prefix)": lambda: client.put_dataset(dataset),
            "append_to_list (prefix)": lambda: client.append_to_list("PL", dataset),
        }.items():
            server.recorded.clear()
            call()
            assert server.recorded == CALLS[name]
        client.append_to_list("PL", dataset)
        server.recorded.clear()
        assert len(client.get_datasets_from_list("PL")) == 2
        assert server.recorded == CALLS["get_datasets_from_list (prefix)"]


def test_copy_rename_delete_leave_nothing_behind(client, server):
    client.put_dataset(full("ds1"))
    client.copy_dataset("ds1", "ds2")
    client.rename_dataset("ds1", "ds3")
    client.delete_dataset("ds2")
    assert sorted(server.tensors) == [b"{ds3}.a", b"{ds3}.b"]
    assert [key for key, held in server.hashes.items() if held] == [b"{ds3}.meta"]
    client.delete_dataset("ds3")
    assert not server.tensors


@pytest.mark.parametrize("kind", ["u4", "u8", "?", "c16", "f2", "S3", "U2", "M8[s]", ">f8"])
def test_types_that_redisai_lacks(client, server, kind):
    with pytest.raises(InputTypeError, match="holds no tensors of dtype"):
        client.put_tensor("t", np.zeros(4, kind))
    dataset = full("d")
    dataset.add_tensor("t", np.zeros(4, kind))
    with pytest.raises(InputTypeError, match="holds no tensors of dtype"):
        client.put_dataset(dataset)
    assert server.recorded == []


@pytest.mark.parametrize("array", [np.array(1.0), np.zeros(0), np.zeros((2, 0))])
def test_shapes_that_redisai_lacks(client, server, array):
    with pytest.raises(InputTypeError, match="holds no tensors of shape"):
        client.put_tensor("t", array)
    assert server.recorded == []


def test_a_name_that_is_taken(client, server):
    dataset = Dataset("d")
    dataset.add_tensor("meta", np.ones(2))
    with pytest.raises(InputError, match="'meta' of dataset 'd' cannot be stored"):
        client.put_dataset(dataset)
    assert server.recorded == []


def test_missing_and_damaged_tensors(client, server):
    with pytest.raises(RedisRuntimeError, match=r"'nope': .*tensor key is empty"):
        client.get_tensor("nope")
    for value, text in (
        ([b"BOOL", b"2", b"BLOB", b"ab"], "unknown type b'BOOL'"),
        ([b"FLOAT", b"2", b"BLOB", b"ab"], r"2 bytes for float32 of shape \(2,\)"),
        ([b"FLOAT", b"-1", b"-1", b"BLOB", b"abcd"], r"impossible shape \[-1, -1\]"),
    ):
        server.tensors[b"k"] = [b"k", *value]
        with pytest.raises(RedisRuntimeError, match=text):
            client.get_tensor("k")
    client.put_tensor("k", np.arange(2))
    assert client.get_tensor("k").tolist() == [0, 1]
    with pytest.raises(RedisRuntimeError, match="but out is float64"):
        client.get_tensor("k", out=np.zeros(2))


@pytest.mark.parametrize("cut", [b"EXEC", b"HGETALL"])
def test_a_server_that_hangs_up_in_the_middle_is_asked_again(client, server, cut):
    server.cuts = [b"EXEC"]
    client.put_dataset(full("d"))
    server.cuts = [cut, cut]
    got = client.get_dataset("d")
    assert got.get_tensor("b").tolist() == [[0, 1], [2, 3]]
    assert got.get_meta_strings("str") == ["hello", "wörld"]
    assert server.cuts == []


def test_an_append_is_not_repeated(client, server):
    server.cuts = [b"RPUSH"]
    with pytest.raises(RedisConnectionError, match="'L'"):
        client.append_to_list("L", full("d"))
    assert client.get_list_length("L") == 1


def test_the_server_is_asked_once_what_it_can(mocker, server):
    answer = mocker.spy(server, "_answer")
    with Client(False, server.address) as client:
        for _ in range(3):
            client.put_tensor("t", np.ones(2))
            client.get_tensor("t")
    asked = [call for call in answer.call_args_list if call.args[0][0] == b"COMMAND"]
    assert len(asked) == 1


VALUES = st.recursive(
    st.integers(-3, 2**70)
    | st.binary(max_size=8)
    | st.sampled_from([b"dtype", b"shape", b"blob", b"FLOAT", b"DOUBLE"]),
    lambda inner: st.lists(inner, max_size=7),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=6, max_size=6) | VALUES)
@example([b"dtype", b"INT8", b"shape", [2**62, 4], b"blob", b""])
@example([b"dtype", [], b"shape", [1], b"blob", b"1"])
@example([b"dtype", b"INT8", b"shape", [b"1"], b"blob", b"1"])
def test_any_answer_is_a_tensor_or_refused(answer):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(encode(answer) + b"+next\r\n")
        reader = ReplyReader(ours)
        try:
            found = reader.one(RedisAICodec().read_tensor)
        except RedisReplyError:
            found = None
        except InvalidResponse:
            # Not even an array: the connection is closed then.
            return
        assert found is None or found.nbytes == len(answer[5])
        assert reader.value() == b"next"
