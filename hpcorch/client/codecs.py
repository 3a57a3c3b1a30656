"""How a tensor is stored in the database.

A codec builds the commands that store and fetch one tensor and reads the reply. NpyCodec is for
any Redis-compatible server: a tensor is one string in NumPy's .npy format, which everything that
reads .npy files can read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.ma import MaskedArray

from hpcorch.client.errors import RedisBadAllocError, RedisReplyError, RedisRuntimeError
from hpcorch.client.npyheader import DType, Layout, npy_header, parse_header, read_header
from hpcorch.client.replies import ReplyReader
from hpcorch.client.wire import Argument, Command
from hpcorch.errors import InputError, InputTypeError

Tensor = np.ndarray[Any, DType]

# A program uses few shapes; one that uses many starts over rather than growing.
_MOST_HEADERS = 512
# Up to this size copying the data once more costs less than the calls that save it.
SMALL_BYTES = 8 * 1024


class Codec(Protocol):
    """Commands and replies for tensors, for one kind of server.

    Tensors of more than `most` bytes are refused before memory is taken for them.
    """

    most: float

    def store_command(self, key: bytes, tensor: Tensor) -> Sequence[Argument]:
        """Return the command that stores `tensor` under `key`.

        Raises InputTypeError for a tensor that this kind of server cannot hold.
        """

    def fetch_command(self, key: bytes) -> Command:
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
        # How the last reply began, and what followed: mostly the next one is of the same kind.
        self._last: tuple[bytes, Layout] | None = None
        self.most = math.inf

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
            remember(self._headers, layout, header)
        if array.nbytes <= SMALL_BYTES:
            return header + array.tobytes("A")
        return (header, bytes_of(array))

    def fetch_command(self, key: bytes) -> Command:
        """As Codec says."""
        return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)

    def read_tensor(self, reply: ReplyReader, out: Tensor | None = None) -> Tensor | None:
        """As Codec says. A new array has the order of the one that was stored."""
        return receive_tensor(reply, self._last, self._read_layout, self.most, out)

    def _read_layout(self, reply: ReplyReader) -> Layout | None:
        last = self._last
        if last is not None and reply.begins_with(last[0], last[1].nbytes):
            return last[1]
        size = reply.bulk_size()
        if size is None:
            return None
        header = read_header(reply, size)
        layout = self._layouts.get(header)
        if layout is None:
            layout = parse_header(header)
            remember(self._layouts, header, layout)
        if len(header) + layout.nbytes != size:
            raise RedisRuntimeError("its .npy header does not fit the size of the value")
        self._last = (b"$%d\r\n%b" % (size, header), layout)
        return layout


def receive_tensor(
    reply: ReplyReader,
    last: tuple[bytes, Layout] | None,
    read_layout: Callable[[ReplyReader], Layout | None],
    most: float,
    out: Tensor | None,
) -> Tensor | None:
    """Do what Codec.read_tensor says, for any codec.

    `last` is how the last reply began and what followed; `read_layout` reads all before the data.
    """
    array = None if last is None else _receive_alike(reply, *last, most, out)
    if array is not None:
        return array
    layout = read_layout(reply)
    if layout is None:
        return None
    _check_size(layout, most)
    array = receive_array(reply, layout, out)
    reply.end_of_bulk()
    return array


def _check_size(layout: Layout, most: float) -> None:
    """Raise RedisRuntimeError for an array of more than `most` bytes."""
    if layout.nbytes > most:
        raise RedisRuntimeError(f"it has {layout.nbytes} bytes, above the limit of {most}")


def receive_array(reply: ReplyReader, layout: Layout, out: Tensor | None) -> Tensor:
    """Read the data of an array: into `out` if given, else into a new one.

    Raises RedisRuntimeError when `out` has another dtype or shape, RedisBadAllocError when this
    program has no memory for the array.
    """
    if out is None:
        there = reply.arrived(layout.nbytes) if layout.nbytes else None
        array = _new_array(layout, there)
        if there is None:
            reply.into(bytes_of(array))
        return array
    if out.dtype != layout.dtype or out.shape != layout.shape:
        raise RedisRuntimeError(
            f"it is {layout.dtype} of shape {layout.shape}, "
            f"but out is {out.dtype} of shape {out.shape}"
        )
    if _in_order(out, layout):
        # As a plain array: the shapes of subclasses (matrix) have rules of their own.
        reply.into(bytes_of(np.asarray(out)))
    else:
        out[...] = receive_array(reply, layout, None)
    return out


def _receive_alike(
    reply: ReplyReader, start: bytes, layout: Layout, most: float, out: Tensor | None
) -> Tensor | None:
    """Read a large array whose reply begins with `start`, as the last one did, where it belongs.

    Returns None when the reply must be looked at first.
    """
    if not SMALL_BYTES < layout.nbytes <= most:
        return None
    if out is None:
        try:
            array = _new_array(layout, None)
        except RedisReplyError:
            # There is no room for another one of the last; what comes may be something else.
            return None
    elif out.dtype == layout.dtype and out.shape == layout.shape and _in_order(out, layout):
        array = np.asarray(out)
    else:
        return None
    if not reply.brings(start, bytes_of(array)):
        return None
    reply.end_of_bulk()
    return array if out is None else out


def _in_order(array: Tensor, layout: Layout) -> bool:
    flags = array.flags
    return bool(flags.f_contiguous if layout.fortran else flags.c_contiguous)


def check_out(out: object) -> None:
    """Raise InputTypeError or InputError when no tensor could be read into `out`."""
    if not isinstance(out, np.ndarray) or isinstance(out, MaskedArray):
        raise InputTypeError(f"out must be a numpy array, not {type(out).__name__}")
    if not out.flags.writeable:
        raise InputError("out is a read-only array: it must be writeable")


def bytes_of(array: Tensor) -> memoryview:
    """Return the memory of a C- or Fortran-contiguous array as bytes, without a copy."""
    plain: Any = array
    try:
        return memoryview(plain).cast("B")
    except (TypeError, ValueError, NotImplementedError):
        # Empty, in Fortran order, or of a dtype (complex, datetime64, byte-swapped) without a cast.
        if array.nbytes == 0:
            return memoryview(bytearray())
        ordered: Any = array if array.flags.c_contiguous else array.T
        return memoryview(ordered.reshape(-1).view(np.uint8))


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
    if isinstance(tensor, MaskedArray):
        raise InputTypeError(
            "a masked array cannot be stored: its mask would be lost",
            hint="use .filled(), and store the mask as a tensor of its own if it is needed",
        )
    array = np.asarray(tensor)
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return array
    return np.ascontiguousarray(array)


def _new_array(layout: Layout, data: memoryview | None) -> Tensor:
    """Return a new array with `data` in it, or with anything when there is none."""
    order: Literal["F", "C"] = "F" if layout.fortran else "C"
    try:
        if data is None:
            return np.empty(layout.shape, layout.dtype, order=order)
        made: Tensor = np.ndarray(layout.shape, layout.dtype, data, order=order).copy("K")
        return made
    except ValueError as error:
        raise RedisRuntimeError(f"it has the impossible shape {layout.shape}: {error}") from error
    except MemoryError as error:
        raise RedisBadAllocError(f"there is no memory for its {layout.nbytes} bytes") from error


def remember(cache: dict[Any, Any], key: object, value: object) -> None:
    """Keep `value` in a cache of bounded size."""
    if len(cache) >= _MOST_HEADERS:
        cache.clear()
    cache[key] = value
