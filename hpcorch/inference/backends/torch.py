"""TorchScript models and exported programs, run by PyTorch.

Both are zip archives. What `torch.save` writes is a pickle, which runs code when it is read, and is
refused; so is every archive that holds neither TorchScript code nor an exported program, and every
exported program with Python objects in it.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hpcorch.client.codecs import Tensor
from hpcorch.inference.backends.base import Loaded, LoadOptions, as_arrays
from hpcorch.inference.blob import Blob
from hpcorch.inference.devices import CPU, Device, gpus
from hpcorch.inference.faults import Fault

# Exported programs may name parts of themselves as pickles: those are then read as weights only.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"

_OBJECTS = ("opaque_obj", "custom_obj")
_EXPORTED = ("models/model.json", "serialized_exported_program.json")


class TorchModel:
    """A module or function of TorchScript, or an exported program's module."""

    def __init__(self, call: Any, device: Any) -> None:
        self._call = call
        self._device = device

    def run(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """As Loaded says."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(array).to(self._device) for array in arrays]
            found = as_arrays(self._call(*tensors))
            return [_array(item) for item in found]


class TorchBackend:
    """PyTorch."""

    def devices(self) -> Sequence[Device]:
        """As Backend says."""
        return (CPU, *gpus(torch.cuda.device_count()))

    def load(self, blob: Blob, options: LoadOptions) -> Loaded:
        """As Backend says."""
        torch.set_num_threads(options.threads)
        device = torch_device(options.device)
        if archive_kind(blob) == "exported":
            with Path(blob.path).open("rb") as file:
                program = torch.export.load(file)
            return TorchModel(program.module().to(device), device)
        module = torch.jit.load(blob.path, map_location=device)
        return TorchModel(module.eval(), device)


def archive_kind(blob: Blob) -> str:
    """Return "script" or "exported"; raises Fault for anything else."""
    try:
        with zipfile.ZipFile(blob.path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        names = []
    inside = {name.partition("/")[2] for name in names}
    if any(name.startswith("code/") for name in inside) and "data.pkl" in inside:
        return "script"
    if any(name.endswith(_EXPORTED) for name in names) and not any(map(_is_object, names)):
        return "exported"
    raise Fault(
        "refused",
        "this is neither TorchScript nor an exported program: pickled models are refused, since "
        "reading one runs code",
        hint="make it with torch.jit.save or torch.export.save",
    )


def _is_object(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_OBJECTS)


def torch_device(device: Device) -> Any:
    """Return PyTorch's own name of a device."""
    return torch.device("cpu" if device.gpu is None else f"cuda:{device.gpu}")


def _array(found: Any) -> Tensor:
    if not isinstance(found, torch.Tensor):
        raise Fault("failed", f"the model returned a {type(found).__name__}, not tensors")
    array: Tensor = found.detach().cpu().numpy()
    return array


BACKEND = TorchBackend()
