"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime

from hpcorch.client.codecs import Tensor
from hpcorch.inference.backends.base import Loaded, LoadOptions, check_count
from hpcorch.inference.blob import Blob
from hpcorch.inference.devices import CPU, Device, gpus

_GPU_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider")


class OnnxModel:
    """A session; ONNX Runtime's own lock-free design lets threads share it."""

    def __init__(self, session: Any) -> None:
        self._run = session.run
        self._inputs = [item.name for item in session.get_inputs()]
        self._single = self._inputs[0] if len(self._inputs) == 1 else None

    def run(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """As Loaded says."""
        if self._single is not None and len(arrays) == 1:
            found: list[Tensor] = self._run(None, {self._single: arrays[0]})
            return found
        check_count(arrays, len(self._inputs))
        return list(self._run(None, dict(zip(self._inputs, arrays, strict=True))))


class OnnxBackend:
    """ONNX Runtime."""

    def devices(self) -> Sequence[Device]:
        """As Backend says; ONNX Runtime does not count GPUs, the driver's list does."""
        if _gpu_provider() is None:
            return (CPU,)
        return (CPU, *gpus(_count_gpus()))

    def load(self, blob: Blob, options: LoadOptions) -> Loaded:
        """As Backend says."""
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        # Threads that spin between two runs would take CPUs from the application.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            blob.path, settings, providers=_providers(options.device)
        )
        return OnnxModel(session)


def _gpu_provider() -> str | None:
    present = onnxruntime.get_available_providers()
    return next((name for name in _GPU_PROVIDERS if name in present), None)


def _count_gpus() -> int:
    count = getattr(onnxruntime, "get_ep_devices", None)
    if count is None:
        return 1
    names = [str(device.ep_name) for device in count()]
    return max(1, names.count(_gpu_provider() or ""))


def _providers(device: Device) -> list[Any]:
    provider = _gpu_provider()
    if device.gpu is None or provider is None:
        return ["CPUExecutionProvider"]
    return [(provider, {"device_id": str(device.gpu)}), "CPUExecutionProvider"]


BACKEND = OnnxBackend()
