"""Tensors on a server that has RedisAI's tensor commands, stored as SmartRedis stores them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hpcorch.client.codecs import (
    SMALL_BYTES,
    Tensor,
    bytes_of,
    receive_tensor,
    remember,
    storable,
)
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.npyheader import DType, Layout
from hpcorch.client.replies import ReplyReader
from hpcorch.client.wire import Argument, Command
from hpcorch.errors import InputTypeError

# NumPy's types that RedisAI has, and what it calls them.
TENSORS = {
    "float64": b"DOUBLE",
    "float32": b"FLOAT",
    "int8": b"INT8",
    "int16": b"INT16",
    "int32": b"INT32",
    "int64": b"INT64",
    "uint8": b"UINT8",
    "uint16": b"UINT16",
}
_BOOL = np.dtype("bool"), b"BOOL"
# AI.TENSORGET key META BLOB, as it goes over the wire.
_FETCH = b"*4\r\n$12\r\nAI.TENSORGET\r\n$%d\r\n%b\r\n$4\r\nMETA\r\n$4\r\nBLOB\r\n"
# What AI.TENSORGET … META BLOB answers: dtype, shape and blob, each followed by its value.
_PARTS = 6


class RedisAICodec:
    """Tensors by AI.TENSORSET and AI.TENSORGET: real numbers, at least one, always in C order."""

    def __init__(self) -> None:
        self._words: dict[tuple[DType, tuple[int, ...]], Sequence[bytes]] = {}
        # How the last reply began, and what followed: mostly the next one is of the same kind.
        self._last: tuple[bytes, Layout] | None = None
        self.most = math.inf

    def store_command(self, key: bytes, tensor: Tensor) -> Sequence[Argument]:
        """As Codec says. Arrays contiguous in C order are not copied, others once."""
        array = storable(tensor)
        words = self._words.get((array.dtype, array.shape))
        if words is None:
            words = _describe(array)
            remember(self._words, (array.dtype, array.shape), words)
        if array.nbytes <= SMALL_BYTES:
            return (b"AI.TENSORSET", key, *words, array.tobytes())
        return (b"AI.TENSORSET", key, *words, (bytes_of(np.ascontiguousarray(array)),))

    def fetch_command(self, key: bytes) -> Command:
        """As Codec says."""
        return _FETCH % (len(key), key)

    def read_tensor(self, reply: ReplyReader, out: Tensor | None = None) -> Tensor | None:
        """As Codec says."""
        return receive_tensor(reply, self._last, self._read_layout, self.most, out)

    def _read_layout(self, reply: ReplyReader) -> Layout | None:
        last = self._last
        if last is not None and reply.begins_with(last[0], last[1].nbytes):
            return last[1]
        size = reply.array_size()
        if size is None:
            return None
        if size != _PARTS:
            raise RedisRuntimeError(f"the server's answer has {size} parts, which is no tensor")
        _expect(reply, b"dtype")
        dtype = _dtype(reply.value())
        _expect(reply, b"shape")
        layout = Layout(dtype, _shape(reply.value()), False)
        _expect(reply, b"blob")
        held = reply.bulk_size()
        if held != layout.nbytes:
            raise RedisRuntimeError(f"it holds {held} bytes for {dtype} of shape {layout.shape}")
        self._last = (_beginning(layout), layout)
        return layout


def _describe(array: Tensor) -> list[bytes]:
    """Return the words of AI.TENSORSET between the key and the data; raises InputTypeError."""
    word = TENSORS.get(array.dtype.name) if array.dtype.isnative else None
    if word is None:
        raise InputTypeError(
            f"this database holds no tensors of dtype {array.dtype}",
            hint="allowed are " + ", ".join(TENSORS) + " in the byte order of this machine",
        )
    if array.size == 0 or array.ndim == 0:
        raise InputTypeError(
            f"this database holds no tensors of shape {array.shape}",
            hint="allowed is one dimension or more, each of one element or more",
        )
    return [word, *(b"%d" % length for length in array.shape), b"BLOB"]


def _beginning(layout: Layout) -> bytes:
    """Return all of the reply that a tensor of this layout gives but its data."""
    word = TENSORS[layout.dtype.name]
    lengths = b"".join(b":%d\r\n" % length for length in layout.shape)
    return (
        b"*%d\r\n$5\r\ndtype\r\n$%d\r\n%b\r\n" % (_PARTS, len(word), word)
        + b"$5\r\nshape\r\n*%d\r\n%b" % (len(layout.shape), lengths)
        + b"$4\r\nblob\r\n$%d\r\n" % layout.nbytes
    )


def element_word(dtype: DType) -> bytes | None:
    """Return what `AI.*` commands of hpcorch's module call a dtype; None when they have it not."""
    if dtype == _BOOL[0]:
        return _BOOL[1]
    return TENSORS.get(dtype.name) if dtype.isnative else None


def element_type(word: object) -> DType:
    """Return the dtype of that name; raises RedisRuntimeError when there is none."""
    return _BOOL[0] if word == _BOOL[1] else _dtype(word)


def _expect(reply: ReplyReader, field: bytes) -> None:
    found = reply.value()
    if found != field:
        raise RedisRuntimeError(f"the server's answer has {found!r} where {field!r} belongs")


def _dtype(word: object) -> DType:
    for name, known in TENSORS.items():
        if word == known:
            return np.dtype(name)
    raise RedisRuntimeError(f"it holds a tensor of the unknown type {word!r}")


def _shape(lengths: object) -> tuple[int, ...]:
    if not isinstance(lengths, list) or not all(
        isinstance(length, int) and length >= 0 for length in lengths
    ):
        raise RedisRuntimeError(f"it holds a tensor of the impossible shape {lengths!r}")
    return tuple(lengths)
