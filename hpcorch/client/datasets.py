"""The calls of a client that store and fetch datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hpcorch.client.connection import Request
from hpcorch.client.dataset import Contents, Dataset
from hpcorch.client.errors import RedisKeyError, RedisRuntimeError
from hpcorch.client.layouts import COMPLETE, Hash, assemble, meta_key, tensor_names
from hpcorch.client.session import Session, poll
from hpcorch.errors import InputTypeError

# Servers hang up on a transaction above their client-query-buffer-limit, by default 1 GiB.
_MOST_TOGETHER = 2**29


class DatasetCalls(Session):
    """Datasets under their names; all parts of one are on one shard."""

    def put_dataset(self, dataset: Dataset) -> None:
        """Store `dataset` under its name, in one round trip: others see all of it or nothing.

        An older dataset of that name is replaced. One above 512 MiB is stored in two steps, and
        dataset_exists is False in between. Raises InputTypeError for a tensor that this database
        cannot hold, RedisRuntimeError when the dataset is empty, RedisBadAllocError when the server
        has no room; nothing is changed then, unless it is above 512 MiB.
        """
        self._store(checked(dataset).get_data())

    def get_dataset(self, name: str) -> Dataset:
        """Return the dataset `name`. Raises RedisKeyError when there is none."""
        return Dataset.from_pybind(self._fetch_one(name))

    def delete_dataset(self, name: str) -> None:
        """Remove the dataset `name`. Raises RedisRuntimeError when there is none."""
        key = self._keys.to_read("dataset", name)
        layout = self._layout(key)
        fields: Hash = self._router.run_many(layout.fetch(key)[:1])[0]
        if not fields:
            raise RedisRuntimeError(f"there is no dataset {name!r} in the database {self._place}")
        self._remove(key, tensor_names(name, fields))

    def copy_dataset(self, src_name: str, dest_name: str) -> None:
        """Store the dataset `src_name` under `dest_name` too, by way of this client.

        Raises RedisKeyError when there is no such dataset.
        """
        self._keys.to_write("dataset", dest_name)
        self._store(replace(self._fetch_one(src_name), name=dest_name))

    def rename_dataset(self, old_name: str, new_name: str) -> None:
        """Give the dataset `old_name` the name `new_name`, by way of this client.

        For a moment both names exist. Raises RedisKeyError when there is no such dataset.
        """
        old = self._keys.to_read("dataset", old_name)
        new = self._keys.to_write("dataset", new_name)
        found = self._fetch_one(old_name)
        if old != new:
            self._store(replace(found, name=new_name))
            self._remove(old, list(found.tensors))

    def dataset_exists(self, name: str) -> bool:
        """Tell whether there is a dataset `name`, completely stored."""
        key = meta_key(self._keys.to_read("dataset", name))
        return bool(self._router.run_many([Request(key, (b"HEXISTS", key, COMPLETE))])[0])

    def poll_dataset(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """As poll_key, for the dataset `name`."""
        self._keys.to_read("dataset", name)
        return poll(lambda: self.dataset_exists(name), poll_frequency_ms, num_tries)

    def _store(self, contents: Contents) -> None:
        if not contents.fields and not contents.tensors:
            raise RedisRuntimeError(f"dataset {contents.name!r} holds nothing that could be stored")
        key = self._keys.to_write("dataset", contents.name)
        requests = self._layout(key).store(key, contents)
        if contents.nbytes <= _MOST_TOGETHER:
            self._router.run_together(key, requests)
        else:
            # The mark that the dataset is complete comes last.
            self._router.run_many(requests[:-1])
            self._router.run_many(requests[-1:])

    def _remove(self, key: bytes, names: Sequence[str]) -> None:
        keys = self._layout(key).keys(key, names)
        self._router.run_many([Request(key, (b"UNLINK", *keys))])

    def _fetch_one(self, name: str) -> Contents:
        return self._fetch([self._keys.to_read("dataset", name)], [name])[0]

    def _fetch(self, keys: Sequence[bytes], names: Sequence[str]) -> list[Contents]:
        """Return the datasets with these keys, in one or two round trips a shard."""
        if not keys:
            return []
        layout = self._layout(keys[0])
        first = self._ask([layout.fetch(key) for key in keys])
        for name, (fields, *_) in zip(names, first, strict=True):
            if not fields:
                raise RedisKeyError(f"there is no dataset {name!r} in the database {self._place}")
        held = [tensor_names(name, part[0]) for name, part in zip(names, first, strict=True)]
        rest = self._ask([layout.fetch_rest(*one) for one in zip(keys, held, strict=True)])
        return [
            assemble(name, fields, layout.tensors(tensors, [*more, *last]))
            for name, tensors, (fields, *more), last in zip(names, held, first, rest, strict=True)
        ]

    def _ask(self, groups: Sequence[Sequence[Request]]) -> list[list[Any]]:
        """Run the requests of all groups; return the replies in the same groups."""
        if len(groups) == 1 and len(groups[0]) > 1:
            # Nobody can replace the dataset between two parts of it.
            return [self._router.run_together(groups[0][0].key, groups[0])]
        replies = iter(self._router.run_many([request for group in groups for request in group]))
        return [[next(replies) for _ in group] for group in groups]


def checked(dataset: Dataset) -> Dataset:
    """Raise InputTypeError unless this is a Dataset."""
    if not isinstance(dataset, Dataset):
        raise InputTypeError(f"dataset must be a Dataset, not {type(dataset).__name__}")
    return dataset
