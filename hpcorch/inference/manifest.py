"""The list of models and scripts that a job loads before its program starts: one JSON file.

It holds a list of objects. A model's has the arguments of Client.set_model, with `file` in place of
the model's bytes; a script's has `name`, `file`, `language` and `device`. `kind` tells them apart.
Files are meant from the list's own directory.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcorch.client import Client
from hpcorch.errors import InputError

LOG = logging.getLogger("hpcorch.inference")


def load(path: Path) -> None:
    """Store everything on the list in the database of the environment; let all workers load it.

    Raises InputError for a list or file that cannot be used, RedisRuntimeError with the words of a
    worker that cannot load one.
    """
    with Client(logger_name="model loader") as client:
        for item in _items(path):
            name = str(item["name"])
            data = _data(path.parent / str(item["file"]))
            if item["kind"] == "model":
                client.set_model(name, data, **_arguments(item))
                number = client.load_model(name)
            else:
                client.set_source(name, data.decode(), str(item["language"]), str(item["device"]))
                number = client.load_script(name)
            LOG.info("%d worker(s) loaded the %s %s", number, item["kind"], name)


def _items(path: Path) -> list[Mapping[str, Any]]:
    try:
        found: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the list of models {path} cannot be read: {error}") from error
    return found


def _data(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the model file {path} cannot be read: {error.strerror}") from error


def _arguments(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("kind", "name", "file")}
