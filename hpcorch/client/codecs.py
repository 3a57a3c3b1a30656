"""How a tensor is stored in the database.

A codec builds the commands that store and fetch one tensor and reads the reply. NpyCodec is for
any Redis-compatible server: a tensor is one string in NumPy's .npy format, which everything that
reads .npy files can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from hpcorch.client.errors import RedisBadAllocError, RedisRuntimeError
from hpcorch.client.npyheader import DType, Layout, npy_header, parse_header, read_header
from hpcorch.client.wire import Argument, ReplyReader
from hpcorch.errors import InputError, InputTypeError

Tensor = np.ndarray[Any, DType]

# A program uses few shapes; one that uses many starts over rather than growing.
_MOST_HEADERS = 512


class Codec(Protocol):
    """Commands and replies for tensors, for one kind of server."""

    def store_command(self, key: bytes, tensor: Tensor) -> Sequence[Argument]:
        """Return the command that stores `tensor` under `key`.

        Raises InputTypeError for a tensor that this kind of server cannot hold.
        """

    def fetch_command(self, key: bytes) -> Sequence[Argument]:
        """Return the command that fetches the tensor under `key`."""

    def read_tensor(self, reply: ReplyReader, out: Tensor | None = None) -> Tensor | None:
        """Read the reply to `fetch_command`: an array, or None when there is no such key.

        The array is `out`, filled, when that is given, else a new one. Raises RedisRuntimeError
        when the value is no tensor or does not fit into `out`.
        """


class NpyCodec:
    """Tensors as .npy strings: any dtype without Python objects, any shape, C or Fortran order."""

    def __init__(self) -> None:
        self._headers: dict[tuple[DType, tuple[int, ...], bool], bytes] = {}
        self._layouts: dict[bytes, Layout] = {}

    def store_command(self, key: bytes, tensor: Tensor) -> Sequence[Argument]:
        """As Codec says. Arrays contiguous in C or Fortran order are not copied, others once."""
        return (b"SET", key, self.value_of(tensor))

    def value_of(self, tensor: Tensor) -> Argument:
        """Return what is stored for `tensor`. Raises as `store_command` does."""
        array = storable(tensor)
        flags = array.flags
        fortran = flags.f_contiguous and not flags.c_contiguous
        layout = (array.dtype, array.shape, fortran)
        header = self._headers.get(layout)
        if header is None:
            header = npy_header(Layout(*layout))
            _remember(self._headers, layout, header)
        return (header, bytes_of(array))

    def fetch_command(self, key: bytes) -> Sequence[Argument]:
        """As Codec says."""
        return (b"GET", key)

    def read_tensor(self, reply: ReplyReader, out: Tensor | None = None) -> Tensor | None:
        """As Codec says. A new array has the order of the one that was stored."""
        size = reply.bulk_size()
        if size is None:
            return None
        header = read_header(reply, size)
        layout = self._layouts.get(header)
        if layout is None:
            layout = parse_header(header)
            _remember(self._layouts, header, layout)
        if len(header) + layout.nbytes != size:
            raise RedisRuntimeError("its .npy header does not fit the size of the value")
        array = receive_array(reply, layout, out)
        reply.end_of_bulk()
        return array


def receive_array(reply: ReplyReader, layout: Layout, out: Tensor | None) -> Tensor:
    """Read the data of an array: into `out` if given, else into a new one.

    Raises RedisRuntimeError when `out` has another dtype or shape, RedisBadAllocError when this
    program has no memory for the array.
    """
    if out is None:
        array = _new_array(layout)
        reply.into(bytes_of(array))
        return array
    if out.dtype != layout.dtype or out.shape != layout.shape:
        raise RedisRuntimeError(
            f"it is {layout.dtype} of shape {layout.shape}, "
            f"but out is {out.dtype} of shape {out.shape}"
        )
    flags = out.flags
    if flags.f_contiguous if layout.fortran else flags.c_contiguous:
        # As a plain array: the shapes of subclasses (matrix) have rules of their own.
        reply.into(bytes_of(np.asarray(out)))
    else:
        out[...] = receive_array(reply, layout, None)
    return out


def check_out(out: object) -> None:
    """Raise InputTypeError or InputError when no tensor could be read into `out`."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise InputTypeError(f"out must be a numpy array, not {type(out).__name__}")
    if not out.flags.writeable:
        raise InputError("out is a read-only array: it must be writeable")


def bytes_of(array: Tensor) -> memoryview:
    """Return the memory of a C- or Fortran-contiguous array as bytes, without a copy."""
    if array.nbytes == 0:
        return memoryview(bytearray())
    ordered = array if array.flags.c_contiguous else array.T
    # Through uint8, since some dtypes (datetime64, byte-swapped) offer no buffer of their own.
    flat: Any = ordered.reshape(-1).view(np.uint8)
    return memoryview(flat)


def storable(tensor: Tensor) -> Tensor:
    """Return `tensor` as a plain array that is contiguous in C or Fortran order.

    Raises InputTypeError for anything that cannot be stored as numbers or text.
    """
    if not isinstance(tensor, np.ndarray):
        raise InputTypeError(f"a tensor must be a numpy array, not {type(tensor).__name__}")
    if tensor.dtype.hasobject:
        raise InputTypeError(
            f"an array of dtype {tensor.dtype} holds Python objects, which cannot be stored",
            hint="convert it to numbers, or to fixed-length strings with astype('U') or ('S')",
        )
    if isinstance(tensor, np.ma.MaskedArray):
        raise InputTypeError(
            "a masked array cannot be stored: its mask would be lost",
            hint="use .filled(), and store the mask as a tensor of its own if it is needed",
        )
    array = np.asarray(tensor)
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return array
    return np.ascontiguousarray(array)


def _new_array(layout: Layout) -> Tensor:
    try:
        return np.empty(layout.shape, layout.dtype, order="F" if layout.fortran else "C")
    except ValueError as error:
        raise RedisRuntimeError(f"it has the impossible shape {layout.shape}: {error}") from error
    except MemoryError as error:
        raise RedisBadAllocError(f"there is no memory for its {layout.nbytes} bytes") from error


def _remember(cache: dict[Any, Any], key: object, value: object) -> None:
    if len(cache) >= _MOST_HEADERS:
        cache.clear()
    cache[key] = value
