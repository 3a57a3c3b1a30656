"""AI models, scripts and functions that tables of a spec file attach, and model workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcorch.client.functions import source_in
from hpcorch.describe.workers import Attachments, Workers
from hpcorch.spec.table import Table, pinning

WORKER_KEYS = ("count", "cpus", "threads", "max_request", "frameworks")
_WHERE = ("device", "devices_per_node", "first_device")
ML_MODEL_KEYS = (
    *("name", "backend", "model_path", *_WHERE, "batch_size", "min_batch_size"),
    *("min_batch_timeout", "tag", "inputs", "outputs"),
)
SCRIPT_KEYS = ("name", "script", "script_path", *_WHERE)
FUNCTION_KEYS = ("name", "function", "language", *_WHERE)
ATTACHMENT_KEYS = ("add_ml_model", "add_script", "add_function")


def attach(table: Table, entity: Attachments) -> None:
    """Attach what the table names; raises InputError."""
    for item in table.each("add_ml_model", ML_MODEL_KEYS):
        facts = item.some(ML_MODEL_KEYS)
        facts["model_path"] = item.anchored(item.required("model_path"))
        for key in ("name", "backend"):
            item.required(key)
        with item.blamed():
            entity.add_ml_model(**facts)
    for item in table.each("add_script", SCRIPT_KEYS):
        item.required("name")
        facts = item.some(SCRIPT_KEYS)
        if "script_path" in facts:
            facts["script_path"] = item.anchored(facts["script_path"])
        with item.blamed():
            entity.add_script(**facts)
    for item in table.each("add_function", FUNCTION_KEYS):
        source, language = _function(item)
        with item.blamed():
            entity.add_function_source(item.required("name"), source, language, **item.some(_WHERE))


def workers(table: Table) -> Workers | int | None:
    """Return what the key `workers` says: a number, or a table of Workers' arguments."""
    value = table.get("workers")
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # whoever takes it checks it
    inside = table.table("workers", WORKER_KEYS)
    assert inside is not None
    facts = inside.some(WORKER_KEYS)
    with inside.blamed():
        if "cpus" in facts:
            facts["cpus"] = pinning(facts["cpus"])
        return Workers(**facts)


def _function(item: Table) -> tuple[str, str]:
    """Return the source and the language of `function`, which is "FILE:NAME"."""
    value: Any = item.required("function")
    file, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not file or not name.isidentifier():
        raise item.fault(f'function is {value!r}: it must be "FILE.py:NAME"')
    path = Path(item.anchored(file))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise item.fault(f"function is {value!r}: {path} cannot be read: {error}") from error
    with item.blamed():
        return source_in(text, name, item.get("language", ""))
