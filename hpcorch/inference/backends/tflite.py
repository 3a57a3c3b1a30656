"""TensorFlow Lite models, run by LiteRT or whichever package of it is installed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcorch.client.codecs import Tensor
from hpcorch.inference.backends.base import Loaded, LoadOptions, check_count, first_import
from hpcorch.inference.blob import Blob
from hpcorch.inference.devices import CPU, Device
from hpcorch.inference.faults import Fault

_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")


class TfliteModel:
    """An interpreter, which works for one caller at a time."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._lock = threading.Lock()
        self._inputs = interpreter.get_input_details()
        self._outputs = [item["index"] for item in interpreter.get_output_details()]
        self._shapes = [tuple(item["shape"]) for item in self._inputs]
        self._allocated = False

    def run(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """As Loaded says."""
        check_count(arrays, len(self._inputs))
        for array, item in zip(arrays, self._inputs, strict=True):
            if array.dtype != item["dtype"]:
                wanted = np.dtype(item["dtype"])
                text = f"input {item['name']} is of dtype {wanted}, not {array.dtype}"
                raise Fault("input", text)
        with self._lock:
            self._fit(arrays)
            for array, item in zip(arrays, self._inputs, strict=True):
                self._interpreter.set_tensor(item["index"], array)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]

    def _fit(self, arrays: Sequence[Tensor]) -> None:
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            self._allocated = False
            for item, shape in zip(self._inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(item["index"], shape)
        if not self._allocated:
            self._interpreter.allocate_tensors()
            self._shapes, self._allocated = shapes, True


class TfliteBackend:
    """LiteRT."""

    def devices(self) -> Sequence[Device]:
        """As Backend says: on servers LiteRT runs on the CPU only."""
        return (CPU,)

    def load(self, blob: Blob, options: LoadOptions) -> Loaded:
        """As Backend says."""
        library = first_import(*_MODULES)
        interpreter = library.Interpreter(model_path=blob.path, num_threads=options.threads)
        return TfliteModel(interpreter)


BACKEND = TfliteBackend()
