"""One table of a spec file: its keys are known ones, and what is wrong with a value names it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.describe import cpus
from hpcorch.errors import InputError
from hpcorch.nearest import suggestion


@dataclass(frozen=True)
class Source:
    """Where a spec comes from: what messages call it, and where its relative paths start."""

    file: str
    folder: str


class Table:
    """A table, whose keys must be among `keys` (None: they are the user's own names).

    `name` is what stands between its brackets, empty for the whole file. Raises InputError that
    names the file, the table and the key.
    """

    def __init__(
        self, source: Source, name: str, values: object, keys: Collection[str] | None
    ) -> None:
        self.name = name
        self._source = source
        if not isinstance(values, Mapping):
            raise InputError(f"{source.file}: {name} is {values!r}: it must be a table, [{name}]")
        self._values: Mapping[str, Any] = values
        for key in values:
            if keys is not None and key not in keys:
                kind = "key" if name else "table or key"
                raise self.fault(f"there is no {kind} {key!r} here", suggestion(key, keys))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value as it stands in the file."""
        return self._values.get(key, default)

    def some(self, keys: Collection[str]) -> dict[str, Any]:
        """Return the values of those of `keys` that are there."""
        return {key: value for key, value in self._values.items() if key in keys}

    def fault(self, message: str, hint: str = "") -> InputError:
        """Return an error that says where it is."""
        where = f"{self._source.file}: [{self.name}] " if self.name else f"{self._source.file}: "
        return InputError(where + message, hint)

    @contextmanager
    def blamed(self, key: str = "") -> Iterator[None]:
        """Say of what goes wrong inside that it is in this table, at `key`."""
        try:
            yield
        except InputError as error:
            known = not key or error.message.startswith(key)
            raise self.fault(
                error.message if known else f"{key}: {error.message}", error.hint
            ) from error

    def required(self, key: str) -> Any:
        """Return a value that must be there."""
        if key not in self._values:
            raise self.fault(f"{key} is missing")
        return self._values[key]

    def table(self, key: str, keys: Collection[str] | None) -> Table | None:
        """Return the table [name.key], None if there is none."""
        if key not in self._values:
            return None
        return Table(self._source, self._below(key), self._values[key], keys)

    def named(self, key: str, keys: Collection[str]) -> dict[str, Table]:
        """Return the tables [name.key.NAME], by NAME."""
        names = self.table(key, None)
        if names is None:
            return {}
        return {
            name: Table(self._source, names._below(name), values, keys)
            for name, values in names._values.items()
        }

    def each(self, key: str, keys: Collection[str]) -> list[Table]:
        """Return the tables [[name.key]], of which there may be several."""
        values = self._values.get(key, [])
        if not isinstance(values, list):
            raise self.fault(f"{key} must be written as [[{self._below(key)}]]")
        return [Table(self._source, self._below(key), item, keys) for item in values]

    def options(self, key: str) -> dict[str, Any]:
        """Return a table of options: text and numbers, and true for an option without a value."""
        values = self.table(key, None)
        found: dict[str, Any] = {}
        for name, value in (values._values if values else {}).items():
            if value is not True and (
                isinstance(value, bool) or not isinstance(value, (str, int, float))
            ):
                allowed = "text, a number, or true for an option without a value"
                raise self.fault(f"{key}.{name} is {_shown(value)}: it must be {allowed}")
            found[name] = None if value is True else value
        return found

    def apply(self, what: Any, setters: Mapping[str, Callable[[Any, Any], None]]) -> None:
        """Call those setters of `what` whose keys are there."""
        for key, setter in setters.items():
            if key in self._values:
                with self.blamed(key):
                    setter(what, self._values[key])

    def anchored(self, value: Any) -> Any:
        """Let a path, or each of a list, start at the spec's folder; `~` is one's home."""
        if isinstance(value, list):
            return [self.anchored(item) for item in value]
        if not isinstance(value, str) or not value:
            return value
        return os.path.normpath(Path(self._source.folder, os.path.expanduser(value)))

    def program(self, value: Any) -> Any:
        """Let the path of a program start at the spec's folder; a bare name is left to PATH."""
        return self.anchored(value) if isinstance(value, str) and "/" in value else value

    def _below(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def pinning(value: Any) -> Any:
    """Return CPU numbers: a list as the Python API takes it, or text such as "0,2,5-7"."""
    return cpus.parse_list(value) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)
