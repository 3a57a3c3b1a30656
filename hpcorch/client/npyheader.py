"""The header of NumPy's .npy format: written for an array, read without trust in what it says.

A header is the magic string, the format version, a length and the text of a Python dict. Writing
uses version 1.0, or 3.0 for field names outside Latin-1; 1.0, 2.0 and 3.0 are read.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy

from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.replies import ReplyReader
from hpcorch.errors import InputTypeError

DType = np.dtype[Any]

_MAGIC = b"\x93NUMPY"
# The magic string, two bytes of version and the two bytes of length that version 1.0 has.
_START_BYTES = 10
# NumPy aligns the data to this for memory mapping.
_ALIGNMENT = 64
# Thousands of named fields; what the length field of version 1.0 can hold.
_LONGEST_TEXT = 2**16 - 1
_KEYS = {"descr", "fortran_order", "shape"}

# Outside of strings, the text may hold nothing but brackets, numbers and these words.
_STRINGS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_LITERALS = re.compile(r"(?:[\[\](){}:,0-9\s]|True|False|None)*")
_DEEPEST = 20
_LONGEST_NUMBER = re.compile(r"[0-9]{20}")


@dataclass(frozen=True)
class Layout:
    """What a header says: `dtype`, `shape`, and whether the data are in Fortran order."""

    dtype: DType
    shape: tuple[int, ...]
    fortran: bool

    @property
    def nbytes(self) -> int:
        """The size of the data in bytes."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def npy_header(layout: Layout) -> bytes:
    """Return the bytes that go before the data of an array with this layout.

    Raises InputTypeError for a dtype whose description is longer than 64 KiB.
    """
    descr = npy.dtype_to_descr(layout.dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': {layout.fortran}, 'shape': {layout.shape!r}, }}"
    version, width, encoded = b"\x01\x00", 2, text.encode("latin-1", "replace")
    if encoded.decode("latin-1") != text:
        version, width, encoded = b"\x03\x00", 4, text.encode()
    before = len(_MAGIC) + len(version) + width
    padding = -(before + len(encoded) + 1) % _ALIGNMENT
    encoded += b" " * padding + b"\n"
    if len(encoded) > _LONGEST_TEXT:
        raise InputTypeError(
            f"an array whose dtype has {len(layout.dtype.names or ())} fields cannot be stored: "
            f"its description takes more than {_LONGEST_TEXT} bytes"
        )
    return _MAGIC + version + len(encoded).to_bytes(width, "little") + encoded


def read_header(reply: ReplyReader, size: int) -> bytes:
    """Read everything before the data of a .npy value that is `size` bytes long.

    Raises RedisRuntimeError when the value cannot be one.
    """
    start = reply.exactly(min(size, _START_BYTES))
    if len(start) < _START_BYTES or not start.startswith(_MAGIC):
        raise RedisRuntimeError("it holds something else than a tensor (not the .npy format)")
    if start[6] != 1:
        # From version 2.0 on, the length has four bytes.
        start += reply.exactly(min(size - _START_BYTES, 2))
    length = int.from_bytes(start[8:], "little")
    if length > size - len(start):
        raise RedisRuntimeError("it holds a .npy header that is cut short")
    if length > _LONGEST_TEXT:
        raise RedisRuntimeError(f"it holds a .npy header of {length} bytes, which is too long")
    return start + reply.exactly(length)


def parse_header(header: bytes) -> Layout:
    """Return what the bytes from `read_header` say.

    Raises RedisRuntimeError when they make no sense, or when the data are Python objects.
    """
    version = (header[6], header[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise RedisRuntimeError(f"it holds version {version} of the .npy format, which is unknown")
    try:
        text = header[10 if version == (1, 0) else 12 :].decode(
            "utf-8" if version == (3, 0) else "latin-1"
        )
        fields = _literal(text)
        if not isinstance(fields, dict) or set(fields) != _KEYS:
            raise ValueError("it must hold descr, fortran_order and shape")
        dtype = npy.descr_to_dtype(fields["descr"])
    except Exception as error:
        # A description that NumPy does not understand makes it raise nearly anything.
        raise RedisRuntimeError(f"it holds a .npy header that cannot be read: {error}") from error
    if dtype.hasobject:
        raise RedisRuntimeError("it holds pickled Python objects, which are not read")
    shape, fortran = fields["shape"], fields["fortran_order"]
    if not isinstance(shape, tuple) or any(type(length) is not int for length in shape):
        raise RedisRuntimeError(f"it holds a .npy header with the impossible shape {shape!r:.80}")
    if not isinstance(fortran, bool):
        raise RedisRuntimeError("it holds a .npy header whose fortran_order is no truth value")
    return Layout(dtype, shape, fortran)


def _literal(text: str) -> Any:
    """Return the value of a Python literal of bounded size and depth."""
    bare = _STRINGS.sub("", text)
    if not _LITERALS.fullmatch(bare) or _LONGEST_NUMBER.search(bare):
        raise ValueError("it is no plain description of an array")
    depth = 0
    for mark in bare:
        depth += (mark in "[({") - (mark in "])}")
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
    return ast.literal_eval(text.strip())
