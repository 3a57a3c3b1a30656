"""A client against servers that misbehave at a chosen moment."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpcorch.client import (
    Client,
    RedisBadAllocError,
    RedisConnectionError,
    RedisDatabaseError,
    RedisInternalError,
    RedisRuntimeError,
    RedisTimeoutError,
)
from hpcorch.client.connection import Request
from hpcorch.client.replies import ReplyReader
from hpcorch.client.routing import Router
from hpcorch.client.settings import legacy_settings

SILENCE = b"silence"
SILENT_SECONDS = 20
HANG_UP = b"hang up"


class Scripted:
    """A server on a free port; `answer(n, words)` is its reply to the n-th GET or SET.

    `greeting` is its reply to PING.
    """

    def __init__(self, answer: Callable[[int, list[bytes]], bytes], greeting: bytes) -> None:
        self.answer = answer
        self.greeting = greeting
        self.counted = 0
        self.connections = 0
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        # Who waits for a connection would else go on to wait, at a number that others get.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self) -> None:
        while not self.over.is_set():
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer: socket.socket) -> None:
        with peer:
            reader = ReplyReader(peer)
            while True:
                try:
                    words = reader.value()
                except OSError:
                    return
                # redis-py introduces itself first.
                reply = self.greeting if words[0] == b"PING" else b"+OK\r\n"
                if words[0] in (b"GET", b"SET"):
                    self.counted += 1
                    reply = self.answer(self.counted, words)
                body, cut, _ = reply.partition(HANG_UP)
                body, still, _ = body.partition(SILENCE)
                peer.sendall(body)
                if still:
                    self.over.wait(SILENT_SECONDS)
                if cut or still:
                    return


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setenv("SR_CMD_TIMEOUT", "30")
    monkeypatch.setenv("SR_CONN_TIMEOUT", "30")
    monkeypatch.setenv("SR_SOCKET_TIMEOUT", "30000")
    servers = []

    def start(answer: Callable[[int, list[bytes]], bytes], greeting: bytes = b"+OK\r\n") -> Any:
        servers.append(Scripted(answer, greeting))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=[HANG_UP, SILENCE])
def ending(request, scripted, monkeypatch):
    """How an answer ends; a busy machine must not be taken for a silent server."""
    if request.param == SILENCE:
        monkeypatch.setenv("SR_SOCKET_TIMEOUT", "2000")
    return request.param


@pytest.fixture
def hasty(scripted, monkeypatch):
    """For tests that must see a failure."""
    monkeypatch.setenv("SR_CMD_TIMEOUT", "1")
    monkeypatch.setenv("SR_CONN_TIMEOUT", "1")


def stored(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return b"$%d\r\n%b\r\n" % (len(out.getvalue()), out.getvalue())


WHOLE = stored(np.arange(100_000))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("greeting", [HANG_UP, b"+PO" + HANG_UP, SILENCE])
def test_a_server_that_never_greets(scripted, hasty, greeting, monkeypatch):
    monkeypatch.setenv("SR_SOCKET_TIMEOUT", "300")
    server = scripted(lambda n, words: b"", greeting)
    with pytest.raises(RedisConnectionError, match=r"no server answered at .* within 1 s"):
        Client(False, server.address)


@pytest.mark.parametrize("length", [0, 1, 5, 100, 700_000])
def test_a_reply_that_stops_half_way_is_asked_for_again(scripted, length, ending):
    server = scripted(lambda n, words: WHOLE if n > 1 else WHOLE[:length] + ending)
    with Client(False, server.address) as client:
        assert np.array_equal(client.get_tensor("k"), np.arange(100_000))
        assert np.array_equal(client.get_tensor("k"), np.arange(100_000))
    # The first connection was dropped, the second one served all that followed.
    assert server.connections == 2


def test_a_server_that_always_hangs_up(scripted, hasty):
    server = scripted(lambda n, words: WHOLE[:500] + HANG_UP)
    with (
        Client(False, server.address) as client,
        pytest.raises(RedisConnectionError, match=r"did not complete.*'k' within 1 s.*closed"),
    ):
        client.get_tensor("k")


def test_a_server_that_never_answers(scripted, hasty, monkeypatch):
    monkeypatch.setenv("SR_SOCKET_TIMEOUT", "2000")
    server = scripted(lambda n, words: SILENCE)
    started = time.monotonic()
    with (
        Client(False, server.address) as client,
        pytest.raises(RedisTimeoutError, match=r"did not complete.*'k' within 1 s.*timed out"),
    ):
        client.put_tensor("k", np.ones(3))
    # It hangs up at last.
    assert time.monotonic() - started < SILENT_SECONDS


@pytest.mark.parametrize(
    "error", [b"LOADING loading", b"CLUSTERDOWN down", b"TRYAGAIN later", b"MASTERDOWN away"]
)
def test_passing_trouble_is_waited_out_until_the_deadline(scripted, error, monkeypatch):
    server = scripted(lambda n, words: b"+OK\r\n" if n > 2 else b"-%b\r\n" % error)
    with Client(False, server.address) as client:
        client.put_tensor("k", np.ones(3))
    monkeypatch.setenv("SR_CMD_TIMEOUT", "1")
    always = scripted(lambda n, words: b"-%b\r\n" % error)
    with (
        Client(False, always.address) as client,
        pytest.raises(RedisDatabaseError, match=r"'k' within .* tries\): .*" + error.decode()[-4:]),
    ):
        client.put_tensor("k", np.ones(3))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("NOPERM this user has no permissions", RedisRuntimeError),
        ("MISCONF errors writing to disk", RedisDatabaseError),
        ("READONLY against a read only replica", RedisDatabaseError),
        ("NOREPLICAS not enough good replicas", RedisDatabaseError),
        ("OOM command not allowed", RedisBadAllocError),
    ],
)
def test_refusals_are_final(scripted, text, error):
    server = scripted(lambda n, words: b"-%b\r\n" % text.encode())
    with (
        Client(False, server.address) as client,
        pytest.raises(error, match=f"refused a command on key 'k': .*{text[-8:]}") as caught,
    ):
        client.put_tensor("k", np.ones(3))
    assert type(caught.value) is error
    assert server.counted == 1


def test_nonsense(scripted):
    server = scripted(lambda n, words: b"HTTP/1.1 400 Bad Request\r\n")
    with (
        Client(False, server.address) as client,
        pytest.raises(RedisInternalError, match=r"HTTP/1\.1 400"),
    ):
        client.get_tensor("k")


def router_of(address: str) -> Router:
    return Router(legacy_settings(False, address))


def test_only_what_may_be_done_twice_is(scripted, ending):
    server = scripted(lambda n, words: b"+OK\r\n" if n != 3 else ending)
    router = router_of(server.address)
    requests = [Request(b"k", (b"SET", b"k", b"v")) for _ in range(5)]
    assert router.run_many(requests) == [b"OK"] * 5
    # Two were answered before the break, three were sent again.
    assert server.counted == 6

    once = scripted(lambda n, words: b"+OK\r\n" if n != 3 else ending)
    router = router_of(once.address)
    requests[3] = Request(b"k", (b"SET", b"k", b"v"), repeatable=False)
    with pytest.raises(
        (RedisConnectionError, RedisTimeoutError), match=r"on key 'k', which may have been done"
    ):
        router.run_many(requests)
    assert once.counted == 3
    alone = scripted(lambda n, words: ending)
    router = router_of(alone.address)
    with pytest.raises((RedisConnectionError, RedisTimeoutError), match="may have been done"):
        router.run(b"k", lambda link: link.command("SET", "k", "v"), repeatable=False)
    assert alone.counted == 1


def test_a_server_that_is_loading_has_not_done_it(scripted):
    server = scripted(lambda n, words: b"+OK\r\n" if n > 2 else b"-LOADING loading\r\n")
    requests = [Request(b"k", (b"SET", b"k", b"v"), repeatable=False) for _ in range(3)]
    assert router_of(server.address).run_many(requests) == [b"OK"] * 3
    # All three were sent at once, and two of them again.
    assert (server.counted, server.connections) == (5, 1)


FOREIGN = [
    b"$5\r\nhello\r\n",
    b"$300000\r\n%b\r\n" % bytes(300_000),
    WHOLE.replace(b"<i8", b"|O8", 1),
    WHOLE.replace(b"<i8", b"<i4", 1),
    b"$-1\r\n",
    b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    b"-ERR out of order\r\n",
    b"*2\r\n:1\r\n$3\r\nabc\r\n",
    b":5\r\n",
]


@pytest.mark.parametrize("reply", FOREIGN)
def test_the_next_call_works_after_any_answer(scripted, reply):
    server = scripted(lambda n, words: WHOLE if n % 2 == 0 else reply)
    with Client(False, server.address) as client:
        for out in (None, np.empty(100_000, int)):
            with pytest.raises((RedisRuntimeError, RedisInternalError)):
                client.get_tensor("k", out=out)
            assert np.array_equal(client.get_tensor("k", out=out), np.arange(100_000))
        misfit = np.empty(3)
        server.counted = 1
        with pytest.raises(RedisRuntimeError, match="but out is float64"):
            client.get_tensor("k", out=misfit)
    # Only an answer of another kind than was asked for costs the connection.
    assert server.connections == (3 if reply[:1] in b":*" else 1)
