"""Values of a site profile: each key takes one kind of value, and says which when it is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from hpcorch import schedulers
from hpcorch.describe import check
from hpcorch.describe.orchestrator import SECURITY_TIERS
from hpcorch.errors import InputError, SiteError
from hpcorch.nearest import suggestion
from hpcorch.sites.profile import Queue, Site

# What a site may require of every batch job.
REQUIRABLE = ("account", "queue", "time", "memory_per_node")

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "allowed_security": SECURITY_TIERS,
    "memory_style": ("node", "cpu", "none"),
    "mpi": ("auto", "openmpi", "hydra", "pals"),
    "pbs_dialect": ("pbs", "torque"),
    "pbs_place": ("excl", "exclhost", "none"),
    "pbs_starter": ("pbsdsh", "pbs_tmrsh", "ssh", "mpiexec"),
    "required": REQUIRABLE,
    "run_command": ("auto", "srun", "mpirun", "mpiexec", "orterun", "aprun"),
}
# The same values that jobs may have.
_FORMS: Mapping[str, Callable[[str, object], str]] = {
    "account": check.name,
    "max_time": check.walltime,
    "queue": check.name,
    "time": check.walltime,
}
KEYS = tuple(
    item.name for item in dataclasses.fields(Site) if item.name not in ("queues", "origins")
)
_DEFAULTS = {item.name: item.default for item in dataclasses.fields(Site) if item.name in KEYS}
_QUEUE_DEFAULTS = {item.name: item.default for item in dataclasses.fields(Queue)}


def checked(key: str, value: Any, origin: str) -> Any:
    """Return a key's value; raises SiteError that names `origin`, the key and what is allowed."""
    if key not in _DEFAULTS:
        hint = suggestion(key, (*KEYS, "queues"))
        raise SiteError(f"{origin} sets {key!r}, which is no site key", hint)
    return _value(key, value, _DEFAULTS[key], f"{origin} sets {key}")


def checked_queues(value: Any, origin: str) -> dict[str, dict[str, Any]]:
    """Return the tables of queues by name, each with the keys that it sets; raises SiteError."""
    shape = f"{origin} sets queues to {value!r}: it must be tables such as [queues.debug]"
    if not isinstance(value, dict):
        raise SiteError(shape)
    return {name: _queue(name, table, origin) for name, table in value.items()}


def _queue(name: str, table: Any, origin: str) -> dict[str, Any]:
    where = f"queues.{name}"
    try:
        check.name(where, name)
    except InputError as error:
        raise SiteError(f"{origin}: {error.message}") from error
    if not isinstance(table, dict):
        raise SiteError(
            f"{origin} sets {where} to {table!r}: it must be a table, as below [queues.debug]"
        )
    for key in table:
        if key not in _QUEUE_DEFAULTS:
            message = f"{origin} sets {where}.{key}, which is no key of a queue"
            raise SiteError(message, suggestion(key, _QUEUE_DEFAULTS))
    return {
        key: _value(key, value, _QUEUE_DEFAULTS[key], f"{origin} sets {where}.{key}")
        for key, value in table.items()
    }


def from_text(key: str, text: str) -> Any:
    """Return what the text of a variable stands for; lists are separated by commas."""
    default = _DEFAULTS[key]
    if isinstance(default, int):
        return int(text) if text.isascii() and text.isdecimal() else text
    return [part for part in text.split(",") if part] if isinstance(default, tuple) else text


def _value(key: str, value: Any, default: Any, sets: str) -> Any:
    if isinstance(default, tuple):
        return _list(key, value, sets)
    # Where 0 is the default it means that there is no limit.
    lowest = 0 if default == 0 else 1
    if type(value) is not type(default) or (isinstance(value, int) and value < lowest):
        number = "a whole number above 0" if lowest else "0 or a whole number above it"
        allowed = number if isinstance(default, int) else "text"
        raise SiteError(f"{sets} to {value!r}: it must be {allowed}")
    if value not in _CHOICES.get(key, (value,)):
        raise SiteError(f"{sets} to {value!r}: it must be one of " + ", ".join(_CHOICES[key]))
    if key == "scheduler" and value not in ("auto", *schedulers.names()):
        known = ", ".join(("auto", *schedulers.names()))
        raise SiteError(f"{sets} to {value!r}: it must be one of {known}")
    if value and key in _FORMS:
        try:
            _FORMS[key](key, value)
        except InputError as error:
            raise SiteError(f"{sets} to {value!r}: {error.message.partition(': ')[2]}") from error
    return value


def _list(key: str, value: Any, sets: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
        raise SiteError(f"{sets} to {value!r}: it must be a list of texts")
    for item in items:
        if not item:
            raise SiteError(f"{sets} to {value!r}: no text in it may be empty")
        if item not in _CHOICES.get(key, (item,)):
            allowed = ", ".join(_CHOICES[key])
            raise SiteError(f"{sets} to a list with {item!r}: it may have {allowed}")
    return tuple(items)
