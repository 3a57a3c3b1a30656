"""Which device a model gets, with lists of devices that are not here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hpcorch.client import model_checks
from hpcorch.client.model_store import ModelStore, Stored
from hpcorch.errors import InputError
from hpcorch.inference import backends
from hpcorch.inference.devices import CPU, choose, gpus
from hpcorch.inference.faults import Fault
from hpcorch.inference.shelf import Shelf

THREE = (CPU, *gpus(3))


@pytest.mark.parametrize(
    ("wanted", "turn", "found"),
    [("CPU", 2, "CPU"), ("GPU", 0, "GPU:0"), ("GPU", 4, "GPU:1"), ("GPU:2", 0, "GPU:2")],
)
def test_a_device_that_is_there_is_found(wanted, turn, found):
    assert str(choose(wanted, THREE, turn)) == found


@pytest.mark.parametrize(
    ("wanted", "present", "there"),
    [("GPU", (CPU,), "CPU"), ("GPU:0", (), "CPU"), ("GPU:3", THREE, "CPU, GPU:0, GPU:1, GPU:2")],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(wanted, present, there):
    with pytest.raises(Fault, match=f"no device {wanted}: its framework finds {there}$") as caught:
        choose(wanted, present)
    assert caught.value.kind == "device"


class Fake:
    """A framework with three GPUs, whose models tell where they are."""

    def devices(self):
        return THREE

    def load(self, blob, options):
        return SimpleNamespace(run=lambda arrays: [str(options.device)])


class Store(ModelStore):
    """Holds one model for any GPU, without a database."""

    def __init__(self) -> None:
        pass

    stored = Stored("model", "m", "1", "ONNX", "GPU", 1, 1)

    def read_by(self, kind, name, hold):
        return self.stored, hold(1, lambda view: True)


def test_a_model_is_loaded_on_the_gpu_of_its_worker_or_on_the_one_that_a_rank_asks_for(monkeypatch):
    monkeypatch.setattr(backends, "get", lambda name: Fake())
    for turn, own in ((0, "GPU:0"), (1, "GPU:1"), (5, "GPU:2")):
        shelf = Shelf(Store(), threads=1, turn=turn)
        assert shelf.get("model", "m").run([], 1.0, "") == [own]
        for rank in range(4):
            wanted = model_checks.gpu(rank, 1, 2)
            found = shelf.get("model", "m", device=wanted).run([], 1.0, "")
            assert found == [wanted] == [f"GPU:{1 + rank % 2}"]
        with pytest.raises(Fault, match="no device GPU:7: its framework finds CPU, GPU:0, GPU:1"):
            shelf.get("model", "m", device="GPU:7")


def test_ranks_spread_over_the_gpus_from_the_first_one_on():
    assert [model_checks.gpu(rank, 2, 3) for rank in range(5)] == [
        "GPU:2",
        "GPU:3",
        "GPU:4",
        "GPU:2",
        "GPU:3",
    ]


@pytest.mark.parametrize("bad", ["TPU", "GPU:", "GPU:-1", "GPU:01", "", "GPU:0x"])
def test_a_device_that_nobody_has_is_refused(bad):
    with pytest.raises(InputError, match="it must be CPU, GPU or GPU:number"):
        model_checks.device(bad)
    assert model_checks.device("gpu:1") == "GPU:1"
