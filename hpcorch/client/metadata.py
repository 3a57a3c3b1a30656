"""The metadata fields of a dataset, as SmartRedis stores them.

A field is a one-dimensional array of numbers of one type, or a list of strings. In the database it
is one byte for the type, then the numbers one after another (little-endian), or for each string its
length in UTF-8 bytes (8 bytes, little-endian) and those bytes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.text import to_bytes, to_text
from hpcorch.errors import InputTypeError

Field: TypeAlias = "np.ndarray[Any, np.dtype[Any]] | list[str]"

# NumPy's types of numbers, and what SmartRedis calls them; their order is that of the type bytes.
SCALARS = {
    "float64": b"DOUBLE",
    "float32": b"FLOAT",
    "int32": b"INT32",
    "int64": b"INT64",
    "uint32": b"UINT32",
    "uint64": b"UINT64",
}
_CODES = {name: code for code, name in enumerate(SCALARS, 1)}
_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in _CODES.items()}
_STRINGS = 7
_LENGTH_BYTES = 8


def scalar(data: object) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the number `data` as an array of one element.

    Raises InputTypeError unless it is one number of a type that a field can hold.
    """
    array = np.asarray(data)
    if array.size != 1:
        raise InputTypeError(f"a metadata scalar must be one number, not {array.size} elements")
    if array.dtype.name not in _CODES:
        raise InputTypeError(
            f"a metadata scalar must not be of type {array.dtype.name}",
            hint="allowed are " + ", ".join(_CODES),
        )
    # By its name: NumPy has several types of 64 bits, and but one of them is numpy.uint64.
    return array.reshape(1).astype(np.dtype(array.dtype.name))


def type_of(field: Field) -> type:
    """Return `str` or the NumPy type of the field's numbers."""
    return str if isinstance(field, list) else field.dtype.type


def encode_field(field: Field) -> bytes:
    """Return what is stored for a field."""
    if isinstance(field, list):
        return bytes([_STRINGS]) + b"".join(_encoded(text) for text in field)
    code = _CODES[field.dtype.name]
    return bytes([code]) + field.astype(_DTYPES[code]).tobytes()


def decode_field(raw: bytes) -> Field:
    """Return the field that is stored as `raw`. Raises RedisRuntimeError if it is none."""
    if raw[:1] == bytes([_STRINGS]):
        return _strings(raw)
    dtype = _DTYPES.get(raw[0]) if raw else None
    if dtype is None:
        raise RedisRuntimeError(f"it holds a metadata field of an unknown type ({raw[:1]!r})")
    if (len(raw) - 1) % dtype.itemsize:
        raise RedisRuntimeError(f"it holds a metadata field of {dtype.name} that is cut short")
    return np.frombuffer(raw, dtype, offset=1).astype(dtype.newbyteorder("="))


def _encoded(text: str) -> bytes:
    raw = to_bytes(text)
    return len(raw).to_bytes(_LENGTH_BYTES, "little") + raw


def _strings(raw: bytes) -> list[str]:
    found = []
    at = 1
    while at < len(raw):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or at > len(raw):
            raise RedisRuntimeError("it holds a metadata field of strings that is cut short")
        found.append(to_text(raw[start:at]))
    return found
