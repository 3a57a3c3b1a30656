"""Training data as PyTorch sees it, with worker processes and without; `make test-ai` runs this."""

from __future__ import annotations

import numpy as np
import pytest

from hpcorch.client import Client
from hpcorch.ml import TrainingDataUploader

pytestmark = [pytest.mark.ai, pytest.mark.redis]


@pytest.fixture
def published(tcp_server, monkeypatch):
    """Six batches of two samples, and their squares."""
    monkeypatch.setenv("SSDB", tcp_server.ssdb)
    tcp_server.admin().execute_command("FLUSHALL")
    with Client() as client:
        uploader = TrainingDataUploader(client=client)
        uploader.publish_info()
        for start in range(0, 12, 2):
            samples = np.arange(start, start + 2, dtype=np.float32)
            uploader.put_batch(samples, samples**2)
        yield uploader


def loader(**facts):
    from hpcorch.ml.torch import DataGenerator, DataLoader

    workers = facts.pop("num_workers", 0)
    data = DataGenerator("training_data", batch_size=3, wait_interval=0.01, **facts)
    return DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


def numbers(batches):
    import torch

    found = []
    for samples, targets in batches:
        assert isinstance(samples, torch.Tensor)
        assert torch.equal(samples**2, targets)
        found += samples.tolist()
    return sorted(found)


def test_a_loader_yields_tensors_epoch_by_epoch(published):
    data = loader()
    assert numbers(data) == list(range(12))
    more = np.array([12], np.float32)
    published.put_batch(more, more**2)
    assert numbers(data) == list(range(13))


def test_workers_share_the_batches(published):
    data = loader(num_workers=2, init_samples=False)
    assert numbers(data) == list(range(12))
    more = np.array([12], np.float32)
    published.put_batch(more, more**2)
    assert numbers(data) == list(range(13))


def test_workers_of_replicas_share_the_batches(published):
    data = loader(num_workers=2, init_samples=False, replica_rank=1, num_replicas=2)
    # Of six batches the second replica's workers are the third and fourth of four downloaders.
    assert numbers(data) == [4, 5, 6, 7]


def test_workers_that_would_repeat_each_other_are_refused(published):
    with pytest.raises(ValueError, match="init_samples is True"):
        numbers(loader(num_workers=2))
