"""Checks of user input; a failure is one sentence: the field, the value, what is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real

from hpcorch.errors import InputError, InputTypeError

# A refusal is one sentence, whatever it refuses.
_MOST_SHOWN = 300

# What users write where text is wanted of which each is one word, or a value.
Word = str | os.PathLike[str]
Words = Word | Sequence[Word]
Variable = str | int | float | os.PathLike[str]

# Names become directory, job and variable names, so they are kept to what all of those can hold.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,5}):([0-5]?\d):([0-5]?\d)", re.ASCII)
_FEATURE = re.compile(r"[A-Za-z0-9_.:*=&|()\[\]-]+")
_MEMORY = re.compile(r"(\d+)((?:[kmgKMG][bB]?)?)", re.ASCII)
_UNIT_BITS = {"": 0, "k": 10, "m": 20, "g": 30}


def _refuse(field: str, value: object, allowed: str) -> InputError:
    return InputError(f"{field} is {_shown(value)}: it must be {allowed}")


def _refuse_type(field: str, value: object, allowed: str) -> InputTypeError:
    kind = type(value).__name__
    return InputTypeError(f"{field} is {_shown(value)}, a {kind}: it must be {allowed}")


def _shown(value: object) -> str:
    """Return how a value is written, of a very long one the beginning and the end."""
    found = repr(value)
    return found if len(found) <= _MOST_SHOWN else f"{found[:150]} … {found[-50:]}"


def name(field: str, value: object) -> str:
    """Return `value` if it can name a directory and a job, else raise InputError."""
    allowed = (
        "1 to 64 of the letters A-Z a-z, digits, '_', '-' and '.', not starting with '-' or '.'"
    )
    if not isinstance(value, str):
        raise _refuse_type(field, value, "text")
    if not _NAME.fullmatch(value):
        raise _refuse(field, value, allowed)
    return value


def text(field: str, value: object) -> str:
    """Return `value` if it is text that a program argument can hold (no NUL byte)."""
    if not isinstance(value, str):
        raise _refuse_type(field, value, "text")
    if "\0" in value:
        raise _refuse(field, value, "text without a NUL byte")
    _refuse_unencodable(field, value)
    return value


def _refuse_unencodable(field: str, value: str) -> None:
    """Refuse text that no file and no argument can hold."""
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _refuse(field, value, "text that UTF-8 can encode") from None


def line(field: str, value: object) -> str:
    """Return `value` if it is text that one line can hold (no control characters)."""
    found = text(field, value)
    if any(ord(char) < 32 or ord(char) == 127 for char in found):
        raise _refuse(field, value, "text without control characters")
    return found


def path(field: str, value: object) -> str:
    """Return `value` as text if it can be a path in a script (no control characters)."""
    if not isinstance(value, (str, os.PathLike)):
        raise _refuse_type(field, value, "a path")
    found = os.fspath(value)
    if not isinstance(found, str):
        raise _refuse_type(field, value, "a path given as text")
    if not found or any(ord(char) < 32 or ord(char) == 127 for char in found):
        raise _refuse(field, value, "a path that is not empty and has no control characters")
    _refuse_unencodable(field, found)
    return found


def integer(field: str, value: object, minimum: int, maximum: int) -> int:
    """Return `value` if it is a whole number in [minimum, maximum]; bool is refused."""
    allowed = f"a whole number from {minimum} to {maximum}"
    # NumPy's integers are of this kind too.
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _refuse_type(field, value, allowed)
    number = int(value)
    if not minimum <= number <= maximum:
        raise _refuse(field, value, allowed)
    return number


def seconds(field: str, value: object) -> float:
    """Return `value` if it is a finite number of seconds above 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _refuse_type(field, value, "a number of seconds")
    number = float(value)
    if not 0 < number < float("inf"):
        raise _refuse(field, value, "a number of seconds above 0")
    return number


def flag(field: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise _refuse_type(field, value, "True or False")
    return value


def choice(field: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the words in `allowed`."""
    words = list(allowed)
    if not isinstance(value, str):
        raise _refuse_type(field, value, "one of " + ", ".join(words))
    if value not in words:
        raise _refuse(field, value, "one of " + ", ".join(words))
    return value


def texts(field: str, value: object) -> tuple[str, ...]:
    """Return a list or tuple of texts as a tuple; a single text is one element, a path is text."""
    if isinstance(value, (str, os.PathLike)):
        return (text(field, _of_path(value)),)
    if not isinstance(value, (list, tuple)):
        raise _refuse_type(field, value, "text or a list of texts")
    return tuple(text(f"{field}[{index}]", _of_path(item)) for index, item in enumerate(value))


def _of_path(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def parameters(field: str, value: object) -> dict[str, str | int | float]:
    """Return a mapping of parameter names to values: text as it is, and plain numbers."""
    if not isinstance(value, Mapping):
        raise _refuse_type(field, value, "a mapping of parameter names to values")
    environment(field, value)
    return {key: plain(f"{field}[{key!r}]", item) for key, item in value.items()}


def plain(field: str, value: object) -> str | int | float:
    """Return text and numbers as they are, a path as text, NumPy's numbers as Python's."""
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        try:
            # To whoever wrote it, 0.1 of single precision is 0.1.
            return float(str(value))
        except ValueError:
            return float(value)
    if isinstance(value, os.PathLike):
        return text(field, os.fspath(value))
    raise _refuse_type(field, value, "text or a number")


def options(field: str, value: object) -> dict[str, str | None]:
    """Return a mapping of options to their values; numbers become text, None makes a flag."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refuse_type(field, value, "a mapping of options to values")
    return {key: None if item is None else str(item) for key, item in value.items()}


def environment(field: str, value: object) -> dict[str, str]:
    """Return a mapping of variable names to texts; numbers and flags become text."""
    if not isinstance(value, Mapping):
        raise _refuse_type(field, value, "a mapping of variable names to values")
    result: dict[str, str] = {}
    for key, item in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise _refuse(f"{field} key", key, "a variable name without '=' or NUL")
        known = isinstance(item, (str, int, float))
        found = item if known else plain(f"{field}[{key!r}]", item)
        result[key] = text(f"{field}[{key!r}]", str(found))
    return result


def walltime(field: str, value: object) -> str:
    """Return `value` if it reads [D-]HH:MM:SS (hours may exceed 24) and is above 0."""
    if not isinstance(value, str):
        raise _refuse_type(field, value, "text such as 02:30:00 or 1-12:00:00")
    if not _WALLTIME.fullmatch(value):
        raise _refuse(field, value, "HH:MM:SS or D-HH:MM:SS")
    # Batch systems take it for no limit, or refuse it.
    if walltime_seconds(value) == 0:
        raise _refuse(field, value, "above 0; leave it out for the batch system's own limit")
    return value


def walltime_seconds(walltime: str) -> int:
    """Return the seconds of [D-]HH:MM:SS, 0 for an empty text."""
    if not walltime:
        return 0
    days, dash, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return ((int(days) if dash else 0) * 24 + hours) * 3600 + minutes * 60 + seconds


def memory(field: str, value: object) -> str:
    """Return `value` if it is a memory size as redis.conf writes it: 100, 512mb, 3gb."""
    if not isinstance(value, str):
        raise _refuse_type(field, value, "text such as 512mb or 3gb")
    found = _MEMORY.fullmatch(value)
    if not found:
        raise _refuse(field, value, "a number with an optional unit k, kb, m, mb, g or gb")
    # Servers take more for any number.
    if len(found[1]) > 19 or int(found[1]) << _UNIT_BITS[found[2][:1].lower()] >= 2**63:
        raise _refuse(field, value, "less than 8 EiB")
    return value.lower()


def clock(hours: object, minutes: object, seconds: object) -> str:
    """Return a time span as HH:MM:SS, however many hours it has; at least one second."""
    parts = (("hours", hours), ("minutes", minutes), ("seconds", seconds))
    whole = [integer(field, value, 0, 10_000_000) for field, value in parts]
    total = (whole[0] * 60 + whole[1]) * 60 + whole[2]
    if total == 0:
        raise _refuse("seconds", seconds, "above 0 when hours and minutes are 0")
    return walltime("hours", f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}")


def megabytes(field: str, value: object) -> int:
    """Return a size in megabytes."""
    return integer(field, value, 1, 1_000_000_000)


def integers(field: str, value: object, minimum: int, maximum: int) -> tuple[int, ...]:
    """Return a list or array of whole numbers as a tuple; a single number is one element."""
    if isinstance(value, Integral):
        return (integer(field, value, minimum, maximum),)
    items = listed(value)
    if not items:
        raise _refuse_type(field, value, "a whole number or a list of them")
    return tuple(
        integer(f"{field}[{index}]", item, minimum, maximum) for index, item in enumerate(items)
    )


def listed(value: object) -> list[object]:
    """Return what a list, a range or an array holds, in its order; nothing for anything else."""
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        return []
    try:
        return list(value)
    except TypeError:
        # An array without dimensions looks as if it could be iterated over.
        return []


def hosts(field: str, value: object) -> tuple[str, ...]:
    """Return host names as a tuple; one text may hold several with commas between them."""
    items = value.split(",") if isinstance(value, str) else texts(field, value)
    if not items:
        raise _refuse(field, value, "at least one host")
    return tuple(name(field, item.strip()) for item in items)


def features(field: str, value: object) -> str:
    """Return an expression of node features; a list asks for all of its items."""
    items = texts(field, value)
    for item in items:
        if not _FEATURE.fullmatch(item):
            raise _refuse(field, item, "a feature, or several with &, |, ( and ) between them")
    if not items:
        raise _refuse(field, value, "at least one feature")
    return "&".join(items)
