"""Frames: what goes in comes out, and no bytes whatsoever do harm."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpcorch.client import frames
from hpcorch.client.frames import FrameError, Stream
from hpcorch.client.messages import Request, answer_parser, good_answer, request_parser
from hpcorch.client.model_queue import Bytes
from hpcorch.errors import InputTypeError

NUMBERS = st.one_of(
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
)
ARRAYS = st.lists(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, min_side=0)), max_size=4)


def joined(request: Request, arrays) -> bytes:
    return b"".join(frames.pack(request.head(arrays), arrays))


@pytest.fixture
def pair():
    ours, theirs = (Stream(sock) for sock in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


@given(arrays=ARRAYS, cut=st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_arrays_come_out_as_they_went_in(arrays, cut):
    ours, theirs = (Stream(sock) for sock in socket.socketpair())
    try:
        sent = [frames.sendable(array, "x", 0) for array in arrays]
        ours.send(good_answer(sent), sent)
        from_socket = theirs.read(answer_parser())[1]
        from_memory = frames.read(
            Bytes(b"".join(frames.pack(good_answer(sent), sent))), answer_parser()
        )[1]
    finally:
        ours.close()
        theirs.close()
    for got in (from_socket, from_memory):
        assert [item.dtype for item in got] == [item.dtype for item in sent]
        for mine, other in zip(got, sent, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_frames_that_come_together_or_in_pieces_are_told_apart(pair):
    ours, theirs = pair
    small, large = np.arange(3), np.arange(100_000.0)
    request = Request("model", "m", 1.0)
    text = joined(request, [small]) + joined(request, [small, small])
    for at in range(0, len(text), 7):
        ours.send_bytes(text[at : at + 7])
    assert [len(theirs.read(request_parser())[1]) for _ in range(2)] == [1, 2]
    # Larger than what the kernel keeps: somebody must read meanwhile.
    ours.send_bytes(joined(request, [small]) + joined(request, [large])[:5000])
    assert theirs.read(request_parser())[1][0].tolist() == [0, 1, 2]


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused(data):
    with pytest.raises(FrameError):
        frames.read(Bytes(data), request_parser())


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_frame_with_changed_bytes_is_refused_or_still_a_request(data):
    whole = bytearray(joined(Request("model", "name", 1.0, inputs=("a",)), [np.arange(4.0)]))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        request, arrays = frames.read(Bytes(bytes(whole)), request_parser())
    except FrameError:
        return
    assert request.work in ("model", "script", "load_model", "load_script")
    assert sum(array.nbytes for array in arrays) <= len(whole)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"[]", "no JSON object"),
        (b'{"seconds":1}', "which no worker does"),
        (b'{"seconds":NaN,"work":"model"}', "how long"),
        (b'{"seconds":1e300,"work":"model"}', "how long"),
        (b'{"seconds":true,"work":"model"}', "how long"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_header_is_refused_with_the_reason(header, said):
    frame = frames.PREFIX.pack(frames.MAGIC, len(header), 0) + header
    with pytest.raises(FrameError, match=said):
        frames.read(Bytes(frame), request_parser())


@pytest.mark.parametrize(
    "arrays",
    [
        "x",
        [["<f4"]],
        [["O", [1]]],
        [["<f4", [-1]]],
        [["<f4", [1.0]]],
        [["<f4", [True]]],
        [["<U4", [1]]],
        [["<f3", [1]]],
        [["<f4", [1] * 33]],
        [["i8,O", [1]]],
        [[["a", "<f4"], [1]]],
        [["<f4", [2**63]]],
        [["<f8", [0, 2**61]]],
    ],
)
def test_impossible_arrays_are_refused(arrays):
    with pytest.raises(FrameError):
        frames.read_layouts(arrays)


def test_no_memory_is_taken_before_the_size_is_admitted():
    def refuse(size: int) -> None:
        raise FrameError(f"{size} bytes are too many")

    request = Request("model", "m", 1.0)
    sizes = frames.PREFIX.pack(frames.MAGIC, 2**20 + 1, 0)
    with pytest.raises(FrameError, match="header of a frame is"):
        frames.read(Bytes(sizes), request_parser())
    huge = request.head([np.broadcast_to(np.float64(0), (2**20, 2**20))])
    with pytest.raises(FrameError, match=r"a frame is cut short|too many"):
        frames.read(Bytes(huge), request_parser(), refuse)


@pytest.mark.parametrize(
    "bad", [[1.0], "x", None, np.array(["a"]), np.array([None]), np.zeros(2, "M8[s]")]
)
def test_what_is_no_array_of_numbers_is_refused(bad):
    with pytest.raises(InputTypeError, match="input 0"):
        frames.sendable(bad, "input", 0)


def test_a_silent_connection_ends_with_a_timeout(pair):
    ours, _ = pair
    ours.set_timeout(0.05)
    with pytest.raises(TimeoutError):
        ours.read(answer_parser())
