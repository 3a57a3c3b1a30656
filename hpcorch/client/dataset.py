"""Datasets: named tensors and metadata that are stored and fetched together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from hpcorch.client.codecs import Tensor, storable
from hpcorch.client.errors import RedisInputError, RedisKeyError, RedisRuntimeError
from hpcorch.client.log import SRObject
from hpcorch.client.metadata import Field, scalar, type_of
from hpcorch.errors import InputError, InputTypeError

T = TypeVar("T")

# Fields that the database itself holds beside those of the user.
RESERVED = frozenset({".COMPLETE", ".tensor_names"})


@dataclass
class Contents:
    """What a dataset holds: its name, its metadata fields and its tensors, in their order."""

    name: str
    fields: dict[str, Field] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """The size of the tensors in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Dataset(SRObject):
    """A named collection of tensors and metadata; `Client.put_dataset` stores it.

    Metadata fields hold one or more numbers of one type (float32, float64, int32, int64, uint32 or
    uint64), or one or more strings.
    """

    def __init__(self, name: str) -> None:
        super().__init__(_named(name, "the name of a dataset"))
        self._contents = Contents(name)

    def __str__(self) -> str:
        held = self._contents
        tensors = [f"  {name}: {t.dtype} {list(t.shape)}" for name, t in held.tensors.items()]
        fields = [f"  {name}: {_described(value)}" for name, value in held.fields.items()]
        sections = ("Tensors:", *(tensors or ["  none"]), "Metadata:", *(fields or ["  none"]))
        return "\n".join((f"DataSet ({held.name}):", *sections))

    @classmethod
    def from_pybind(cls, dataset: Contents) -> Dataset:
        """Return a dataset that holds `dataset` (named as in SmartRedis)."""
        made = cls(_contents(dataset).name)
        made.set_data(dataset)
        return made

    def get_data(self) -> Contents:
        """Return what the dataset holds, not a copy of it."""
        return self._contents

    def set_data(self, dataset: Contents) -> None:
        """Let the dataset hold `dataset` from now on."""
        self._contents = _contents(dataset)

    def get_name(self) -> str:
        """Return the name of the dataset."""
        return self._contents.name

    def add_tensor(self, name: str, data: Tensor) -> None:
        """Add a copy of the numpy array `data` as tensor `name`.

        Raises RedisRuntimeError when there is such a tensor already or the name is empty,
        InputTypeError for anything that is no array or holds Python objects.
        """
        if not _named(name, "the name of a tensor"):
            raise RedisInputError("the name of a tensor must not be empty")
        if name in self._contents.tensors:
            raise RedisRuntimeError(f"dataset {self.get_name()!r} has a tensor {name!r} already")
        kept = storable(data)
        # The caller may fill the array with the next values before the dataset is stored.
        own = kept.copy(order="K") if np.may_share_memory(kept, data) else kept
        self._contents.tensors[name] = own

    def get_tensor(self, name: str) -> Tensor:
        """Return tensor `name`, not a copy of it. Raises RedisKeyError if there is none."""
        return self._found(self._contents.tensors, name, "tensor")

    def get_tensor_type(self, name: str) -> type:
        """Return the NumPy type of the elements of tensor `name`, such as numpy.float64."""
        dtype = self.get_tensor(name).dtype
        # NumPy has several types of 64 bits, and but one of them is numpy.int64.
        return np.dtype(dtype.name).type if dtype.kind in "iu" else dtype.type

    def get_tensor_names(self) -> list[str]:
        """Return the names of all tensors."""
        return list(self._contents.tensors)

    def get_tensor_dims(self, name: str) -> list[int]:
        """Return the shape of tensor `name`."""
        return list(self.get_tensor(name).shape)

    def add_meta_scalar(self, name: str, data: float) -> None:
        """Append the number `data` to the metadata field `name`, which is made if need be.

        Raises RedisRuntimeError when the field holds another type, InputTypeError for anything
        that is not one number of a type that a field can hold.
        """
        self._check_field_name(name)
        new = scalar(data)
        old = self._contents.fields.get(name, new[:0])
        if isinstance(old, list) or old.dtype != new.dtype:
            raise RedisRuntimeError(
                f"metadata field {name!r} of dataset {self.get_name()!r} holds "
                f"{type_of(old).__name__}, to which {new.dtype} cannot be added"
            )
        self._contents.fields[name] = np.concatenate([old, new])

    def add_meta_string(self, name: str, data: str) -> None:
        """Append the string `data` to the metadata field `name`, which is made if need be.

        Raises RedisRuntimeError when the field holds numbers.
        """
        self._check_field_name(name)
        if not isinstance(data, str):
            raise InputTypeError(f"a metadata string must be a string, not {type(data).__name__}")
        old = self._contents.fields.setdefault(name, [])
        if not isinstance(old, list):
            raise RedisRuntimeError(f"metadata field {name!r} of {self.get_name()!r} holds numbers")
        old.append(data)

    def get_meta_scalars(self, name: str) -> Tensor:
        """Return the numbers of the metadata field `name` as a one-dimensional array.

        Raises RedisRuntimeError when there is no such field or it holds strings.
        """
        found = self._field(name)
        if isinstance(found, list):
            raise RedisRuntimeError(f"metadata field {name!r} of {self.get_name()!r} holds strings")
        return np.array(found)

    def get_meta_strings(self, name: str) -> list[str]:
        """Return the strings of the metadata field `name`.

        Raises RedisRuntimeError when there is no such field or it holds numbers.
        """
        found = self._field(name)
        if not isinstance(found, list):
            raise RedisRuntimeError(f"metadata field {name!r} of {self.get_name()!r} holds numbers")
        return list(found)

    def get_metadata_field_names(self) -> list[str]:
        """Return the names of all metadata fields."""
        return list(self._contents.fields)

    def get_metadata_field_type(self, name: str) -> type:
        """Return `str` or the NumPy type of the metadata field `name`.

        Raises RedisKeyError when there is no such field.
        """
        return type_of(self._found(self._contents.fields, name, "metadata field"))

    def _field(self, name: str) -> Field:
        try:
            return self._found(self._contents.fields, name, "metadata field")
        except RedisKeyError as error:
            raise RedisRuntimeError(error.message) from None

    def _found(self, held: Mapping[str, T], name: str, what: str) -> T:
        if _named(name, f"the name of a {what}") not in held:
            raise RedisKeyError(f"dataset {self.get_name()!r} has no {what} {name!r}")
        return held[name]

    def _check_field_name(self, name: str) -> None:
        if _named(name, "the name of a metadata field") in RESERVED:
            raise InputError(f"{name!r} cannot be the name of a metadata field: it is reserved")


def _named(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise InputTypeError(f"{what} must be a string, not {type(name).__name__}")
    return name


def _contents(dataset: Contents) -> Contents:
    if not isinstance(dataset, Contents):
        raise InputTypeError(f"dataset must be Contents, not {type(dataset).__name__}")
    return dataset


def _described(value: Field) -> str:
    count = len(value)
    return f"{type_of(value).__name__}, {count} value{'s' * (count != 1)}"
