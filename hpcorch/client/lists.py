"""The calls of a client for aggregation lists: datasets of many writers, collected in one place."""

from __future__ import annotations

import operator
from collections.abc import Callable

from hpcorch.client.connection import Request
from hpcorch.client.dataset import Contents, Dataset
from hpcorch.client.datasets import DatasetCalls, checked
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.keys import dataset_of_entry
from hpcorch.client.session import check_number, poll

# A server keeps the answers to all that was asked at once in memory until they have been read, so
# the number of datasets asked for together follows from the size of those before.
_FIRST_BATCH = 16
_LARGEST_BATCH = 1024
_BATCH_BYTES = 2**28


class ListCalls(DatasetCalls):
    """Lists of datasets. A list holds names, not copies: the datasets are stored on their own."""

    def append_to_list(self, list_name: str, dataset: Dataset) -> None:
        """Append `dataset`, which must be stored by put_dataset, to a list; made if need be.

        When the connection breaks before the answer, RedisConnectionError says so: the dataset may
        be in the list or not.
        """
        entry = self._keys.to_write("dataset", checked(dataset).get_name())
        key = self._keys.to_write("list", list_name)
        self._router.run_many([Request(key, (b"RPUSH", key, entry), repeatable=False)])

    def delete_list(self, list_name: str) -> None:
        """Remove a list, not its datasets; nothing happens when there is none."""
        self._command(b"UNLINK", self._keys.to_read("list", list_name))

    def copy_list(self, src_name: str, dest_name: str) -> None:
        """Let `dest_name` be a list of the same datasets as `src_name`, replacing what it was.

        Raises RedisRuntimeError when the list `src_name` is not there.
        """
        source = self._keys.to_read("list", src_name)
        target = self._keys.to_write("list", dest_name)
        entries = self._entries(source, 0, -1)
        if not entries:
            raise RedisRuntimeError(f"there is no list {src_name!r} in the database {self._place}")
        if source != target:
            fill = Request(target, (b"RPUSH", target, *entries))
            self._router.run_together(target, [Request(target, (b"DEL", target)), fill])

    def rename_list(self, src_name: str, dest_name: str) -> None:
        """As copy_list, and remove the list `src_name` afterwards."""
        self.copy_list(src_name, dest_name)
        source = self._keys.to_read("list", src_name)
        if source != self._keys.to_write("list", dest_name):
            self._command(b"UNLINK", source)

    def get_list_length(self, list_name: str) -> int:
        """Return the number of entries in a list; 0 when there is no such list."""
        return self._command(b"LLEN", self._keys.to_read("list", list_name))

    def poll_list_length(
        self, name: str, list_length: int, poll_frequency_ms: int, num_tries: int
    ) -> bool:
        """As poll_key, for the list `name` to have exactly `list_length` entries."""
        return self._poll_length(name, operator.eq, list_length, poll_frequency_ms, num_tries)

    def poll_list_length_gte(
        self, name: str, list_length: int, poll_frequency_ms: int, num_tries: int
    ) -> bool:
        """As poll_key, for the list `name` to have `list_length` entries or more."""
        return self._poll_length(name, operator.ge, list_length, poll_frequency_ms, num_tries)

    def poll_list_length_lte(
        self, name: str, list_length: int, poll_frequency_ms: int, num_tries: int
    ) -> bool:
        """As poll_key, for the list `name` to have `list_length` entries or fewer."""
        return self._poll_length(name, operator.le, list_length, poll_frequency_ms, num_tries)

    def get_datasets_from_list(self, list_name: str) -> list[Dataset]:
        """Return all datasets of a list, in its order; none when there is no such list.

        Raises RedisKeyError when a dataset of the list is not in the database.
        """
        return self._datasets(list_name, 0, -1)

    def get_dataset_list_range(
        self, list_name: str, start_index: int, end_index: int
    ) -> list[Dataset]:
        """Return the datasets from `start_index` to `end_index`, both included, counted from 0.

        Negative indices count from the end: -1 is the last one. Otherwise as
        get_datasets_from_list.
        """
        check_number(start_index, "start_index")
        check_number(end_index, "end_index")
        return self._datasets(list_name, start_index, end_index)

    def _datasets(self, list_name: str, start: int, end: int) -> list[Dataset]:
        entries = self._entries(self._keys.to_read("list", list_name), start, end)
        names = [dataset_of_entry(entry) for entry in entries]
        found: list[Contents] = []
        batch = _FIRST_BATCH
        while len(found) < len(entries):
            part = slice(len(found), len(found) + batch)
            found += self._fetch(entries[part], names[part])
            largest = max(1, *(one.nbytes for one in found[part]))
            batch = max(1, min(_LARGEST_BATCH, _BATCH_BYTES // largest))
        return [Dataset.from_pybind(one) for one in found]

    def _entries(self, key: bytes, start: int, end: int) -> list[bytes]:
        request = Request(key, (b"LRANGE", key, b"%d" % start, b"%d" % end))
        found: list[bytes] = self._router.run_many([request])[0]
        return found

    def _poll_length(
        self,
        name: str,
        compare: Callable[[int, int], bool],
        list_length: int,
        frequency_ms: int,
        tries: int,
    ) -> bool:
        self._keys.to_read("list", name)
        check_number(list_length, "list_length", 0)
        return poll(lambda: compare(self.get_list_length(name), list_length), frequency_ms, tries)
