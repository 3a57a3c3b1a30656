"""Where the bytes of a model come from and go to, without more copies of them than one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")
# Fills memory with a model's bytes, or returns False.
Fill: TypeAlias = Callable[[memoryview], bool]
# Makes what holds so many bytes, which it lets be filled; returns None when they are not.
Hold: TypeAlias = Callable[[int, Fill], "T | None"]


class Source(Protocol):
    """The bytes of a model, to be stored in parts; they can be gone through more than once."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def parts(self, length: int) -> Iterator[memoryview]:
        """Yield all bytes in parts of `length`; a part is valid until the next one."""


class Held:
    """Bytes that the caller holds."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.size = len(data)

    def parts(self, length: int) -> Iterator[memoryview]:
        """As Source says."""
        for start in range(0, self.size, length):
            yield self._view[start : start + length]


class Filed:
    """The bytes of a file, of which only one part at a time is in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def parts(self, length: int) -> Iterator[memoryview]:
        """As Source says; raises OSError."""
        memory = memoryview(bytearray(min(length, self.size)))
        with self._path.open("rb") as file:
            while found := file.readinto(memory):
                yield memory[:found]


def filled(size: int, fill: Fill) -> bytes | None:
    """Return `size` bytes that `fill` has put into the memory it gets; None when it says False."""
    memory = io.BytesIO()
    if size:
        # The whole is taken at once; getvalue() then gives it away without a copy.
        memory.seek(size - 1)
        memory.write(b"\0")
    with memory.getbuffer() as view:
        if not fill(view):
            return None
    return memory.getvalue()
