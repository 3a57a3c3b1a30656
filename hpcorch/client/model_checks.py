"""Checks of what users say about models; a failure says the field, the value, what is allowed.

The errors are of the classes that SmartRedis raises: TypeError for a wrong type, an unknown backend
or device, ValueError for a number of GPUs, FileNotFoundError, and RedisRuntimeError for the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hpcorch.client.errors import RedisInputError
from hpcorch.errors import InputError, InputFileError, InputTypeError

BACKENDS = ("TORCH", "ONNX", "TF", "TFLITE")
LANGUAGES = ("TORCHSCRIPT", "PYTHON")
_DEVICE = re.compile(r"CPU|GPU(:(0|[1-9]\d{0,3}))?")


def name(field: str, value: object) -> str:
    """Return `value` if it is text that is not empty."""
    if isinstance(value, str) and value:
        return value
    text(field, value)
    raise RedisInputError(f"{field} is empty: it must be a name")


def text(field: str, value: object) -> str:
    """Return `value` if it is text."""
    if not isinstance(value, str):
        raise InputTypeError(f"{field} must be text, not {type(value).__name__}")
    return value


def source(field: str, value: object) -> str:
    """Return `value` if it is the text of a script, and some."""
    found = text(field, value)
    if not found.strip():
        raise RedisInputError(f"{field} is empty: there are no functions in it")
    return found


def flag(field: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise InputTypeError(f"{field} must be True or False, not {type(value).__name__}")
    return value


def data(field: str, value: object) -> bytes:
    """Return `value` if it is bytes, and some."""
    if not isinstance(value, (bytes, bytearray)):
        raise InputTypeError(f"{field} must be bytes, not {type(value).__name__}")
    if not value:
        raise RedisInputError(f"{field} is empty: there is no model in it")
    return bytes(value) if isinstance(value, bytearray) else value


def file(field: str, value: object) -> Path:
    """Return `value` if it is the path of a file that can be read."""
    if not isinstance(value, (str, os.PathLike)):
        raise InputTypeError(f"{field} must be a path, not {type(value).__name__}")
    found = Path(value)
    if not found.is_file() or not os.access(found, os.R_OK):
        raise InputFileError(f"{field} is {os.fspath(value)!r}: there is no such readable file")
    return found


def count(field: str, value: object, least: int = 0) -> int:
    """Return `value` if it is a whole number from `least` on."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputTypeError(f"{field} must be an integer, not {type(value).__name__}")
    if value < least:
        raise RedisInputError(f"{field}={value} is not allowed: it must not be below {least}")
    return value


def names(field: str, value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return one text, a list of texts or None as a tuple."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (name(field, value),)
    if not isinstance(value, (list, tuple)):
        raise InputTypeError(f"{field} must be text or a list of it, not {type(value).__name__}")
    return tuple(name(f"{field}[{index}]", item) for index, item in enumerate(value))


def backend(value: object) -> str:
    """Return the name of a framework in capitals."""
    found = text("backend", value).upper()
    if found not in BACKENDS:
        raise InputTypeError(f"backend is {value!r}: it must be one of {', '.join(BACKENDS)}")
    return found


def language(value: object) -> str:
    """Return the language of a script."""
    found = text("language", value)
    if found not in LANGUAGES:
        raise InputTypeError(f"language is {value!r}: it must be one of {', '.join(LANGUAGES)}")
    return found


def device(value: object) -> str:
    """Return a device in capitals: CPU, GPU or GPU:i."""
    found = text("device", value).upper()
    if not _DEVICE.fullmatch(found):
        said = f"device is {value!r}: it must be CPU, GPU or GPU:number"
        known = found.startswith(("CPU", "GPU"))
        raise RedisInputError(said) if known else InputTypeError(said)
    return found


def gpus(first_gpu: object, num_gpus: object) -> tuple[int, int]:
    """Return the first GPU and their number, at least one."""
    return count("first_gpu", first_gpu), count("num_gpus", num_gpus, 1)


def gpu(offset: object, first_gpu: object, num_gpus: object) -> str:
    """Return the device that a caller with that offset is to use."""
    first, number = gpus(first_gpu, num_gpus)
    return f"GPU:{first + count('offset', offset) % number}"


def graph(framework: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse a TensorFlow graph without the names of its ends, and names for anything else."""
    if framework == "TF" and not (inputs and outputs):
        raise RedisInputError("backend is TF: inputs and outputs must name the nodes of the graph")
    if framework != "TF" and (inputs or outputs):
        raise InputError(f"backend is {framework}: inputs and outputs are for TF only")


def batches(batch_size: int, min_batch_size: int, min_batch_timeout: int) -> None:
    """Refuse a smallest batch beyond the largest, and a time to wait for no batch."""
    if min_batch_size > batch_size:
        raise RedisInputError(
            f"min_batch_size={min_batch_size} is not allowed: batch_size is {batch_size}, and the "
            "smallest batch cannot be larger than the largest"
        )
    if min_batch_timeout and not min_batch_size:
        raise RedisInputError(
            f"min_batch_timeout={min_batch_timeout} is not allowed: without min_batch_size no "
            "request waits for others"
        )
