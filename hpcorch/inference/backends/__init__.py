"""The frameworks, by the names that users give them; each is imported when it is first needed."""

from __future__ import annotations

import importlib
from functools import cache
from importlib import metadata
from importlib.util import find_spec

from hpcorch.inference.backends.base import Backend, Loaded, LoadOptions
from hpcorch.inference.faults import Fault

__all__ = ["Backend", "LoadOptions", "Loaded", "frameworks", "get"]

# Module here, then what must be importable for it, any of them.
_BACKENDS = {
    "ONNX": ("onnx", ("onnxruntime",)),
    "TFLITE": ("tflite", ("ai_edge_litert", "tflite_runtime", "tensorflow")),
    "TORCH": ("torch", ("torch",)),
    "TF": ("tensorflow", ("tensorflow",)),
}
_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "ai_edge_litert": ("ai-edge-litert",),
    "tflite_runtime": ("tflite-runtime",),
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
}


def frameworks() -> dict[str, str]:
    """Return for each framework's name what would run it, such as "onnxruntime 1.19"; or ""."""
    return {name: _found(modules) for name, (_, modules) in _BACKENDS.items()}


def _found(modules: tuple[str, ...]) -> str:
    for module in modules:
        if find_spec(module) is not None:
            return f"{module} {_version(module)}".strip()
    return ""


def _version(module: str) -> str:
    for distribution in _DISTRIBUTIONS[module]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return ""


@cache
def get(name: str) -> Backend:
    """Return the framework called `name`, imported; raises Fault when it is not installed."""
    module, needed = _BACKENDS[name]
    if not _found(needed):
        raise Fault(
            "missing",
            f"the Python of this model worker has no {needed[0]}, which {name} models need",
            hint=f"install {needed[0]} there",
        )
    found: Backend = importlib.import_module(f"hpcorch.inference.backends.{module}").BACKEND
    return found
