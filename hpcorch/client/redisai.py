"""Tensors on a server that has RedisAI's tensor commands, stored as SmartRedis stores them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcorch.client.codecs import Tensor, bytes_of, receive_array, storable
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.npyheader import DType, Layout
from hpcorch.client.wire import Argument, ReplyReader
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
# What AI.TENSORGET … META BLOB answers: dtype, shape and blob, each followed by its value.
_PARTS = 6


class RedisAICodec:
    """Tensors by AI.TENSORSET and AI.TENSORGET: real numbers, at least one, always in C order."""

    def store_command(self, key: bytes, tensor: Tensor) -> Sequence[Argument]:
        """As Codec says. Arrays contiguous in C order are not copied, others once."""
        array = storable(tensor)
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
        array = np.ascontiguousarray(array)
        shape = [b"%d" % length for length in array.shape]
        return (b"AI.TENSORSET", key, word, *shape, b"BLOB", (bytes_of(array),))

    def fetch_command(self, key: bytes) -> Sequence[Argument]:
        """As Codec says."""
        return (b"AI.TENSORGET", key, b"META", b"BLOB")

    def read_tensor(self, reply: ReplyReader, out: Tensor | None = None) -> Tensor | None:
        """As Codec says."""
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
        array = receive_array(reply, layout, out)
        reply.end_of_bulk()
        return array


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
