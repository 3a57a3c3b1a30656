"""CPU lists: what a user may write, and the text form that Linux tools share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from numbers import Integral

from hpcorch.errors import InputError, InputTypeError

_PART = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


def _cpu(value: object) -> int:
    # NumPy's integers are of this kind too.
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputTypeError(
            f"custom_pinning holds {value!r}, a {type(value).__name__}: "
            "it takes whole numbers and iterables of them"
        )
    if value < 0:
        raise InputError(f"custom_pinning holds {value!r}: CPU numbers start at 0")
    return int(value)


def normalise(pinning: object) -> tuple[int, ...]:
    """Return the CPU numbers in `pinning`, sorted as numbers and without duplicates.

    Takes an iterable of ints and of iterables of ints, such as [0, 2, range(5, 8)].
    Raises InputTypeError or InputError that names the element at fault.
    """
    if isinstance(pinning, (str, bytes)) or not isinstance(pinning, Iterable):
        raise InputTypeError(
            f"custom_pinning is {pinning!r}, a {type(pinning).__name__}: "
            "it must be a list such as [0, 2, range(5, 8)]"
        )
    cpus: set[int] = set()
    for item in pinning:
        if isinstance(item, Iterable) and not isinstance(item, (str, bytes)):
            cpus.update(_cpu(inner) for inner in item)
        else:
            cpus.add(_cpu(item))
    return tuple(sorted(cpus))


def format_list(cpus: Iterable[int]) -> str:
    """Return the list form of Linux tools: (0, 2, 5, 6, 7) gives '0,2,5-7'."""
    parts: list[str] = []
    ordered = sorted(set(cpus))
    start = 0
    for position, cpu in enumerate(ordered):
        if position + 1 < len(ordered) and ordered[position + 1] == cpu + 1:
            continue
        first = ordered[start]
        parts.append(str(cpu) if first == cpu else f"{first}-{cpu}")
        start = position + 1
    return ",".join(parts)


def parse_list(text: str) -> tuple[int, ...]:
    """Return the CPU numbers of a list such as '0,2,5-7' (the inverse of format_list)."""
    cpus: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        found = _PART.fullmatch(part)
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else -1
        if last < first:
            raise InputError(f"CPU list {text!r} cannot be read at {part!r}")
        cpus.update(range(first, last + 1))
    return tuple(sorted(cpus))
