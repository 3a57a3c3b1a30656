"""Files that a program finds in its run directory when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import abspath

from hpcorch.describe import check

Paths = check.Words | None


@dataclass(frozen=True)
class AttachedFiles:
    """Absolute paths of what is copied, linked to, and copied with its markers replaced.

    Of a directory that is copied or configured the contents are meant, a link leads to itself.
    `on_node`: the node does it when the program starts, and not whoever starts it.
    """

    to_copy: tuple[str, ...] = ()
    to_symlink: tuple[str, ...] = ()
    to_configure: tuple[str, ...] = ()
    on_node: bool = False

    def __bool__(self) -> bool:
        return bool(self.to_copy or self.to_symlink or self.to_configure)

    def table(self) -> str:
        """Return a table of the files for people to read, empty without any."""
        from tabulate import tabulate

        every = (
            ("Copy", self.to_copy),
            ("Symlink", self.to_symlink),
            ("Configure", self.to_configure),
        )
        rows = [(what, "\n".join(paths)) for what, paths in every if paths]
        return str(tabulate(rows, headers=("Strategy", "Files"), tablefmt="grid")) if rows else ""


def attached(
    to_copy: Paths, to_symlink: Paths, to_configure: Paths, *, on_node: bool = False
) -> AttachedFiles:
    """Return checked paths, relative ones made absolute; raises InputError or InputTypeError."""
    return AttachedFiles(
        _paths("to_copy", to_copy),
        _paths("to_symlink", to_symlink),
        _paths("to_configure", to_configure),
        check.flag("on_node", on_node),
    )


def _paths(field: str, value: Paths) -> tuple[str, ...]:
    items = () if value is None else check.texts(field, value)
    return tuple(abspath(check.path(field, item)) for item in items)
