"""Tensors on a server that has RedisAI's tensor commands, stored as SmartRedis stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcorch.client.codecs import Tensor, bytes_of, receive_array, storable
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.npyheader import Layout
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
_DTYPES = {word: np.dtype(name) for name, word in TENSORS.items()}


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
        facts: dict[bytes, Any] = {}
        for _ in range(size // 2):
            name = reply.value()
            facts[name] = _read_blob(reply, facts, out) if name == b"blob" else reply.value()
        if b"blob" not in facts:
            raise RedisRuntimeError("the server's answer holds no tensor")
        tensor: Tensor = facts[b"blob"]
        return tensor


def _read_blob(reply: ReplyReader, facts: dict[bytes, Any], out: Tensor | None) -> Tensor:
    dtype, shape = _DTYPES.get(facts.get(b"dtype", b"")), facts.get(b"shape")
    if dtype is None or not isinstance(shape, list):
        raise RedisRuntimeError(f"it holds a tensor of the unknown type {facts.get(b'dtype')!r}")
    layout = Layout(dtype, tuple(shape), False)
    size = reply.bulk_size()
    if size != layout.nbytes:
        raise RedisRuntimeError(f"it holds a {dtype} tensor of shape {shape} in {size} bytes")
    array = receive_array(reply, layout, out)
    reply.end_of_bulk()
    return array
