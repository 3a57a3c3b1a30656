"""Training data through a real server: what is published arrives once, in every way of asking."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from hpcorch.client import Client, RedisKeyError, RedisTimeoutError
from hpcorch.errors import InputError, InputTypeError
from hpcorch.ml import DataDownloader, DataInfo, TrainingDataUploader

pytestmark = pytest.mark.redis


@pytest.fixture
def client(tcp_server, monkeypatch):
    monkeypatch.setenv("SSDB", tcp_server.ssdb)
    tcp_server.admin().execute_command("FLUSHALL")
    with Client() as made:
        yield made


def publish(client, *sizes, first=0, **facts):
    """Publish batches whose samples count on from `first`; targets are their squares."""
    uploader = TrainingDataUploader(client=client, **facts)
    uploader.publish_info()
    start = first
    for size in sizes:
        numbers = np.arange(start, start + size, dtype=np.float64)
        uploader.put_batch(np.stack([numbers, -numbers], axis=1), numbers**2)
        start += size
    return uploader


def numbers(batches) -> list[float]:
    found = []
    for samples, targets in batches:
        assert len(samples) == len(targets)
        assert np.array_equal(samples[:, 0], -samples[:, 1])
        assert np.array_equal(samples[:, 0] ** 2, targets)
        found += samples[:, 0].tolist()
    return found


def test_every_sample_arrives_once_with_its_target(client):
    publish(client, 5, 1, 7)
    data = DataDownloader("training_data", batch_size=4, client=client)
    sizes = [len(samples) for samples, _ in data]
    assert sizes == [4, 4, 4, 1]
    assert len(data) == 4
    assert sorted(numbers(data)) == list(range(13))
    short = DataDownloader("training_data", batch_size=4, drop_last=True, client=client)
    assert [len(samples) for samples, _ in short] == [4, 4, 4]
    assert len(short) == 3


def test_epochs_are_shuffled_each_in_its_own_way_that_a_seed_repeats(client):
    publish(client, 40)
    plain = DataDownloader("training_data", shuffle=False, client=client)
    assert numbers(plain) == numbers(plain) == list(range(40))
    first, second = (
        DataDownloader("training_data", seed=7, client=client, batch_size=3) for _ in range(2)
    )
    epochs = [numbers(first), numbers(first)]
    assert epochs[0] != epochs[1]
    assert epochs == [numbers(second), numbers(second)]


def test_data_grows_from_epoch_to_epoch_unless_it_is_static(client):
    publish(client, 3)
    dynamic = DataDownloader("training_data", client=client)
    static = DataDownloader("training_data", dynamic=False, client=client)
    assert sorted(numbers(dynamic)) == [0, 1, 2]
    publish(client, 2, 2, first=3)
    assert sorted(numbers(dynamic)) == list(range(7))
    assert sorted(numbers(static)) == sorted(numbers(static)) == [0, 1, 2]
    assert not dynamic.update_data()
    assert static.update_data()
    assert static.num_samples == 7


def test_replicas_share_the_batches(client):
    publish(client, *[1] * 7)
    shares = [
        DataDownloader("training_data", replica_rank=rank, num_replicas=3, client=client)
        for rank in range(3)
    ]
    assert [sorted(numbers(data)) for data in shares] == [[0, 3, 6], [1, 4], [2, 5]]
    publish(client, *[1] * 4, first=7)
    assert sorted(number for data in shares for number in numbers(data)) == list(range(11))


def test_a_downloader_waits_for_what_is_not_published_yet(client):
    found: list[float] = []

    def download() -> None:
        data = DataDownloader("training_data", wait_interval=0.01)
        found.extend(numbers(data))

    waiting = threading.Thread(target=download)
    waiting.start()
    publish(client, 4)
    waiting.join(30)
    assert not waiting.is_alive()
    assert sorted(found) == [0, 1, 2, 3]


def test_waiting_may_have_an_end(client):
    with pytest.raises(RedisTimeoutError, match="information about the list training_data was not"):
        DataDownloader("training_data", max_fetch_trials=2, wait_interval=0)
    with pytest.raises(RedisTimeoutError, match="a batch of the list training_data was not there"):
        DataDownloader(DataInfo(), max_fetch_trials=2, wait_interval=0)
    publish(client, 1)
    with pytest.raises(RedisTimeoutError, match="after 2 looks"):
        DataDownloader(
            "training_data", replica_rank=1, num_replicas=2, max_fetch_trials=2, wait_interval=0
        )


def test_samples_may_be_without_targets_or_their_own(client):
    alone = TrainingDataUploader("alone", "x", None, client=client)
    alone.publish_info()
    alone.put_batch(np.arange(3))
    (batch,) = DataDownloader("alone", shuffle=False, client=client)
    assert np.array_equal(batch, [0, 1, 2])
    own = TrainingDataUploader("own", "x", "x", client=client)
    own.publish_info()
    own.put_batch(np.arange(3))
    ((samples, targets),) = DataDownloader("own", client=client)
    assert np.array_equal(samples, targets)
    assert not np.may_share_memory(samples, targets)


def test_information_travels_whole(client):
    DataInfo("l", "s", "t", 4).publish(client)
    found = DataInfo("l")
    found.download(client)
    assert repr(found) == "DataInfo('l', 's', 't', 4)"
    DataInfo("l", "s", None).publish(client)
    found.download(client)
    assert (found.target_name, found.num_classes) == (None, None)
    with pytest.raises(RedisKeyError):
        DataInfo("other").download(client)


def test_uploaders_of_one_rank_do_not_overwrite_each_other(client):
    for first in (0, 2):
        publish(client, 2, first=first, rank=0)
    assert sorted(numbers(DataDownloader("training_data", client=client))) == [0, 1, 2, 3]


def test_a_downloader_travels_to_another_process_without_its_connection(client):
    publish(client, 3)
    data = pickle.loads(pickle.dumps(DataDownloader("training_data", init_samples=False)))
    assert sorted(numbers(data)) == [0, 1, 2]
    assert data.client is not client


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda up: up.put_batch([1]), "samples is a list"),
        (lambda up: up.put_batch(np.float64(1)), "samples is a float64"),
        (lambda up: up.put_batch(np.empty((0, 2)), np.empty(0)), r"samples has the shape \(0, 2\)"),
        (lambda up: up.put_batch(np.ones(2)), "targets is None: target_name is 'targets'"),
        (lambda up: up.put_batch(np.ones(2), np.ones(3)), "targets has 3 rows: there are 2"),
    ],
)
def test_batches_that_are_none_are_refused(client, call, words):
    with pytest.raises(InputError, match=words):
        call(TrainingDataUploader(client=client))
    assert client.get_list_length("training_data") == 0


@pytest.mark.parametrize(
    ("facts", "kind", "words"),
    [
        ({"batch_size": 0}, InputError, "batch_size is 0: it must be 1 or more"),
        ({"batch_size": True}, InputTypeError, "batch_size is True"),
        ({"replica_rank": 2, "num_replicas": 2}, InputError, "replica_rank is 2: it must be below"),
        ({"wait_interval": -1}, InputError, "wait_interval is -1"),
        ({"wait_interval": "1"}, InputTypeError, "wait_interval is '1'"),
        ({"data_info_or_list_name": ""}, InputError, "list_name is ''"),
        ({"data_info_or_list_name": 5}, InputTypeError, "list_name is 5"),
    ],
)
def test_arguments_that_are_none_are_refused(facts, kind, words):
    with pytest.raises(kind, match=words):
        DataDownloader(**{"data_info_or_list_name": "l", "init_samples": False, **facts})


def test_shares_cannot_change_once_there_is_data(client):
    publish(client, 1)
    data = DataDownloader("training_data", client=client)
    with pytest.raises(InputError, match="replica_rank is set too late"):
        data.set_replica_parameters(0, 2)


def test_importing_loads_neither_torch_nor_numpy():
    code = "import sys, hpcorch.ml; print({'torch', 'numpy', 'redis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_both_sides_tell_what_they_do_when_they_are_asked_to(client, capfd):
    publish(client, 5, verbose=True)
    data = DataDownloader("training_data", verbose=True, client=client)
    assert len(numbers(data)) == 5
    with pytest.raises(RedisTimeoutError):
        DataDownloader("none", verbose=True, max_fetch_trials=2, wait_interval=0, client=client)
    told = [line.rpartition(":")[2] for line in capfd.readouterr().out.splitlines()]
    assert told == [
        "put 5 samples into the list training_data",
        "downloaded 1 batches of the list training_data",
        "information about the list none is not there yet",
    ]
