"""The list of models and scripts that a job loads before its program starts: one JSON file.

It holds a list of objects. A model's has the arguments of Client.set_model, with `file` in place of
the model's bytes; a script's has `name`, `file`, `language` and `device`. `kind` tells them apart,
`devices` are those to load it on. Files are meant from the list's own directory.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcorch.client import Client
from hpcorch.errors import InputError

# What does not go to Client.set_model.
_OURS = ("kind", "name", "file", "devices")
LOG = logging.getLogger("hpcorch.inference")


def load(path: Path) -> None:
    """Store everything on the list in the database of the environment; let all workers load it.

    Raises InputError for a list or file that cannot be used, RedisRuntimeError with the words of a
    worker that cannot load one.
    """
    with Client(logger_name="model loader") as client:
        for item in _items(path):
            name, file = str(item["name"]), path.parent / str(item["file"])
            if item["kind"] == "model":
                client.set_model_from_file(name, file, **_arguments(item))
                load_it = client.load_model
            else:
                source = _text(file)
                client.set_source(name, source, str(item["language"]), str(item["device"]))
                load_it = client.load_script
            for device in item["devices"]:
                number = load_it(name, device)
                LOG.info("%d worker(s) loaded the %s %s on %s", number, item["kind"], name, device)


def _items(path: Path) -> list[Mapping[str, Any]]:
    try:
        found: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the list of models {path} cannot be read: {error}") from error
    return found


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, ValueError) as error:
        raise InputError(f"the script {path} cannot be read: {error}") from error


def _arguments(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in _OURS}
