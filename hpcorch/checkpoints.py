"""What databases have saved: whole sets of one file a shard, found again and checked.

`<run directory>/checkpoint/<set>/` holds `set.json` and `<shard>/dump.rdb`. A set names those that
it follows, so that the newest one is known without asking a clock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hpcorch.errors import InputError

FOLDER = "checkpoint"
_DUMP = "dump.rdb"
# How a server's dump begins, and the byte before the checksum that it ends with.
_MAGIC = (b"REDIS", b"VALKEY")
_END, _CHECKSUM_BYTES = b"\xff", 8


@dataclass(frozen=True)
class Checkpoint:
    """One set: the number of shards that it is of, and which of their files are missing."""

    path: Path
    shards: int
    follows: frozenset[str]
    missing: tuple[int, ...]


def find_checkpoint(name: str, restore: str, shards: int) -> Path:
    """Return the absolute directory of the sets that database `name` can start from.

    `restore` is a run directory or its `checkpoint`. Raises InputError when it holds no whole and
    undamaged set of `shards` files.
    """
    given = Path(restore).absolute()
    folder = given / FOLDER if (given / FOLDER).is_dir() else given
    found = _sets(folder)
    said = f"restore of {name} is {restore!r}"
    if not found:
        raise InputError(f"{said}: there is no checkpoint there", "give a database's run directory")
    fitting = [item for item in found if item.shards == shards]
    if not fitting:
        sizes = ", ".join(sorted({str(item.shards) for item in found}))
        raise InputError(f"{said}: its checkpoint is of {sizes} shard(s), and {name} has {shards}")
    whole = [item for item in fitting if not item.missing]
    if not whole:
        missing = ", ".join(map(str, fitting[-1].missing))
        raise InputError(f"{said}: its checkpoint lacks the files of the shards {missing}")
    for index in range(shards):
        _check(said, _newest(whole).path / str(index) / _DUMP)
    return folder


def _sets(folder: Path) -> list[Checkpoint]:
    try:
        found = [_set(path) for path in sorted(folder.iterdir())]
    except OSError:
        return []
    return [item for item in found if item is not None]


def _set(path: Path) -> Checkpoint | None:
    try:
        told = json.loads((path / "set.json").read_text(encoding="utf-8"))
        shards, follows = int(told["shards"]), frozenset(map(str, told["follows"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    files = [path / str(index) / _DUMP for index in range(shards)]
    missing = (i for i, file in enumerate(files) if file.is_symlink() or not file.is_file())
    return Checkpoint(path, shards, follows, tuple(missing))


def _newest(whole: list[Checkpoint]) -> Checkpoint:
    followed = frozenset[str]().union(*(item.follows for item in whole))
    return next((item for item in whole if item.path.name not in followed), whole[-1])


def _check(said: str, path: Path) -> None:
    """Refuse a file that is cut short or no dump; its checksum is left to the server."""
    try:
        with path.open("rb") as stream:
            begins = stream.read(len(_MAGIC[-1])).startswith(_MAGIC)
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _CHECKSUM_BYTES - 1))
            ends = stream.read(1) == _END
    except OSError as error:
        raise InputError(f"{said}: {path} cannot be read: {error.strerror}") from error
    if not (begins and ends):
        raise InputError(f"{said}: {path} is damaged: it is no whole dump of a server")
