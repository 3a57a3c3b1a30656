"""Device names: CPU, GPU (any) and GPU:i, against what a framework finds on this node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcorch.inference.faults import Fault


@dataclass(frozen=True)
class Device:
    """The CPU, or the GPU number `gpu` as the framework counts them."""

    gpu: int | None = None

    def __str__(self) -> str:
        return "CPU" if self.gpu is None else f"GPU:{self.gpu}"


CPU = Device()


def gpus(number: int) -> tuple[Device, ...]:
    """Return the first `number` GPUs."""
    return tuple(Device(index) for index in range(number))


def choose(wanted: str, present: Sequence[Device], turn: int = 0) -> Device:
    """Return the device that `wanted` (CPU, GPU or GPU:i) means where `present` ones are.

    GPU is the one number `turn`, counted round, so that workers of one node spread over its GPUs.
    Raises Fault that names the devices which are there.
    """
    if wanted == "CPU":
        return CPU
    found = [device for device in present if device.gpu is not None]
    if wanted == "GPU" and found:
        return found[turn % len(found)]
    for device in found:
        if str(device) == wanted:
            return device
    there = ", ".join(["CPU", *map(str, found)])
    raise Fault("device", f"this worker has no device {wanted}: its framework finds {there}")
