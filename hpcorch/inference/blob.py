"""The bytes of a model on their way from the database into a framework: a file in memory.

Frameworks read models from files with fewer copies than from Python's bytes, which some of them
keep besides for as long as the model lives.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from types import TracebackType

from hpcorch.client.model_bytes import Fill


class Blob:
    """A file without a name, gone when it is closed; `path` is what this process opens it by."""

    def __init__(self, size: int) -> None:
        self._descriptor = _nameless()
        os.ftruncate(self._descriptor, size)
        self.size = size

    @property
    def path(self) -> str:
        """What this process can open the file by."""
        return f"/dev/fd/{self._descriptor}"

    def data(self) -> bytes:
        """Return a copy of the bytes."""
        return Path(self.path).read_bytes()

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._descriptor)

    def __enter__(self) -> Blob:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fill(self, fill: Fill) -> bool:
        """Let `fill` write the whole file; return what it says."""
        if not self.size:
            return fill(memoryview(bytearray()))
        with mmap.mmap(self._descriptor, self.size) as mapped, memoryview(mapped) as view:
            return fill(view)


def filed(size: int, fill: Fill) -> Blob | None:
    """Return a file of `size` bytes that `fill` has written; None when it says False."""
    made = Blob(size)
    try:
        done = made.fill(fill)
    except BaseException:
        made.close()
        raise
    if done:
        return made
    made.close()
    return None


def _nameless() -> int:
    create = getattr(os, "memfd_create", None)
    if create is not None:
        made: int = create("model")
        return made
    # Elsewhere than on Linux it is a file on a disk.
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def blob_of(data: bytes) -> Blob:
    """Return a file with these bytes."""

    def fill(view: memoryview) -> bool:
        view[:] = data
        return True

    made = Blob(len(data))
    made.fill(fill)
    return made
