"""Types and checks, under the name that the module has in SmartRedis."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcorch.client.codecs import Tensor
from hpcorch.client.metadata import SCALARS
from hpcorch.client.redisai import TENSORS
from hpcorch.errors import InputTypeError

_TYPES: dict[str, type] = {"STRING": str} | {
    word.decode(): np.dtype(name).type for name, word in (SCALARS | TENSORS).items()
}


class Dtypes:
    """Between NumPy's types and their names in RedisAI and SmartRedis."""

    @staticmethod
    def tensor_from_numpy(array: Tensor) -> str:
        """Return RedisAI's name for the type of a tensor; InputTypeError when it has none."""
        return _name_of(array, TENSORS, "tensor")

    @staticmethod
    def metadata_from_numpy(array: Tensor) -> str:
        """Return SmartRedis' name for the type of a metadata scalar; InputTypeError if none."""
        return _name_of(array, SCALARS, "metadata scalar")

    @staticmethod
    def from_string(type_name: str) -> type:
        """Return `str` or the NumPy type of that name. Raises InputTypeError for another name."""
        if type_name not in _TYPES:
            raise InputTypeError(f"there is no type {type_name!r}; known are {', '.join(_TYPES)}")
        return _TYPES[type_name]


def typecheck(arg: object, name: str, _type: type | tuple[type, ...]) -> None:
    """Raise InputTypeError unless `arg`, called `name` in the message, is of a type."""
    if not isinstance(arg, _type):
        raise InputTypeError(f"{name} must be {_type}, not {type(arg).__name__}")


def init_default(default: Any, init_value: Any, expected_type: Any = None) -> Any:
    """Return `default` for None, else `init_value`; InputTypeError when that has another type."""
    if init_value is None:
        return default
    if expected_type is not None:
        typecheck(init_value, "the value", expected_type)
    return init_value


def _name_of(array: Tensor, names: dict[str, bytes], what: str) -> str:
    if str(array.dtype) not in names:
        raise InputTypeError(
            f"a {what} must not be of type {array.dtype}; allowed are {', '.join(names)}"
        )
    return names[str(array.dtype)].decode()
