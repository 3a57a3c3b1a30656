"""Scripts and functions: source text that becomes functions on arrays, in this process only."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hpcorch.client.codecs import Tensor
from hpcorch.inference import backends
from hpcorch.inference.backends.base import Loaded, as_arrays
from hpcorch.inference.devices import CPU, Device
from hpcorch.inference.faults import Fault, NoFunction


class PythonFunction:
    """A function on numpy arrays."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def run(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """As Loaded says."""
        return [np.asarray(item) for item in as_arrays(self._call(*arrays))]


class PythonScript:
    """The functions that a Python source defines."""

    def __init__(self, source: str) -> None:
        self._names: dict[str, Any] = {"np": np, "numpy": np, "__name__": "hpcorch_function"}
        # The annotations of a function may name modules that are not here.
        code = compile("from __future__ import annotations\n" + source, "<function>", "exec")
        exec(code, self._names)

    def function(self, name: str) -> Loaded:
        """Return a function by its name; raises NoFunction when there is none."""
        found = self._names.get(name)
        if not callable(found):
            raise NoFunction(name)
        return PythonFunction(found)


class TorchScript:
    """The functions that a TorchScript source defines."""

    def __init__(self, source: str, device: Device) -> None:
        import torch

        from hpcorch.inference.backends import torch as wrapped

        self._unit = torch.jit.CompilationUnit(source)
        self._device = wrapped.torch_device(device)
        self._wrap = wrapped.TorchModel

    def function(self, name: str) -> Loaded:
        """Return a function by its name; raises NoFunction when there is none."""
        try:
            return self._wrap(getattr(self._unit, name), self._device)
        except AttributeError as error:
            raise NoFunction(name) from error


def devices(language: str) -> Sequence[Device]:
    """Return the devices that a script in `language` can use; raises Fault without its framework.

    Python functions see numpy arrays, which are on the CPU, whatever device they were stored for.
    """
    if language == "PYTHON":
        return (CPU,)
    try:
        return backends.get("TORCH").devices()
    except Fault as error:
        hint = 'a function on numpy arrays is stored with language="PYTHON"'
        raise Fault(error.kind, error.message, f"{error.hint}; {hint}") from error


def load(source: bytes, language: str, device: Device) -> PythonScript | TorchScript:
    """Return the functions in `source`; raises what compiling it raises."""
    # A function of a class or of another function is sent with its indentation.
    text = textwrap.dedent(source.decode())
    return PythonScript(text) if language == "PYTHON" else TorchScript(text, device)
