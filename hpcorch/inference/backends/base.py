"""What every framework is wrapped into: bytes become a model, a model makes arrays of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from hpcorch.client.codecs import Tensor
from hpcorch.inference.blob import Blob
from hpcorch.inference.devices import CPU, Device
from hpcorch.inference.faults import Fault


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model: where, with how many CPU threads, and the ends of a TensorFlow graph."""

    device: Device = CPU
    threads: int = 1
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class Loaded(Protocol):
    """A model in a framework's hands; may be used by several threads."""

    def run(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """Return the model's outputs for `arrays`, in the model's order.

        Raises Fault for a wrong number of inputs, else whatever the framework raises.
        """


class Backend(Protocol):
    """One framework."""

    def devices(self) -> Sequence[Device]:
        """Return the devices that the framework can use on this node."""

    def load(self, blob: Blob, options: LoadOptions) -> Loaded:
        """Return the model in `blob`.

        Raises Fault for a format that is refused, else whatever the framework raises.
        """


def check_count(arrays: Sequence[Tensor], expected: int) -> None:
    """Raise Fault unless there are `expected` arrays."""
    if len(arrays) != expected:
        raise Fault("input", f"the model has {expected} input(s), and {len(arrays)} were given")


def first_import(*modules: str) -> ModuleType:
    """Return the first of these modules that is installed; raises ModuleNotFoundError."""
    import importlib

    for module in modules[:-1]:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            continue
    return importlib.import_module(modules[-1])


def as_arrays(found: Any) -> list[Any]:
    """Return one output, or a list, tuple or mapping of them, as a list."""
    if isinstance(found, dict):
        return list(found.values())
    return list(found) if isinstance(found, (list, tuple)) else [found]
