"""Input files with markers: `;name;` becomes the value of the parameter with exactly that name.

A marker without such a parameter is replaced by the text inside it, which is its default. No marker
reaches over the end of a line. templates/lib/configure.sh does the same in bash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_MARKER = ";"


@dataclass(frozen=True)
class Configured:
    """What a file becomes; which parameters it used, and which markers kept their default."""

    data: bytes
    used: frozenset[str] = frozenset()
    defaults: tuple[str, ...] = ()


def configure(data: bytes, params: Mapping[str, str], marker: str = DEFAULT_MARKER) -> Configured:
    """Replace the markers of a file; one that holds a NUL byte is binary and stays as it is."""
    sign = _bytes(marker)
    if b"\0" in data or sign not in data:
        return Configured(data)
    values = {_bytes(name): _bytes(value) for name, value in params.items()}
    found: dict[bytes, None] = {}
    lines = [
        _line(line, values, sign, found) if sign in line else line for line in data.split(b"\n")
    ]
    names = {name: name.decode("utf-8", "surrogateescape") for name in found}
    return Configured(
        b"\n".join(lines),
        frozenset(names[name] for name in found if name in values),
        tuple(names[name] for name in found if name not in values),
    )


def _line(
    line: bytes, values: Mapping[bytes, bytes], sign: bytes, found: dict[bytes, None]
) -> bytes:
    done: list[bytes] = []
    rest = line
    while True:
        before, _, after = rest.partition(sign)
        name, closed, behind = after.partition(sign)
        if not closed:
            return b"".join((*done, rest))
        if not name:
            # Nothing stands between the two: the second one may begin a marker.
            done += [before, sign]
            rest = after
            continue
        found[name] = None
        done += [before, values.get(name, name)]
        rest = behind


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
