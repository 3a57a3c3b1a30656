"""Training data as PyTorch datasets; needs the package torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hpcorch.errors import InputError
from hpcorch.ml.download import DataDownloader

__all__ = ["DataGenerator", "DataLoader"]


# Types of torch are not looked at, since it may be missing: its class is Any to the checker.
class DataGenerator(DataDownloader, IterableDataset):  # type: ignore[misc]
    """A DataDownloader that yields torch tensors; its arguments are those of DataDownloader.

    `DataLoader(dataset, batch_size=None, num_workers=4, persistent_workers=True)` shares the
    published batches among worker processes; for these say init_samples=False.
    """

    _shared = False

    def __iter__(self) -> Iterator[Any]:
        """Yield an epoch of tensors; in a worker process, of that worker's share."""
        self._take_share()
        for batch in super().__iter__():
            if isinstance(batch, tuple):
                yield tuple(torch.from_numpy(item) for item in batch)
            else:
                yield torch.from_numpy(batch)

    def _take_share(self) -> None:
        """In a worker process, become one of as many downloaders as there are workers."""
        worker = get_worker_info()
        if worker is None or self._shared:
            return
        if self._samples:
            raise InputError(
                "init_samples is True: every worker process would yield the same samples",
                "say init_samples=False",
            )
        # A connection that was made before the worker was forked is its parent's.
        self._client = None
        rank = self.replica_rank * worker.num_workers + worker.id
        self.set_replica_parameters(rank, self.num_replicas * worker.num_workers)
        self._shared = True
