"""Many commands in one round trip, transactions, commands that must not be done twice."""

from __future__ import annotations

import numpy as np
import pytest

from hpcorch.client import RedisConnectionError, RedisRuntimeError
from hpcorch.client.codecs import NpyCodec
from hpcorch.client.config import ConfigOptions
from hpcorch.client.connection import Request
from hpcorch.client.routing import Router
from hpcorch.client.settings import read_settings
from hpcorch.errors import InputError
from tests.redis.test_client_connections import move_slot

pytestmark = pytest.mark.redis


def connect(nodes, **options: int) -> Router:
    source = ConfigOptions.create_from_environment("")
    source.override_string_option("SSDB", ",".join(node.ssdb for node in nodes))
    for name, value in options.items():
        source.override_integer_option(name, value)
    return Router(read_settings(source))


def plain(*words: bytes, repeatable: bool = True) -> Request:
    return Request(words[1], words, repeatable=repeatable)


def calls(node) -> int:
    total: int = node.admin().info("stats")["total_reads_processed"]
    return total


@pytest.fixture(params=["tcp", "uds", "tls", "cluster"])
def nodes(request, monkeypatch):
    server = request.getfixturevalue(
        "cluster" if request.param == "cluster" else f"{request.param}_server"
    )
    nodes = server if isinstance(server, list) else [server]
    if nodes[0].credentials:
        monkeypatch.setenv("HPCORCH_CREDENTIALS", str(nodes[0].credentials))
    return nodes


@pytest.fixture
def router(nodes):
    made = connect(nodes)
    yield made
    made.close()


def test_replies_come_in_the_order_of_the_commands(router):
    codec = NpyCodec()
    keys = [f"many{index}".encode() for index in range(100)]
    arrays = [np.full(index * 200, index, float) for index in range(100)]
    stored = [
        Request(key, codec.store_command(key, array))
        for key, array in zip(keys, arrays, strict=True)
    ]
    assert router.run_many(stored) == [b"OK"] * 100
    fetched = [Request(key, codec.fetch_command(key), codec.read_tensor) for key in keys]
    for array, got in zip(arrays, router.run_many(fetched), strict=True):
        assert np.array_equal(array, got)
    assert sum(router.run_many([plain(b"UNLINK", key) for key in keys])) == 100
    assert router.run_many([]) == []


def test_one_round_trip_for_each_shard(router, nodes):
    router.run_many([plain(b"GET", b"trip%d" % index) for index in range(100)])
    before = [calls(node) for node in nodes]
    router.run_many([plain(b"GET", b"trip%d" % index) for index in range(100)])
    once = [calls(node) for node in nodes]
    again = [calls(node) for node in nodes]
    # The question itself is read too; a TLS record may be read in more than one piece.
    most = 4 if nodes[0].credentials else 1
    for first, second, third in zip(before, once, again, strict=True):
        assert second - first - (third - second) <= most


def test_a_refusal_is_raised_after_all_have_been_run(router):
    router.run_many([plain(b"UNLINK", b"r%d" % index) for index in range(6)])
    router.run(b"r2", lambda link: link.command("RPUSH", b"r2", "x"))
    codec = NpyCodec()
    requests = [plain(b"SET", b"r0", b"1"), Request(b"r2", (b"GET", b"r2"), codec.read_tensor)]
    requests += [Request(b"r0", (b"GET", b"r0"), codec.read_tensor), plain(b"SET", b"r3", b"3")]
    with pytest.raises(RedisRuntimeError, match=r"command on key 'r2': WRONGTYPE"):
        router.run_many(requests)
    assert router.run_many([plain(b"GET", b"r0"), plain(b"GET", b"r3")]) == [b"1", b"3"]
    with pytest.raises(RedisRuntimeError, match=r"'r0' on .* was not read: it holds"):
        router.run_many(requests[2:])
    assert router.run(b"r3", lambda link: link.command("GET", b"r3")) == b"3"


def test_a_transaction_is_done_as_a_whole_or_not_at_all(router):
    router.run(b"{t}a", lambda link: link.command("UNLINK", b"{t}a", b"{t}b"))
    big = memoryview(bytes(100_000))
    requests = [plain(b"HSET", b"{t}a", b"f", b"1"), Request(b"{t}b", (b"SET", b"{t}b", (big,)))]
    assert router.run_together(b"{t}", requests) == [1, b"OK"]
    with pytest.raises(RedisRuntimeError, match=r"'\{t\}'.*wrong number of arguments"):
        router.run_together(b"{t}", [plain(b"HSET", b"{t}a", b"f", b"2"), plain(b"HSET", b"{t}a")])
    assert router.run(b"{t}a", lambda link: link.command("HGET", b"{t}a", "f")) == b"1"
    with pytest.raises(RedisRuntimeError, match="WRONGTYPE"):
        router.run_together(b"{t}", [plain(b"INCR", b"{t}a"), *requests])
    assert router.run(b"{t}a", lambda link: link.command("STRLEN", b"{t}b")) == 100_000


def test_a_named_server_is_asked(router, nodes):
    assert set(router.addresses) == {node.ssdb for node in nodes}
    for node in nodes:
        size = router.run_on(node.ssdb, lambda link: link.command("DBSIZE"))
        assert size == node.admin().dbsize()
    with pytest.raises(RedisRuntimeError, match=r"127.0.0.1:1 is no server.*its servers are"):
        router.run_on("127.0.0.1:1", lambda link: link.command("PING"))
    with pytest.raises(InputError, match="no address"):
        router.run_on("somewhere", lambda link: link.command("PING"))


def test_slots_that_moved_are_followed(cluster):
    first, second = cluster[0], cluster[1]
    slot = first.admin().execute_command("CLUSTER", "KEYSLOT", "{b}many")
    router = connect(cluster)
    keys = [b"{b}many%d" % index for index in range(20)]
    complete = move_slot(slot, first, second)
    # New keys of a slot on the move are sent on by ASK; a transaction waits for its end.
    assert router.run_many([plain(b"SET", key, b"1") for key in keys]) == [b"OK"] * 20
    complete()
    assert router.run_together(b"{b}", [plain(b"GET", key) for key in keys]) == [b"1"] * 20
    assert router.run_many([plain(b"UNLINK", key) for key in keys]) == [1] * 20
    move_slot(slot, second, first)()
    first.admin().config_resetstat()
    second.admin().config_resetstat()
    assert router.run_many([plain(b"SET", key, b"1") for key in keys]) == [b"OK"] * 20
    assert router.run_many([plain(b"UNLINK", key) for key in keys]) == [1] * 20
    router.close()


def test_what_must_not_be_done_twice_is_not(own_server):
    router = connect([own_server])
    push = plain(b"RPUSH", b"list", b"x", repeatable=False)
    router.run_many([push])
    # A link that was closed while idle is noticed before anything is sent.
    own_server.admin().client_kill_filter(_type="normal", skipme=True)
    router.run_many([push])
    own_server.admin().client_kill_filter(_type="normal", skipme=True)
    router.run(b"list", lambda link: link.bulk(*push_once()), repeatable=False)
    assert own_server.admin().llen("list") == 3
    router.close()


def push_once():
    return (b"RPUSH", b"list", b"x"), lambda reply: reply.value()


def test_a_server_that_is_gone_is_waited_for_even_then(own_server):
    router = connect([own_server], SR_CMD_TIMEOUT=1)
    own_server.stop()
    with pytest.raises(RedisConnectionError, match=r"within 1 s \(\d+ tries\).*refused"):
        router.run_many([plain(b"RPUSH", b"list", b"x", repeatable=False)])
    router.close()
