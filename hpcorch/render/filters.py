"""The only ways by which a value gets into a script: each makes it harmless, or refuses it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

import jinja2

from hpcorch.errors import RenderError


def _sh(value: object) -> str:
    """Quote for a shell: a text or number as one word, a list as several words."""
    if isinstance(value, (list, tuple)):
        return " ".join(_sh(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise RenderError(f"the sh filter got {value!r}: it takes text, numbers and lists of them")
    return shlex.quote(str(value))


def _directive(value: object) -> str:
    """Pass text that a scheduler's directive line can hold; refuse control characters."""
    text = str(value)
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise RenderError(f"{text!r} cannot be in a directive: it has control characters")
    return text


def _comment(value: object) -> str:
    """Make any text fit one comment line."""
    return "".join(char if char.isprintable() else "?" for char in str(value))


def _count(value: object) -> str:
    """Print a whole number; a flag prints as 1 or 0."""
    if not isinstance(value, int):
        raise RenderError(f"the count filter got {value!r}: it takes whole numbers and flags")
    return str(int(value))


def _conf(value: object) -> str:
    """Quote for redis.conf: a text as one word, a list as several words of one line."""
    if isinstance(value, (list, tuple)):
        return " ".join(_conf(item) for item in value)
    text = _directive(value)
    if text and all(char.isalnum() or char in "-_./:," for char in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


FILTERS: dict[str, Callable[[object], str]] = {
    "sh": _sh,
    "directive": _directive,
    "comment": _comment,
    "count": _count,
    "json": json.dumps,
    "conf": _conf,
}


def strict(function: Callable[[object], str]) -> Callable[[object], str]:
    """Let a name that the context lacks be told by its name, not by what a filter makes of it."""

    def filtered(value: object) -> str:
        if isinstance(value, jinja2.Undefined):
            return str(value)
        return function(value)

    return filtered
