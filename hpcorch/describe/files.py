"""Files that a program finds in its run directory when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import abspath

from hpcorch.describe import check

Paths = str | Sequence[str] | None


@dataclass(frozen=True)
class AttachedFiles:
    """Absolute paths of what is copied, linked to, and copied with its markers replaced.

    Of a directory that is copied or configured the contents are meant, a link leads to itself.
    """

    to_copy: tuple[str, ...] = ()
    to_symlink: tuple[str, ...] = ()
    to_configure: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.to_copy or self.to_symlink or self.to_configure)


def attached(to_copy: Paths, to_symlink: Paths, to_configure: Paths) -> AttachedFiles:
    """Return checked paths, relative ones made absolute; raises InputError or InputTypeError."""
    return AttachedFiles(
        _paths("to_copy", to_copy),
        _paths("to_symlink", to_symlink),
        _paths("to_configure", to_configure),
    )


def _paths(field: str, value: Paths) -> tuple[str, ...]:
    items = () if value is None else check.texts(field, value)
    return tuple(abspath(check.path(field, item)) for item in items)
