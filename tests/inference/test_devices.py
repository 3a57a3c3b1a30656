"""Which device a model gets, with lists of devices that are not here."""

from __future__ import annotations

import pytest

from hpcorch.client import model_checks
from hpcorch.errors import InputError
from hpcorch.inference.devices import CPU, choose, gpus
from hpcorch.inference.faults import Fault

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
