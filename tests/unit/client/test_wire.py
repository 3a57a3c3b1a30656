"""The wire and the codec without a server: sockets that deliver in pieces of any size."""

from __future__ import annotations

import contextlib
import io
import itertools
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, MovedError, RedisError, ResponseError

from hpcorch.client import wire
from hpcorch.client.codecs import NpyCodec
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.npyheader import Layout, npy_header
from hpcorch.client.redisai import TENSORS, RedisAICodec
from hpcorch.client.replies import ReplyReader
from hpcorch.errors import InputTypeError


class Drip:
    """A socket that hands out `data` in pieces of the given sizes, then closes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data = memoryview(data)
        self.sizes = itertools.cycle(sizes)

    def recv_into(self, target: memoryview, _size: int = 0, _flags: int = 0) -> int:
        size = min(len(target), next(self.sizes), len(self.data))
        target[:size] = self.data[:size]
        self.data = self.data[size:]
        return size

    def recvmsg_into(self, targets: list[memoryview], _size: int = 0, flags: int = 0) -> Any:
        # As much as one look at the socket gives, spread over the targets.
        found = bytearray(sum(map(len, targets)))
        size = left = self.recv_into(memoryview(found), 0, flags)
        for target in targets:
            part = min(left, len(target))
            target[:part] = found[size - left : size - left + part]
            left -= part
        return size, [], 0, None


class Shy(Drip):
    """A socket that has nothing to receive unless one waits for it."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data, sizes)
        self.looks = 0

    def recv_into(self, target: memoryview, _size: int = 0, flags: int = 0) -> int:
        if flags == socket.MSG_DONTWAIT:
            self.looks += 1
            raise BlockingIOError
        return super().recv_into(target)


class Sip:
    """A socket that takes at most the given numbers of bytes at a time."""

    def __init__(self, sizes: list[int]) -> None:
        self.taken = bytearray()
        self.sizes = itertools.cycle(sizes)

    def sendall(self, data: Any) -> None:
        self.taken += data

    def sendmsg(self, buffers: list[Any]) -> int:
        data = b"".join(buffers)[: next(self.sizes)]
        self.taken += data
        return len(data)


def reader(data: bytes, *sizes: int) -> ReplyReader:
    sock: Any = Drip(data, list(sizes) or [10**9])
    return ReplyReader(sock)


SIZES = st.lists(st.integers(1, 200_000), min_size=1, max_size=5)


@given(parts=st.lists(st.binary(max_size=50), max_size=200), sizes=SIZES)
def test_every_byte_is_sent_in_order(parts, sizes):
    sock: Any = Sip(sizes)
    wire.send(sock, [memoryview(part) for part in parts])
    assert bytes(sock.taken) == b"".join(parts)


def test_pack():
    data = b"data" * 10_000
    body = memoryview(data)
    first: list[wire.Argument] = [b"SET", b"k", (b"head", body)]
    pieces = wire.pack([first, [b"GET", (b"k", b"2")]])
    assert b"".join(pieces) == (
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40004\r\nhead%b\r\n*2\r\n$3\r\nGET\r\n$2\r\nk2\r\n" % data
    )
    assert any(piece is body for piece in pieces)
    assert len(wire.pack([[b"SET", b"k", (b"head", memoryview(b"small"))]])) == 1


@given(length=st.integers(0, 400_000), sizes=SIZES)
def test_values_are_read_whatever_the_pieces(length, sizes):
    body = np.random.default_rng(length).bytes(length)
    found = reader(b"$%d\r\n%b\r\n+OK\r\n" % (length, body), *sizes)
    assert found.bulk_size() == length
    target = bytearray(length)
    found.into(memoryview(target))
    found.end_of_bulk()
    assert bytes(target) == body
    assert found.value() == b"OK"


def test_small_replies():
    data = b"+OK\r\n:-5\r\n$-1\r\n$3\r\na\r\n\r\n*3\r\n:1\r\n*-1\r\n-ERR in\r\n-MOVED 5 h:1\r\n"
    found = reader(data, 1)
    assert [found.value() for _ in range(4)] == [b"OK", -5, None, b"a\r\n"]
    one, none, error = found.value()
    assert (one, none) == (1, None)
    assert isinstance(error, ResponseError)
    with pytest.raises(MovedError) as caught:
        found.value()
    assert (caught.value.host, caught.value.port) == ("h", 1)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b"*%d\r\n" % 10**30,
        b":%d\r\n" % 10**30,
        b"$3\r\nabcd\r\n",
        b"x" * 200_000,
        b"*1\r\n" * 100,
    ],
)
def test_nonsense(data):
    with pytest.raises(InvalidResponse):
        reader(data).value()


def test_what_a_codec_leaves_unread_is_skipped():
    data = b"*3\r\n$5\r\nhello\r\n*2\r\n:1\r\n$300000\r\n%b\r\n-ERR x\r\n:7\r\n" % bytes(300_000)

    def give_up(after: int) -> Callable[[ReplyReader], None]:
        def read(reply: ReplyReader) -> None:
            reply.array_size()
            for _ in range(after):
                reply.value()
            reply.bulk_size() if after == 0 else reply.array_size()
            raise RedisRuntimeError("not what was wanted")

        return read

    for after in (0, 1):
        found = reader(data, 11, 100_000)
        with pytest.raises(RedisRuntimeError, match="not what"):
            found.one(give_up(after))
        assert found.one(ReplyReader.value) == 7


@pytest.mark.parametrize("data", [b"", b"$5\r\nab", b"+OK\r"])
def test_a_server_that_hangs_up(data):
    with pytest.raises(ConnectionError, match="closed the connection"):
        reader(data).value()


REPLIES = st.recursive(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
        st.binary(max_size=30).map(lambda text: b"$%d\r\n%b\r\n" % (len(text), text)),
        st.sampled_from([b"+OK\r\n", b"$-1\r\n", b"*-1\r\n", b"-ERR no\r\n", b"-MOVED x y\r\n"]),
    ),
    lambda inner: st.lists(inner, max_size=4).map(
        lambda parts: b"*%d\r\n%b" % (len(parts), b"".join(parts))
    ),
    max_leaves=10,
)


@given(reply=REPLIES, at=st.integers(0, 200), change=st.binary(max_size=3), sizes=SIZES)
def test_any_bytes_are_a_reply_or_an_error(reply, at, change, sizes):
    for data in (reply, reply[:at] + change + reply[at + len(change) :], change):
        with contextlib.suppress(RedisError, ConnectionError):
            reader(data, *sizes).value()


@given(reply=REPLIES, sizes=SIZES)
def test_any_reply_can_be_skipped(reply, sizes):
    def refuse(_reply: ReplyReader) -> None:
        raise RedisRuntimeError("unread")

    found = reader(reply + b":7\r\n", *sizes)
    with pytest.raises(RedisRuntimeError, match="unread"):
        found.one(refuse)
    assert found.value() == 7


def stored(array: np.ndarray[Any, Any]) -> bytes:
    """Return the value that an array becomes on a plain server."""
    value = NpyCodec().store_command(b"k", array)[2]
    return value if isinstance(value, bytes) else b"".join(value)


def through(array: np.ndarray[Any, Any], *sizes: int) -> Any:
    raw = stored(array)
    assert np.load(io.BytesIO(raw)).tobytes() == array.tobytes()
    return NpyCodec().read_tensor(reader(b"$%d\r\n%b\r\n" % (len(raw), raw), *sizes))


@pytest.mark.parametrize("dtype", ["?", "i1", "u4", "u8", ">f8", "f2", "c16", "M8[ns]", "S3", "U2"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7,), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_codec_keeps_dtype_shape_and_order(dtype, shape, order):
    array = np.zeros(shape, dtype, order=order)
    array.flat[:] = np.arange(array.size).astype(dtype)
    got = through(array, 7, 1000)
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert got.flags.f_contiguous == array.flags.f_contiguous
    assert got.tobytes() == array.tobytes()


def test_structured_subclassed_and_strided_arrays():
    record = np.zeros(3, [("a", "f4"), ("b", "i8", (2,))])
    assert through(record).dtype == record.dtype
    many = np.zeros(2, [(f"a_field_with_a_long_name_{i}", "f4") for i in range(100)])
    assert through(many).dtype == many.dtype
    mapped = np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    assert through(mapped).tolist() == [(1, 2.0)]
    strided = np.arange(60).reshape(3, 4, 5)[::2, ::-1, 1:4]
    assert np.array_equal(through(strided), strided)


@pytest.mark.parametrize("order", ["C", "F"])
def test_contiguous_arrays_are_not_copied(order):
    array = np.zeros((300, 400), order=order)
    value: Any = NpyCodec().store_command(b"k", array)[2]
    assert np.shares_memory(np.frombuffer(value[1], np.uint8), array)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ([1, 2], "numpy array, not list"),
        (3.0, "not float"),
        (np.array([{}], dtype=object), "Python objects"),
        (np.zeros(2, [("a", "O")]), "Python objects"),
        (np.ma.masked_array([1, 2], [False, True]), "mask would be lost"),
    ],
)
def test_what_cannot_be_stored(thing, message):
    with pytest.raises(TypeError, match=message) as caught:
        NpyCodec().store_command(b"k", thing)
    assert isinstance(caught.value, InputTypeError)


def npy_reply(array: np.ndarray[Any, Any]) -> bytes:
    raw = stored(array)
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def redisai_reply(array: np.ndarray[Any, Any]) -> bytes:
    kind, lengths = TENSORS[array.dtype.name], [b":%d\r\n" % length for length in array.shape]
    return b"*6\r\n$5\r\ndtype\r\n$%d\r\n%b\r\n$5\r\nshape\r\n*%d\r\n%b" % (
        *(len(kind), kind, array.ndim),
        b"".join(lengths),
    ) + b"$4\r\nblob\r\n$%d\r\n%b\r\n" % (array.nbytes, array.tobytes())


ARRAYS = st.builds(
    lambda kind, shape, order, seed: np.asarray(
        np.random.default_rng(seed).integers(0, 99, shape), kind, order=order
    ),
    st.sampled_from(["f8", "f4", "i2"]),
    st.sampled_from([(3,), (4, 5), (5, 4), (200, 100)]),
    st.sampled_from("CF"),
    st.integers(0, 9),
)


@given(arrays=st.lists(ARRAYS, max_size=8), sizes=SIZES, whole=st.booleans(), given=st.booleans())
@pytest.mark.parametrize(("codec", "reply"), [(NpyCodec, npy_reply), (RedisAICodec, redisai_reply)])
def test_one_tensor_after_another(codec, reply, arrays, sizes, whole, given):
    # The beginning of a reply is remembered: that must show in nothing but the time.
    used = codec()
    replies = [part for array in arrays for part in (reply(array), b"-ERR no\r\n", b"$-1\r\n")]
    # A server that is asked again when it has answered sends one whole reply after the other.
    found = reader(b"".join(replies), *(map(len, replies) if whole else sizes))
    for array in arrays:
        out = np.empty_like(array) if given else None

        def read(source, out=out):
            return used.read_tensor(source, out)

        got = found.one(read)
        assert got.dtype == array.dtype
        assert np.array_equal(got, array)
        assert got is out if given else got.flags.owndata
        with pytest.raises(ResponseError, match="no"):
            found.one(read)
        assert found.value() is None


@pytest.mark.parametrize("first", [1, 20, 150, 5000, 80_000])
def test_what_comes_in_place_of_a_known_tensor_is_read_whole(first):
    used, known = NpyCodec(), np.arange(20_000.0)
    for other in (np.arange(30_000), np.arange(3.0), known.astype("f4"), known + 1):
        reply = npy_reply(other)
        found = reader(npy_reply(known) + reply, len(npy_reply(known)), first, len(reply))
        for array in (known, other):
            got = found.one(used.read_tensor)
            assert got is not None
            assert np.array_equal(got, array)


@pytest.mark.parametrize("next_one", [np.arange(9000.0), np.arange(3)])
def test_a_tensor_for_which_there_is_no_room_is_in_nobodys_way(next_one):
    used, layout = NpyCodec(), Layout(np.dtype("f8"), (1,) * 70 + (9000,), False)
    value = npy_header(layout) + bytes(layout.nbytes)
    found = reader(2 * (b"$%d\r\n%b\r\n" % (len(value), value)) + npy_reply(next_one))
    for _ in range(2):
        with pytest.raises(RedisRuntimeError, match="impossible shape"):
            found.one(used.read_tensor)
    got = found.one(used.read_tensor)
    assert got is not None
    assert np.array_equal(got, next_one)


@given(st.binary(max_size=40))
def test_any_foreign_value_is_refused_clearly(tail):
    for value in (tail, b"\x93NUMPY" + tail, b"\x93NUMPY\x01\x00\x10\x00" + tail):
        with pytest.raises(RedisRuntimeError, match="it"):
            NpyCodec().read_tensor(reader(b"$%d\r\n%b\r\n" % (len(value), value)))


def test_header_caches_are_bounded():
    codec = NpyCodec()
    for length in range(2000):
        codec.store_command(b"k", np.empty((length, 0)))
    assert len(codec._headers) <= 512


def test_a_real_socket_takes_more_than_it_can_hold():
    left, right = socket.socketpair()
    body = np.random.default_rng(0).bytes(5_000_000)
    with left, right:
        left.settimeout(10)
        thread = threading.Thread(
            target=wire.send, args=(left, wire.pack([[b"SET", b"k", (memoryview(body),)]]))
        )
        thread.start()
        found = ReplyReader(right)
        assert found.value() == [b"SET", b"k", body]
        thread.join()


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_socket_that_stands_still(pieces):
    left, right = socket.socketpair()
    with left, right:
        wire.set_timeout(left, 0.2)
        with pytest.raises(TimeoutError, match="sends nothing"):
            ReplyReader(left).value()
        with pytest.raises(TimeoutError, match="takes no more"):
            wire.send(left, [bytes(10_000_000)] * pieces)


def test_vain_looks_become_rare():
    sock: Any = Shy(b":1\r\n" * 5000, [4])
    found = ReplyReader(sock)
    assert [found.value() for _ in range(1000)] == [1] * 1000
    before = sock.looks
    # By now there is one look in 251.
    assert [found.value() for _ in range(200)] == [1] * 200
    assert sock.looks == before


def test_a_reply_that_comes_late_is_waited_for():
    left, right = socket.socketpair()
    with left, right:
        wire.set_timeout(left, 60)
        found = ReplyReader(left)
        # More replies than the short look before sleeping is given up for.
        for number in range(40):
            timer = threading.Timer(0.002 * (number % 3), right.sendall, (b":%d\r\n" % number,))
            timer.start()
            assert found.value() == number
            timer.join()
