"""How AI models and scripts lie in the database: one description each, and the bytes in chunks.

The description is JSON under `hpcorch:model:NAME` (`hpcorch:script:NAME`), the chunks are keys of
their own, spread over the shards. Every store has a fresh version, so that whoever reads while
another one replaces it gets one of the two, never a mixture. Workers learn of changes by a channel.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from hpcorch.client.connection import Request
from hpcorch.client.errors import RedisInputError, RedisRuntimeError
from hpcorch.client.model_bytes import Fill, Hold, Source, filled
from hpcorch.client.replies import ReplyReader
from hpcorch.client.routing import Router
from hpcorch.client.text import to_bytes
from hpcorch.errors import HpcorchError

CHANNEL = b"hpcorch:models"
DEFAULT_CHUNK = 64 * 1024 * 1024
# A reader that loses this often to somebody who replaces the model is told so.
_READS = 5
T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """What is stored beside a model's or script's bytes.

    `kind` is model or script; `size` is in bytes, whose SHA-256 is `digest`; `min_batch_timeout` is
    in milliseconds; `inputs` and `outputs` name those of a TensorFlow graph.
    """

    kind: str
    name: str
    version: str
    backend: str
    device: str
    size: int
    chunk: int
    batch_size: int = 0
    min_batch_size: int = 0
    min_batch_timeout: int = 0
    tag: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    digest: str = ""

    def same_as(self, other: Stored) -> bool:
        """Tell whether both describe the same thing, whenever and however it was stored."""
        return self == replace(other, version=self.version, chunk=self.chunk)


class ModelStore:
    """Models and scripts in one database; every method raises what commands raise."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.chunk_bytes = DEFAULT_CHUNK

    def write(self, described: Stored, data: Source) -> str:
        """Store `data`, in place of what had that name; return its version.

        What is there already just like that stays, so that workers need not load it again. The
        version, size, chunk size and digest in `described` do not matter.
        """
        earlier = self.find(described.kind, described.name)
        # Reading everything only to compare it is worth while when it may be the same.
        if earlier is not None and earlier.size == data.size:
            same = replace(described, size=data.size, digest=_digest(data, self.chunk_bytes))
            if earlier.same_as(same) and self._is_whole(earlier):
                return earlier.version
        fresh = self._with_chunks(
            replace(
                described,
                version=secrets.token_hex(8),
                size=data.size,
                chunk=self.chunk_bytes,
            ),
            data,
        )
        self._store(_key(fresh.kind, fresh.name), memoryview(json.dumps(asdict(fresh)).encode()))
        self._tell(fresh.kind, fresh.name)
        self._drop_chunks(earlier)
        return fresh.version

    def _with_chunks(self, fresh: Stored, data: Source) -> Stored:
        """Store the chunks; return `fresh` with their digest. All are removed when one fails."""
        found, size, keys = hashlib.sha256(), 0, _chunk_keys(fresh)
        try:
            for key, part in zip(keys, data.parts(fresh.chunk), strict=False):
                found.update(part)
                size += len(part)
                self._store(key, part)
            if size != fresh.size:
                raise RedisInputError(f"the file of {fresh.name!r} changed while it was read")
        except BaseException:
            # Parts of a model that nobody can find would fill the database.
            with suppress(HpcorchError):
                self._drop_chunks(fresh)
            raise
        return replace(fresh, digest=found.hexdigest())

    def find(self, kind: str, name: str) -> Stored | None:
        """Return what is stored beside that model or script, None when there is none."""
        key = _key(kind, name)
        found = self._router.run(key, lambda link: link.command(b"GET", key))
        return None if found is None else _stored(found, name)

    def exists(self, kind: str, name: str) -> bool:
        """Tell whether there is such a model or script."""
        key = _key(kind, name)
        return bool(self._router.run(key, lambda link: link.command(b"EXISTS", key)))

    def read(self, kind: str, name: str) -> tuple[Stored, bytes]:
        """Return a model or script with its bytes; raises RedisRuntimeError when there is none."""
        return self.read_by(kind, name, filled)

    def read_by(self, kind: str, name: str, hold: Hold[T]) -> tuple[Stored, T]:
        """As `read`, with the bytes in what `hold` makes."""
        for _ in range(_READS):
            described = self.find(kind, name)
            if described is None:
                raise RedisRuntimeError(f"there is no {kind} {name!r} in the database")
            data = hold(described.size, self._filling(described))
            if data is not None:
                return described, data
        raise RedisRuntimeError(
            f"parts of the {kind} {name!r} are missing from the database",
            hint="the server evicts keys, or somebody replaces it all the time",
        )

    def delete(self, kind: str, name: str) -> None:
        """Remove a model or script; raises RedisRuntimeError when there is none."""
        described = self.find(kind, name)
        if described is None:
            raise RedisRuntimeError(f"there is no {kind} {name!r} in the database")
        key = _key(kind, name)
        self._router.run(key, lambda link: link.command(b"UNLINK", key))
        self._tell(kind, name)
        self._drop_chunks(described)

    def _is_whole(self, described: Stored) -> bool:
        keys = _chunk_keys(described)
        return all(self._router.run_many([Request(key, (b"EXISTS", key)) for key in keys]))

    def _store(self, key: bytes, data: memoryview) -> None:
        self._router.run(key, lambda link: link.bulk((b"SET", key, (data,)), ReplyReader.value))

    def _filling(self, described: Stored) -> Fill:
        def fill(view: memoryview) -> bool:
            starts = range(0, described.size, described.chunk)
            requests = [
                Request(key, (b"GET", key), _into(view[at : at + described.chunk]))
                for key, at in zip(_chunk_keys(described), starts, strict=True)
            ]
            return all(self._router.run_many(requests))

        return fill

    def _drop_chunks(self, described: Stored | None) -> None:
        keys = [] if described is None else _chunk_keys(described)
        self._router.run_many([Request(key, (b"UNLINK", key)) for key in keys])

    def _tell(self, kind: str, name: str) -> None:
        key, text = _key(kind, name), f"{kind}:{name}"
        # A cluster passes a message on to all of its nodes.
        self._router.run(key, lambda link: link.command(b"PUBLISH", CHANNEL, text))


def _into(target: memoryview) -> Callable[[ReplyReader], bool]:
    """Return what reads a value into `target`, and tells whether there was one."""

    def read(reply: ReplyReader) -> bool:
        size = reply.bulk_size()
        if size is None:
            return False
        if size != len(target):
            raise RedisRuntimeError(f"it has {size} bytes, not {len(target)}")
        reply.into(target)
        reply.end_of_bulk()
        return True

    return read


def _digest(data: Source, length: int) -> str:
    found = hashlib.sha256()
    for part in data.parts(length):
        found.update(part)
    return found.hexdigest()


def _key(kind: str, name: str) -> bytes:
    return to_bytes(f"hpcorch:{kind}:{name}")


def _chunk_keys(described: Stored) -> list[bytes]:
    base = _key(described.kind, described.name)
    count = -(-described.size // described.chunk)
    return [b"%b:%b:%d" % (base, described.version.encode(), index) for index in range(count)]


def _stored(text: bytes, name: str) -> Stored:
    try:
        values = json.loads(text)
        known = {field.name for field in fields(Stored)}
        kept = {key: _frozen(value) for key, value in values.items() if key in known}
        return Stored(**kept)
    except (ValueError, TypeError, AttributeError) as error:
        raise RedisRuntimeError(f"what describes {name!r} in the database is damaged") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
