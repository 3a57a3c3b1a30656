"""Tensors through real servers, over every kind of connection."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpcorch.client import Client, ConfigOptions, RedisBadAllocError, RedisRuntimeError
from tests.redis.conftest import running

pytestmark = pytest.mark.redis

NUMBERS = st.one_of(
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.byte_string_dtypes(min_len=1, max_len=8),
    hnp.unicode_string_dtypes(min_len=1, max_len=8),
)
ARRAYS = hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))


def arrange(array, how):
    if how == "F":
        return np.asfortranarray(array) if array.ndim else array
    if how == "strided" and array.ndim:
        return np.repeat(array, 2, axis=0)[::2]
    return array


@pytest.fixture(params=["tcp", "uds", "tls", "password", "cluster"])
def client(request, monkeypatch):
    server = request.getfixturevalue(
        "cluster" if request.param == "cluster" else f"{request.param}_server"
    )
    nodes = server if isinstance(server, list) else [server]
    monkeypatch.setenv("SSDB", ",".join(node.ssdb for node in nodes))
    if nodes[0].credentials:
        monkeypatch.setenv("HPCORCH_CREDENTIALS", str(nodes[0].credentials))
    with Client() as made:
        yield made


@given(array=ARRAYS, how=st.sampled_from(["C", "F", "strided"]))
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_array_comes_back_as_it_went(client, array, how):
    sent = arrange(array, how)
    client.put_tensor("any", sent)
    got = client.get_tensor("any")
    assert got.dtype == sent.dtype
    assert got.shape == sent.shape
    assert got.tobytes() == sent.tobytes()
    assert got.flags.writeable


@pytest.mark.parametrize("size", [1, 8_000, 16_000, 16_384, 40_000, 1_000_003])
def test_sizes_around_the_buffers(client, size):
    array = np.random.default_rng(size).standard_normal(size)
    client.put_tensor("sized", array)
    assert np.array_equal(client.get_tensor("sized"), array)
    # The link is still in step afterwards.
    assert client.tensor_exists("sized")


def test_exists_delete_poll(client):
    assert not client.tensor_exists("gone")
    client.put_tensor("gone", np.arange(3))
    assert client.tensor_exists("gone")
    assert client.key_exists("gone")
    assert client.poll_tensor("gone", 1, 1)
    assert client.poll_key("gone", 1, 1)
    client.delete_tensor("gone")
    client.delete_tensor("gone")
    assert not client.poll_tensor("gone", 1, 3)
    assert not client.poll_key("gone", 1, 0)


@pytest.mark.parametrize("size", [0, 5, 100_000, 3_000_001])
def test_plain_bytes(client, size):
    data = np.random.default_rng(size).bytes(size)
    stream = io.BytesIO(data)
    stream.seek(size // 2)
    for sent in (stream, data, bytearray(data), memoryview(data)):
        client.delete_bytes("raw")
        assert not client.poll_bytes("raw", 1, 1)
        client.put_bytes("raw", sent)
        assert client.bytes_exists("raw")
        got = client.get_bytes("raw")
        assert got.tell() == 0
        assert got.getvalue() == data
    # Nothing holds on to what was sent.
    stream.truncate(0)
    with pytest.raises(RedisRuntimeError, match="no bytes 'nowhere' in the database"):
        client.get_bytes("nowhere")
    for wrong in ("text", np.ones(3), memoryview(b"with gaps")[::2]):
        with pytest.raises(TypeError, match="data"):
            client.put_bytes("raw", wrong)
    with pytest.raises(TypeError, match="name"):
        client.poll_bytes(42, 1, 1)


def test_missing_tensor_is_named(client):
    with pytest.raises(RedisRuntimeError, match="no tensor 'nowhere' in the database"):
        client.get_tensor("nowhere")


def test_names_may_hold_anything(client):
    for name in ("a b", "ünï", "{tag}x", "line\r\nbreak", "\x00", "x" * 3000):
        client.put_tensor(name, np.arange(4))
        assert np.array_equal(client.get_tensor(name), np.arange(4))
        client.delete_tensor(name)


def test_more_than_servers_allow_by_default(tmp_path):
    limit = str(2**40)
    raised = ("--proto-max-bulk-len", limit, "--client-query-buffer-limit", limit)
    # Pages of zeros that nobody has written to take no memory.
    array = np.zeros((1025, 2**20), np.uint8)
    array[-1, -1] = 7
    with running(tmp_path, *raised) as server, Client(False, server.ssdb) as client:
        client.put_tensor("huge", array)
        got = client.get_tensor("huge")
        assert got.shape == array.shape
        assert got[-1, -1] == 7
        server.admin().config_set("client-query-buffer-limit", 2**30)
        with pytest.raises(RedisRuntimeError, match=r"'huge'.*client-query-buffer-limit"):
            client.put_tensor("huge", array)
        assert client.tensor_exists("huge")


OUTS = {
    "same order": np.empty((200, 300)),
    "other order": np.empty((200, 300), order="F"),
    "strided": np.empty((400, 300))[::2],
    "native order said": np.empty((200, 300), "=f8"),
    "subclass": np.empty((200, 300)).view(np.matrix),
}


@pytest.mark.parametrize("how", OUTS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_given_array_is_filled(tcp_server, how, order):
    array = np.random.default_rng(0).standard_normal((200, 300)).copy(order=order)
    with Client(False, tcp_server.ssdb) as client:
        client.put_tensor("out", array)
        out = OUTS[how]
        out[...] = 0
        assert client.get_tensor("out", out=out) is out
        assert np.array_equal(out, array)


def test_a_given_array_that_does_not_fit(tcp_server):
    frozen = np.empty((200, 300))
    frozen.flags.writeable = False
    wrong: Any = [0.0]
    with Client(False, tcp_server.ssdb) as client:
        client.put_tensor("out", np.zeros((200, 300)))
        for out in (np.empty((300, 200)), np.empty((200, 300), ">f8"), np.empty((200, 300), "f4")):
            with pytest.raises(
                RedisRuntimeError, match=r"'out' .*float64 of shape \(200, 300\), but"
            ):
                client.get_tensor("out", out=out)
        with pytest.raises(ValueError, match="read-only"):
            client.get_tensor("out", out=frozen)
        with pytest.raises(TypeError, match="not list"):
            client.get_tensor("out", out=wrong)
        for empty in ((), (0,), (3, 0)):
            client.put_tensor("out", np.zeros(empty))
            assert client.get_tensor("out", out=np.ones(empty)).shape == empty


HIGH_WATER = """
import sys, numpy as np
from hpcorch.client import Client
def peak():
    text = open("/proc/self/status").read()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024
with Client(False, sys.argv[1]) as client:
    array = np.ones(int(sys.argv[2]) // 8)
    client.put_tensor("small", array[:1000])
    client.get_tensor("small")
    before = peak()
    client.put_tensor("peak", array)
    after_put = peak()
    del array
    # What the array has left can be used again, so that a second one is held.
    held = np.ones(int(sys.argv[2]) // 8)
    before_get = peak()
    got = client.get_tensor("peak")
    print(after_put - before, peak() - before_get)
"""


@pytest.mark.parametrize("kind", ["tcp", "uds", "tls"])
def test_no_copies_are_made_on_the_way(request, kind):
    server = request.getfixturevalue(f"{kind}_server")
    size = 2**26
    found = subprocess.run(
        [sys.executable, "-c", HIGH_WATER, server.ssdb, str(size)],
        env={**os.environ, "HPCORCH_CREDENTIALS": str(server.credentials or "")},
        capture_output=True,
        text=True,
        check=True,
    )
    put, get = map(int, found.stdout.split())
    assert put < size / 10
    assert size / 2 < get < size * 1.1


def test_numpy_reads_what_is_stored_and_we_read_what_numpy_writes(tcp_server):
    array = np.asfortranarray(np.arange(12, dtype=">f4").reshape(3, 4))
    raw = tcp_server.admin()
    with Client(False, tcp_server.ssdb) as client:
        client.put_tensor("npy", array)
        assert np.array_equal(np.load(io.BytesIO(raw.get("npy"))), array)
        stream = io.BytesIO()
        np.save(stream, array)
        raw.set("npy", stream.getvalue())
        assert np.array_equal(client.get_tensor("npy"), array)


@pytest.mark.parametrize(
    "value",
    [b"", b"hello", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\xff\xff", b"x" * 10**6],
)
def test_foreign_string(tcp_server, value):
    tcp_server.admin().set("foreign", value)
    with Client(False, tcp_server.ssdb) as client:
        with pytest.raises(RedisRuntimeError, match=r"'foreign' on 127.*not read: it holds"):
            client.get_tensor("foreign")
        assert client.key_exists("foreign")


def test_cut_and_pickled_npy(tcp_server):
    raw = tcp_server.admin()
    stream = io.BytesIO()
    np.save(stream, np.arange(10))
    raw.set("cut", stream.getvalue()[:-1])
    stream = io.BytesIO()
    np.save(stream, np.array([{}, None], dtype=object), allow_pickle=True)
    raw.set("pickled", stream.getvalue())
    with Client(False, tcp_server.ssdb) as client:
        with pytest.raises(RedisRuntimeError, match="does not fit"):
            client.get_tensor("cut")
        with pytest.raises(RedisRuntimeError, match="Python objects"):
            client.get_tensor("pickled")


def test_foreign_type(tcp_server):
    tcp_server.admin().delete("list")
    tcp_server.admin().rpush("list", "a")
    with Client(False, tcp_server.ssdb) as client:
        with pytest.raises(RedisRuntimeError, match=r"'list'.*WRONGTYPE"):
            client.get_tensor("list")
        assert client.key_exists("list")


def test_value_above_the_servers_limit(own_server):
    own_server.admin().config_set("proto-max-bulk-len", 2**20)
    with Client(False, own_server.ssdb) as client:
        with pytest.raises(RedisRuntimeError, match="proto-max-bulk-len"):
            client.put_tensor("big", np.zeros(2**23))
        client.put_tensor("small", np.zeros(10))


def test_server_out_of_memory(own_server):
    with Client(False, own_server.ssdb) as client:
        client.put_tensor("first", np.zeros(2**18))
        own_server.admin().config_set("maxmemory", 2**21)
        with pytest.raises(RedisBadAllocError, match="maxmemory"):
            client.put_tensor("second", np.zeros(2**18))


def test_suffix_with_a_dash(tcp_server, monkeypatch):
    monkeypatch.setenv("SSDB_my_db", tcp_server.ssdb)
    options = ConfigOptions.create_from_environment("my-db")
    with Client(options, logger_name="x") as client:
        client.put_tensor("dash", np.ones(2))
    monkeypatch.setenv("SSDB_my-db", tcp_server.ssdb)
    monkeypatch.setenv("SSDB_my_db", "127.0.0.1:1")
    with Client(ConfigOptions.create_from_environment("my-db")) as client:
        assert client.tensor_exists("dash")
