"""AI models and scripts to load beside a database, and the workers that run them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hpcorch.client import model_checks
from hpcorch.client.functions import function_source
from hpcorch.describe import check, cpus
from hpcorch.errors import InputError, InputTypeError

_MOST_WORKERS = 256
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True)
class WorkerRequest:
    """Checked form of Workers: `cpus` empty means those of the server, `threads` 0 a fair share."""

    count: int
    cpus: tuple[int, ...] = ()
    threads: int = 0
    max_request: int = 2**30
    frameworks: tuple[str, ...] = ()


class Workers:
    """Model workers beside a database: `count` for each shard, or each node of a colocated one.

    `cpus`, such as [1, range(4, 8)], names CPUs among those the job may use; without it workers run
    where the server runs. `threads` are those of one worker (0: its share of the CPUs). A request
    with more than `max_request` bytes of inputs (such as "1gb") is refused. `frameworks` (ONNX,
    TFLITE, TORCH, TF) must be there, or the start is refused; those of attached models must be in
    any case. Raises InputError or InputTypeError that names the field.
    """

    def __init__(
        self,
        count: int = 1,
        cpus: Iterable[int | Iterable[int]] | None = None,
        threads: int = 0,
        max_request: str = "1gb",
        frameworks: str | Sequence[str] = (),
    ) -> None:
        self.request = WorkerRequest(
            count=check.integer("count", count, 1, _MOST_WORKERS),
            cpus=() if cpus is None else _numbers(cpus),
            threads=check.integer("threads", threads, 0, 4096),
            max_request=_bytes("max_request", max_request),
            frameworks=tuple(
                check.choice("frameworks", item.upper(), model_checks.BACKENDS)
                for item in check.texts("frameworks", frameworks)
            ),
        )


def worker_request(value: Workers | int | None) -> WorkerRequest | None:
    """Return what `workers=` says: a number, Workers, or None (and 0) for none."""
    if isinstance(value, Workers):
        return value.request
    if value is None:
        return None
    count = check.integer("workers", value, 0, _MOST_WORKERS)
    return WorkerRequest(count) if count else None


@dataclass(frozen=True)
class Attachment:
    """A model or script to load: `options` go to the loader; its bytes are `data` or in `path`."""

    kind: str
    name: str
    options: Mapping[str, Any]
    framework: str
    data: bytes | None = field(default=None, repr=False)
    path: str = ""

    @cached_property
    def digest(self) -> str:
        """A text that differs from that of other bytes."""
        return hashlib.sha256(self.data or b"").hexdigest()


class Attachments:
    """Models and scripts that are loaded before a program starts, or before a database answers."""

    def __init__(self) -> None:
        self.attachments: list[Attachment] = []

    def add_ml_model(
        self,
        name: str,
        backend: str,
        model: bytes | None = None,
        model_path: str | os.PathLike[str] | None = None,
        device: str = "CPU",
        devices_per_node: int = 1,
        first_device: int = 0,
        batch_size: int = 0,
        min_batch_size: int = 0,
        min_batch_timeout: int = 0,
        tag: str = "",
        inputs: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
    ) -> None:
        """Load an AI model under `name`; the other arguments are those of Client.set_model.

        The model is `model` or the file `model_path`. With device "GPU" and more than one of
        `devices_per_node` it is loaded on as many GPUs from `first_device` on, for
        run_model_multigpu. Raises InputError or InputTypeError.
        """
        framework = model_checks.backend(backend)
        options: dict[str, Any] = {
            "backend": framework,
            **_devices(device, devices_per_node, first_device),
            "batch_size": model_checks.count("batch_size", batch_size),
            "min_batch_size": model_checks.count("min_batch_size", min_batch_size),
            "min_batch_timeout": model_checks.count("min_batch_timeout", min_batch_timeout),
            "tag": model_checks.text("tag", tag),
            "inputs": list(model_checks.names("inputs", inputs)),
            "outputs": list(model_checks.names("outputs", outputs)),
        }
        model_checks.graph(framework, options["inputs"], options["outputs"])
        model_checks.batches(
            options["batch_size"], options["min_batch_size"], options["min_batch_timeout"]
        )
        data = None if model is None else model_checks.data("model", model)
        path = _file("model", data, "model_path", model_path)
        self.add_attachment(Attachment("model", name, options, framework, data, path))

    def add_script(
        self,
        name: str,
        script: str | None = None,
        script_path: str | os.PathLike[str] | None = None,
        device: str = "CPU",
        devices_per_node: int = 1,
        first_device: int = 0,
    ) -> None:
        """Load TorchScript source under `name`: `script`, or the file `script_path`."""
        data = None if script is None else model_checks.source("script", script).encode()
        path = _file("script", data, "script_path", script_path)
        options = {
            "language": "TORCHSCRIPT",
            **_devices(device, devices_per_node, first_device),
        }
        self.add_attachment(Attachment("script", name, options, "TORCH", data, path))

    def add_function(
        self,
        name: str,
        function: Callable[..., Any],
        device: str = "CPU",
        devices_per_node: int = 1,
        first_device: int = 0,
        language: str = "",
    ) -> None:
        """Load a Python function under `name`, as Client.set_function does."""
        source, told = function_source(function, model_checks.text("language", language))
        self.add_function_source(name, source, told, device, devices_per_node, first_device)

    def add_function_source(
        self,
        name: str,
        source: str,
        language: str,
        device: str = "CPU",
        devices_per_node: int = 1,
        first_device: int = 0,
    ) -> None:
        """Load a Python function's source, in the language TORCHSCRIPT or PYTHON."""
        options = {
            "language": language,
            **_devices(device, devices_per_node, first_device),
        }
        framework = "TORCH" if language == "TORCHSCRIPT" else ""
        self.add_attachment(Attachment("script", name, options, framework, source.encode()))

    def add_attachment(self, item: Attachment) -> None:
        """Attach what was checked already; raises InputError when the name is taken."""
        model_checks.name("name", item.name)
        if any((item.kind, item.name) == (other.kind, other.name) for other in self.attachments):
            raise InputError(
                f"name is {item.name!r}: a {item.kind} of that name is attached already"
            )
        self.attachments.append(item)


def _devices(device: object, devices_per_node: object, first_device: object) -> dict[str, Any]:
    """Return the device to store something for, and those to load it on."""
    found = model_checks.device(device)
    number = check.integer("devices_per_node", devices_per_node, 1, 1024)
    first = check.integer("first_device", first_device, 0, 1023)
    if found != "GPU" and (number > 1 or first):
        field, value = ("devices_per_node", number) if number > 1 else ("first_device", first)
        raise InputError(f"{field} is {value}: there is only one device {found}")
    if number > 1:
        return {"device": found, "devices": [f"GPU:{first + index}" for index in range(number)]}
    one = f"GPU:{first}" if first else found
    return {"device": one, "devices": [one]}


def _file(field: str, data: bytes | None, path_field: str, path: object) -> str:
    if (data is None) == (path is None):
        raise InputError(f"give either {field} or {path_field}")
    if path is None:
        return ""
    found = os.path.abspath(check.path(path_field, path))
    return str(model_checks.file(path_field, found))


def _bytes(field: str, value: object) -> int:
    text = check.memory(field, value).removesuffix("b")
    unit = _UNITS.get(text[-1:], 1)
    size = int(text.rstrip("kmg")) * unit
    return check.integer(field, size, 1024, 2**50)


def _numbers(value: object) -> tuple[int, ...]:
    found = cpus.normalise(value)
    if not found:
        raise InputTypeError("cpus is empty: it must name at least one CPU, or be None")
    return found
