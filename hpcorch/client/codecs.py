"""How a tensor is stored in the database.

A codec builds the commands that store and fetch one tensor and reads the reply. NpyCodec is for
any Redis-compatible server: a tensor is one string in NumPy's .npy format, which everything that
reads .npy files can read.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy

from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.wire import Argument, ReplyReader
from hpcorch.errors import InputTypeError

Tensor = np.ndarray[Any, np.dtype[Any]]
_Layout = tuple[np.dtype[Any], tuple[int, ...], bool]

_MAGIC_BYTES = 8
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

    def read_tensor(self, reply: ReplyReader) -> Tensor | None:
        """Read the reply to `fetch_command`: a new array, or None when there is no such key.

        Raises RedisRuntimeError when the value is no tensor.
        """


class NpyCodec:
    """Tensors as .npy strings: any dtype without Python objects, any shape, C or Fortran order."""

    def __init__(self) -> None:
        self._headers: dict[_Layout, bytes] = {}
        self._layouts: dict[bytes, _Layout] = {}

    def store_command(self, key: bytes, tensor: Tensor) -> Sequence[Argument]:
        """As Codec says. Arrays contiguous in C or Fortran order are not copied, others once."""
        return (b"SET", key, self.value_of(tensor))

    def value_of(self, tensor: Tensor) -> Argument:
        """Return what is stored for `tensor`. Raises as `store_command` does."""
        array = storable(tensor)
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        layout = (array.dtype, array.shape, fortran)
        header = self._headers.get(layout)
        if header is None:
            header = _npy_header(array)
            _remember(self._headers, layout, header)
        return (header, bytes_of(array))

    def fetch_command(self, key: bytes) -> Sequence[Argument]:
        """As Codec says."""
        return (b"GET", key)

    def read_tensor(self, reply: ReplyReader) -> Tensor | None:
        """As Codec says. The array's order is that of the array that was stored."""
        size = reply.bulk_size()
        if size is None:
            return None
        header = _read_header(reply, size)
        layout = self._layouts.get(header)
        if layout is None:
            layout = _npy_layout(header)
            _remember(self._layouts, header, layout)
        dtype, shape, fortran = layout
        items = 1
        for length in shape:
            items *= length
        if len(header) + items * dtype.itemsize != size:
            raise RedisRuntimeError("its .npy header does not fit the size of the value")
        array = np.empty(shape, dtype, order="F" if fortran else "C")
        reply.into(bytes_of(array))
        reply.end_of_bulk()
        return array


def bytes_of(array: Tensor) -> memoryview:
    """Return the memory of a C- or Fortran-contiguous array as bytes, without a copy."""
    if array.nbytes == 0:
        return memoryview(bytearray())
    ordered = array if array.flags.c_contiguous else array.T
    # Through uint8, since some dtypes (datetime64, byte-swapped) offer no buffer of their own.
    flat: Any = ordered.reshape(-1).view(np.uint8)
    return memoryview(flat)


def storable(tensor: Tensor) -> Tensor:
    """Return `tensor` contiguous in C or Fortran order; InputTypeError if nothing can store it."""
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


def _npy_header(array: Tensor) -> bytes:
    out = io.BytesIO()
    fields: Any = npy.header_data_from_array_1_0(array)
    try:
        npy.write_array_header_1_0(out, fields)
    except UnicodeEncodeError:
        raise InputTypeError(f"the field names of dtype {array.dtype} must be in Latin-1") from None
    except ValueError:
        # Only a structured dtype of thousands of fields outgrows the first format version.
        out = io.BytesIO()
        npy.write_array_header_2_0(out, fields)
    return out.getvalue()


def _read_header(reply: ReplyReader, size: int) -> bytes:
    """Read everything before the data of a .npy value that is `size` bytes long."""
    magic = reply.exactly(min(size, _MAGIC_BYTES))
    if len(magic) < _MAGIC_BYTES or not magic.startswith(npy.MAGIC_PREFIX):
        raise RedisRuntimeError("it holds something else than a tensor (not the .npy format)")
    width = 2 if magic[6] == 1 else 4
    prefix = reply.exactly(min(size - _MAGIC_BYTES, width))
    length = int.from_bytes(prefix, "little")
    if len(prefix) < width or length > size - _MAGIC_BYTES - width:
        raise RedisRuntimeError("it holds a .npy header that is cut short")
    return magic + prefix + reply.exactly(length)


def _npy_layout(header: bytes) -> _Layout:
    stream = io.BytesIO(header)
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format version {version} is not known")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:
        # NumPy tries hard with old headers and then raises nearly anything.
        raise RedisRuntimeError(f"it holds a .npy header that cannot be read: {error}") from error
    if any(length < 0 for length in shape):
        raise RedisRuntimeError(f"it holds a .npy header with the impossible shape {shape}")
    if dtype.hasobject:
        raise RedisRuntimeError("it holds pickled Python objects, which are not read")
    return dtype, shape, fortran


def _remember(cache: dict[Any, Any], key: object, value: object) -> None:
    if len(cache) >= _MOST_HEADERS:
        cache.clear()
    cache[key] = value
