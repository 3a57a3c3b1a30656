"""Downloading batches of training data, while more of them may still be published."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hpcorch.client.client import Client
from hpcorch.client.codecs import Tensor
from hpcorch.client.dataset import Dataset
from hpcorch.client.errors import RedisTimeoutError
from hpcorch.client.log import LLInfo
from hpcorch.errors import InputError, InputTypeError
from hpcorch.ml.info import DataInfo, whole
from hpcorch.ml.upload import connect

Batch = Tensor | tuple[Tensor, Tensor]
# Many batches in one answer would need twice their memory.
_BATCHES_AT_ONCE = 64


class DataDownloader:
    """An iterator over mini-batches of `batch_size` samples; each pass over it is an epoch.

    `data_info_or_list_name` is a DataInfo, or the name of a list whose DataInfo was published.
    With `dynamic`, every epoch after the first begins with the batches that were published since.
    `shuffle` gives each epoch an order of its own, drawn from `seed`. Of `num_replicas` downloaders
    each takes every num_replicas-th published batch, beginning with its `replica_rank`, so that all
    of them together see every sample once. With `drop_last` an epoch's last mini-batch is left out
    if it is smaller than the others.

    The database is the one of `client`, of `address` and `cluster`, or of the environment. What is
    not published yet is waited for: `max_fetch_trials` looks, without end if negative,
    `wait_interval` seconds apart; with `verbose` the client's log tells of that and of what was
    downloaded. With `init_samples` false all this begins with the first use.
    Raises InputError, InputTypeError, RedisTimeoutError, and what Client raises.
    """

    def __init__(
        self,
        data_info_or_list_name: DataInfo | str,
        batch_size: int = 32,
        dynamic: bool = True,
        shuffle: bool = True,
        cluster: bool = True,
        address: str | None = None,
        replica_rank: int = 0,
        num_replicas: int = 1,
        verbose: bool = False,
        init_samples: bool = True,
        max_fetch_trials: int = -1,
        wait_interval: float = 10.0,
        seed: int | None = None,
        drop_last: bool = False,
        client: Client | None = None,
    ) -> None:
        told = data_info_or_list_name
        self.info = told if isinstance(told, DataInfo) else DataInfo(told)
        self.batch_size = whole("batch_size", batch_size, 1)
        self.dynamic = dynamic
        self.shuffle = shuffle
        self.drop_last = drop_last
        self._verbose = verbose
        self._info_wanted = not isinstance(told, DataInfo)
        self._where = (cluster, address)
        self._trials = whole("max_fetch_trials", max_fetch_trials, -1)
        self._wait_interval = _seconds(wait_interval)
        self._random = np.random.default_rng(seed)
        self._client = client
        self._samples: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._seen = 0
        self._epochs = 0
        self.set_replica_parameters(replica_rank, num_replicas)
        if init_samples:
            self.init_samples()

    def __getstate__(self) -> dict[str, Any]:
        # A connection belongs to one process.
        return {**self.__dict__, "_client": None}

    def __len__(self) -> int:
        """Return the number of mini-batches of an epoch over what was downloaded so far."""
        count = self.num_samples
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield an epoch: samples, or samples and targets if there are any."""
        if not self._samples:
            self.init_samples()
        elif self.dynamic and self._epochs:
            self.update_data()
        self._epochs += 1
        samples, targets = _joined(self._samples), _joined(self._targets)
        order = np.arange(self.num_samples)
        if self.shuffle:
            self._random.shuffle(order)
        for number in range(len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            if self.info.target_name is None:
                yield samples[chosen]
            elif self.autoencoding:
                # Two arrays: whoever changes the one in place wants the other as it was.
                yield samples[chosen], samples[chosen]
            else:
                yield samples[chosen], targets[chosen]

    @property
    def client(self) -> Client:
        """The connection, made when it is first needed."""
        if self._client is None:
            self._client = connect(*self._where)
        return self._client

    @property
    def num_samples(self) -> int:
        """How many samples were downloaded so far."""
        return sum(len(item) for item in self._samples)

    @property
    def autoencoding(self) -> bool:
        """Whether samples are their own targets."""
        return self.info.target_name == self.info.sample_name

    def set_replica_parameters(self, replica_rank: int, num_replicas: int) -> None:
        """Say which share of the batches is this downloader's; before it has downloaded any."""
        whole("num_replicas", num_replicas, 1)
        if whole("replica_rank", replica_rank, 0) >= num_replicas:
            raise InputError(f"replica_rank is {replica_rank}: it must be below {num_replicas}")
        if self._seen:
            raise InputError("replica_rank is set too late: data was downloaded already")
        self.replica_rank, self.num_replicas = replica_rank, num_replicas

    def init_samples(self) -> None:
        """Wait until there is something to download, and download it."""
        if self._info_wanted:
            self._await(self._has_info, f"information about the list {self.info.list_name}")
            self.info.download(self.client)
            self._info_wanted = False
        self._await(self.update_data, f"a batch of the list {self.info.list_name}")

    def update_data(self) -> bool:
        """Download what was published since the last time; says whether that was anything."""
        length = self.client.get_list_length(self.info.list_name)
        # All of it or none: what fails half-way is downloaded again as a whole.
        batches = list(self._new_batches(length))
        samples = [batch.get_tensor(self.info.sample_name) for batch in batches]
        if self.info.target_name is not None and not self.autoencoding:
            self._targets += [batch.get_tensor(self.info.target_name) for batch in batches]
        self._samples += samples
        self._seen = max(self._seen, length)
        if batches:
            self._tell(f"downloaded {len(batches)} batches of the list {self.info.list_name}")
        return bool(batches)

    def _new_batches(self, length: int) -> Iterator[Dataset]:
        name, step = self.info.list_name, self.num_replicas
        first = self._seen + (self.replica_rank - self._seen) % step
        if step == 1:
            for start in range(first, length, _BATCHES_AT_ONCE):
                end = min(start + _BATCHES_AT_ONCE, length) - 1
                yield from self.client.get_dataset_list_range(name, start, end)
        else:
            for place in range(first, length, step):
                yield from self.client.get_dataset_list_range(name, place, place)

    def _has_info(self) -> bool:
        return self.client.dataset_exists(self.info.dataset_name)

    def _await(self, arrived: Callable[[], bool], what: str) -> None:
        trials = 0
        while not arrived():
            trials += 1
            if 0 <= self._trials <= trials:
                raise RedisTimeoutError(f"{what} was not there after {trials} looks")
            self._tell(f"{what} is not there yet")
            # The database tells nobody that something has come: it is asked, as often as was said.
            time.sleep(self._wait_interval)

    def _tell(self, message: str) -> None:
        if self._verbose:
            self.client.log_data(LLInfo, message)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputTypeError(
            f"wait_interval is {value!r}, a {type(value).__name__}: it must be a number of seconds"
        )
    if not value >= 0:
        raise InputError(f"wait_interval is {value!r}: it must be 0 or more")
    return float(value)


def _joined(parts: list[Tensor]) -> Tensor:
    """Return one array of all rows, and keep it instead of its parts."""
    if len(parts) > 1:
        parts[:] = [np.concatenate(parts)]
    return parts[0] if parts else np.empty(0)
