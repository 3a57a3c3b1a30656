"""Datasets and aggregation lists through real servers, one and a cluster of three."""

from __future__ import annotations

import threading
from typing import Any, cast

import numpy as np
import pytest

from hpcorch.client import (
    Client,
    Dataset,
    RedisBadAllocError,
    RedisInternalError,
    RedisKeyError,
    RedisRuntimeError,
    datasets,
    lists,
    wire,
)
from hpcorch.errors import InputError, InputTypeError

pytestmark = pytest.mark.redis


@pytest.fixture(params=["tcp", "uds", "cluster"])
def ssdb(request, monkeypatch):
    server = request.getfixturevalue(
        "cluster" if request.param == "cluster" else f"{request.param}_server"
    )
    nodes = server if isinstance(server, list) else [server]
    text = ",".join(node.ssdb for node in nodes)
    monkeypatch.setenv("SSDB", text)
    for node in nodes:
        node.admin().execute_command("FLUSHALL")
    return text


@pytest.fixture
def client(ssdb):
    with Client() as made:
        yield made


def sample(name, count=3):
    made = Dataset(name)
    for number in range(count):
        made.add_tensor(f"t{number}", np.full((2, 3), number, np.float32))
    made.add_meta_scalar("count", count)
    made.add_meta_string("word", "wörld")
    made.add_meta_string("word", "")
    return made


def same(one, other):
    assert one.get_tensor_names() == other.get_tensor_names()
    for name in one.get_tensor_names():
        assert one.get_tensor_type(name) is other.get_tensor_type(name)
        assert np.array_equal(one.get_tensor(name), other.get_tensor(name))
    assert sorted(one.get_metadata_field_names()) == sorted(other.get_metadata_field_names())
    for name in one.get_metadata_field_names():
        if one.get_metadata_field_type(name) is str:
            assert one.get_meta_strings(name) == other.get_meta_strings(name)
        else:
            assert one.get_meta_scalars(name).tolist() == other.get_meta_scalars(name).tolist()
            assert one.get_metadata_field_type(name) is other.get_metadata_field_type(name)


def test_put_get_exists_delete(client):
    assert not client.dataset_exists("d")
    client.put_dataset(sample("d"))
    assert client.dataset_exists("d")
    assert client.key_exists("{d}.meta")
    assert client.poll_dataset("d", 1, 1)
    got = client.get_dataset("d")
    assert got.get_name() == "d"
    same(got, sample("d"))
    client.delete_dataset("d")
    assert not client.poll_dataset("d", 1, 2)
    assert not client.key_exists("{d}.meta")
    assert not client.key_exists("{d}.tensors")


def test_a_dataset_replaces_all_of_the_older_one(client):
    client.put_dataset(sample("d", 5))
    client.put_dataset(sample("d", 1))
    same(client.get_dataset("d"), sample("d", 1))
    only_text = Dataset("d")
    only_text.add_meta_string("a", "b")
    client.put_dataset(only_text)
    assert client.get_dataset("d").get_tensor_names() == []


def test_a_fetched_dataset_can_be_extended_and_stored_again(client):
    client.put_dataset(sample("d"))
    got = client.get_dataset("d")
    got.add_tensor("more", np.arange(4))
    got.add_meta_scalar("count", 9)
    client.put_dataset(got)
    again = client.get_dataset("d")
    assert again.get_meta_scalars("count").tolist() == [3, 9]
    assert again.get_tensor("more").tolist() == [0, 1, 2, 3]


def test_all_that_npy_holds(client):
    made = Dataset("kinds")
    arrays = {
        "0-d": np.array(3.5),
        "empty": np.zeros((0, 3)),
        "bool": np.array([True, False]),
        "complex": np.array([1j]),
        "big-endian": np.arange(3, dtype=">u8"),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array(["a", "bc"]),
        "meta": np.arange(2),
    }
    for name, array in arrays.items():
        made.add_tensor(name, array)
    client.put_dataset(made)
    got = client.get_dataset("kinds")
    assert got.get_tensor_names() == list(arrays)
    for name, array in arrays.items():
        assert got.get_tensor(name).dtype == array.dtype
        assert got.get_tensor(name).shape == array.shape
        assert got.get_tensor(name).tobytes() == array.tobytes()


def test_copy_and_rename(client):
    client.put_dataset(sample("a"))
    client.copy_dataset("a", "b")
    client.rename_dataset("a", "c")
    assert not client.dataset_exists("a")
    assert not client.key_exists("{a}.tensors")
    for name in ("b", "c"):
        assert client.get_dataset(name).get_name() == name
        same(client.get_dataset(name), sample("a"))
    client.rename_dataset("c", "c")
    client.copy_dataset("c", "c")
    same(client.get_dataset("c"), sample("a"))


def test_what_is_missing(client):
    for call in (
        lambda: client.get_dataset("no"),
        lambda: client.copy_dataset("no", "x"),
        lambda: client.rename_dataset("no", "x"),
        lambda: client.rename_dataset("no", "no"),
    ):
        with pytest.raises(RedisKeyError, match="there is no dataset 'no' in the database"):
            call()
    with pytest.raises(RedisRuntimeError, match="there is no dataset 'no'"):
        client.delete_dataset("no")
    with pytest.raises(RedisRuntimeError, match="'bare' holds nothing"):
        client.put_dataset(Dataset("bare"))
    for call in (lambda: client.copy_tensor("no", "x"), lambda: client.rename_tensor("no", "x")):
        with pytest.raises(RedisRuntimeError, match=r"no tensor 'no'|'no'.*no such key"):
            call()


def test_copy_and_rename_tensors(client):
    for number in range(20):
        client.put_tensor(f"old{number}", np.full(3, number))
        client.copy_tensor(f"old{number}", f"copy{number}")
        client.rename_tensor(f"old{number}", f"new{number}")
        assert not client.tensor_exists(f"old{number}")
        for name in (f"copy{number}", f"new{number}"):
            assert client.get_tensor(name).tolist() == [number] * 3
    client.rename_tensor("new0", "new0")
    assert client.tensor_exists("new0")


def test_lists(client):
    assert client.get_list_length("l") == 0
    assert client.get_datasets_from_list("l") == []
    for number in range(5):
        client.put_dataset(sample(f"d{number}", number))
        client.append_to_list("l", sample(f"d{number}", number))
    assert client.get_list_length("l") == 5
    got = client.get_datasets_from_list("l")
    assert [one.get_name() for one in got] == ["d0", "d1", "d2", "d3", "d4"]
    for number, one in enumerate(got):
        same(one, sample(f"d{number}", number))
    for start, end, names in (
        (0, 1, ["d0", "d1"]),
        (-2, -1, ["d3", "d4"]),
        (3, 99, ["d3", "d4"]),
        (2, 1, []),
        (9, 12, []),
    ):
        found = client.get_dataset_list_range("l", start, end)
        assert [one.get_name() for one in found] == names


def test_polling_lists(client):
    for _ in range(2):
        client.append_to_list("l", sample("d"))
    assert [client.poll_list_length("l", n, 1, 1) for n in (1, 2, 3)] == [False, True, False]
    assert [client.poll_list_length_gte("l", n, 1, 1) for n in (1, 2, 3)] == [True, True, False]
    assert [client.poll_list_length_lte("l", n, 1, 1) for n in (1, 2, 3)] == [False, True, True]
    writer = threading.Timer(0.05, lambda: client.append_to_list("l", sample("d")))
    writer.start()
    assert client.poll_list_length_gte("l", 3, 5, 4000)
    writer.join()


def test_copy_rename_delete_lists(client):
    for name in ("a", "b", "c"):
        client.append_to_list("l", sample(name))
    client.append_to_list("m", sample("z"))
    client.copy_list("l", "m")
    client.rename_list("l", "n")
    assert [client.get_list_length(name) for name in ("l", "m", "n")] == [0, 3, 3]
    client.copy_list("m", "m")
    client.rename_list("m", "m")
    assert client.get_list_length("m") == 3
    client.delete_list("m")
    client.delete_list("m")
    assert client.get_list_length("m") == 0
    for call in (lambda: client.copy_list("no", "n"), lambda: client.rename_list("no", "n")):
        with pytest.raises(RedisRuntimeError, match="there is no list 'no'"):
            call()
    assert client.get_list_length("n") == 3


def test_a_list_that_points_nowhere(client):
    client.append_to_list("l", sample("gone"))
    with pytest.raises(RedisKeyError, match="no dataset 'gone'"):
        client.get_datasets_from_list("l")


def test_prefixes(ssdb, monkeypatch):
    monkeypatch.setenv("SSKEYOUT", "me")
    with Client() as writer:
        writer.put_dataset(sample("d"))
        writer.append_to_list("l", sample("d"))
        writer.put_tensor("t", np.arange(3))
        for key in ("me.{d}.meta", "me.l", "me.t"):
            assert writer.key_exists(key)
        # What is read has no prefix without SSKEYIN.
        assert not writer.tensor_exists("t")
        writer.use_tensor_ensemble_prefix(False)
        writer.use_dataset_ensemble_prefix(False)
        writer.use_list_ensemble_prefix(False)
        writer.put_tensor("bare", np.arange(3))
        assert writer.key_exists("bare")
    monkeypatch.setenv("SSKEYIN", "other,me")
    with Client() as reader:
        assert not reader.dataset_exists("d")
        reader.set_data_source("me")
        same(reader.get_dataset("d"), sample("d"))
        same(reader.get_datasets_from_list("l")[0], sample("d"))
        assert reader.get_tensor("t").tolist() == [0, 1, 2]
        reader.rename_tensor("t", "u")
        assert reader.key_exists("me.u")
        reader.copy_dataset("d", "e")
        reader.delete_dataset("d")
        assert reader.key_exists("me.{e}.meta")


def test_wrong_types(client):
    wrong: Any = 3
    for call in (
        lambda: client.put_dataset(wrong),
        lambda: client.append_to_list("l", wrong),
        lambda: client.append_to_list(wrong, sample("d")),
        lambda: client.copy_dataset("a", wrong),
        lambda: client.rename_dataset(wrong, "a"),
        lambda: client.copy_tensor("a", wrong),
        lambda: client.rename_tensor("a", wrong),
        lambda: client.copy_list("a", wrong),
        lambda: client.dataset_exists(wrong),
        lambda: client.poll_dataset(wrong, 1, 1),
        lambda: client.poll_dataset("a", cast("Any", "x"), 0),
        lambda: client.poll_list_length("a", cast("Any", "x"), 1, 1),
        lambda: client.get_dataset_list_range("a", cast("Any", "x"), 1),
        lambda: client.get_dataset_list_range("a", 0, cast("Any", None)),
        lambda: client.set_data_source(wrong),
        lambda: client.use_list_ensemble_prefix(cast("Any", "yes")),
    ):
        with pytest.raises(InputTypeError):
            call()
    with pytest.raises(InputError, match="list_length=-1"):
        client.poll_list_length("a", -1, 1, 1)


def test_damaged_datasets(tcp_server):
    admin = tcp_server.admin()
    with Client(False, tcp_server.ssdb) as client:
        for key, value in ((b"n", b"\x55"), (b".tensor_names", b"\4" + b"\0" * 8)):
            client.put_dataset(sample("d"))
            admin.hset("{d}.meta", key, value)
            with pytest.raises(RedisRuntimeError, match=r"of dataset 'd' (was not read|holds num)"):
                client.get_dataset("d")
        client.put_dataset(sample("d"))
        admin.hdel("{d}.tensors", "t1")
        with pytest.raises(RedisRuntimeError, match="'d' has lost its tensor 't1'"):
            client.get_dataset("d")
        admin.hset("{d}.tensors", "t1", b"no tensor")
        with pytest.raises(RedisRuntimeError, match=r"not read: it holds something else"):
            client.get_dataset("d")
        admin.delete("{d}.meta")
        admin.set("{d}.meta", "x")
        with pytest.raises(RedisRuntimeError, match="WRONGTYPE"):
            client.get_dataset("d")
        client.put_dataset(sample("d"))
        same(client.get_dataset("d"), sample("d"))
        admin.rpush("bad", "no entry")
        with pytest.raises(RedisInternalError, match="names no dataset"):
            client.get_datasets_from_list("bad")


def test_nothing_is_half_written_when_the_server_is_full(own_server):
    with Client(False, own_server.ssdb) as client:
        client.put_dataset(sample("d"))
        own_server.admin().config_set("maxmemory", 2**21)
        large = sample("d")
        large.add_tensor("large", np.zeros(2**19))
        with pytest.raises(RedisBadAllocError, match="maxmemory"):
            client.put_dataset(large)
        own_server.admin().config_set("maxmemory", 0)
        same(client.get_dataset("d"), sample("d"))


def test_a_large_dataset_is_marked_complete_last(own_server, monkeypatch):
    monkeypatch.setattr(datasets, "_MOST_TOGETHER", 10)
    with Client(False, own_server.ssdb) as client:
        client.put_dataset(sample("d"))
        same(client.get_dataset("d"), sample("d"))
        own_server.admin().config_set("maxmemory", 2**21)
        large = sample("d")
        large.add_tensor("large", np.zeros(2**19))
        with pytest.raises(RedisBadAllocError, match="maxmemory"):
            client.put_dataset(large)
        assert not client.dataset_exists("d")


def test_a_hundred_tensors_take_one_round_trip(tcp_server, mocker):
    made = sample("hundred", 100)
    with Client(False, tcp_server.ssdb) as client:
        client.put_dataset(made)
        sends = mocker.spy(wire, "send")
        client.put_dataset(made)
        assert sends.call_count == 1
        got = client.get_dataset("hundred")
        assert sends.call_count == 2
    same(got, made)


@pytest.fixture
def long_list(cluster):
    with Client(True, cluster[0].ssdb) as client:
        client.delete_list("many")
        for number in range(48):
            client.put_dataset(sample(f"many{number}"))
            client.append_to_list("many", sample(f"many{number}"))
        yield client


def test_a_list_takes_a_round_trip_a_shard(long_list, mocker):
    sends = mocker.spy(wire, "send")
    got = long_list.get_datasets_from_list("many")
    assert [one.get_name() for one in got] == [f"many{number}" for number in range(48)]
    # One for the list, then one to each shard for the first 16 and one for all others.
    assert sends.call_count == 1 + 2 * 3


def test_large_datasets_are_asked_for_a_few_at_once(long_list, mocker, monkeypatch):
    monkeypatch.setattr(lists, "_BATCH_BYTES", 2 * sample("x").get_data().nbytes)
    fetch = mocker.spy(long_list, "_fetch")
    assert len(long_list.get_datasets_from_list("many")) == 48
    assert [len(call.args[0]) for call in fetch.call_args_list] == [16] + [2] * 16
