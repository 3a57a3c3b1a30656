"""How AI models and scripts lie in the database: one description each, and the bytes in chunks.

The description is JSON under `hpcorch:model:NAME` (`hpcorch:script:NAME`), the chunks are keys of
their own, spread over the shards. Every store has a fresh version, so that whoever reads while
another one replaces it gets one of the two, never a mixture. Workers learn of changes by a channel.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from hpcorch.client.connection import Link
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.routing import Router
from hpcorch.client.wire import ReplyReader

CHANNEL = b"hpcorch:models"
DEFAULT_CHUNK = 64 * 1024 * 1024
# A reader that loses this often to somebody who replaces the model is told so.
_READS = 5


@dataclass(frozen=True)
class Stored:
    """What is stored beside a model's or script's bytes.

    `kind` is model or script; `size` is in bytes; `min_batch_timeout` in milliseconds; `inputs` and
    `outputs` name those of a TensorFlow graph.
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


class ModelStore:
    """Models and scripts in one database; every method raises what commands raise."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.chunk_bytes = DEFAULT_CHUNK

    def write(self, described: Stored, data: bytes) -> str:
        """Store `data`, in place of what had that name; return the new version.

        The version, size and chunk size in `described` do not matter.
        """
        values = asdict(described)
        values |= {"version": secrets.token_hex(8), "size": len(data), "chunk": self.chunk_bytes}
        fresh = Stored(**values)
        earlier = self.find(fresh.kind, fresh.name)
        view = memoryview(data)
        for index, key in enumerate(_chunk_keys(fresh)):
            part = view[index * fresh.chunk : (index + 1) * fresh.chunk]
            self._store(key, part)
        self._store(_key(fresh.kind, fresh.name), memoryview(json.dumps(values).encode()))
        self._tell(fresh.kind, fresh.name)
        self._drop_chunks(earlier)
        return fresh.version

    def find(self, kind: str, name: str) -> Stored | None:
        """Return what is stored beside that model or script, None when there is none."""
        key = _key(kind, name)
        found = self._router.run(key, lambda link: link.command(b"GET", key))
        return None if found is None else _stored(found, name)

    def exists(self, kind: str, name: str) -> bool:
        """Tell whether there is such a model or script."""
        key = _key(kind, name)
        return bool(self._router.run(key, lambda link: link.command(b"EXISTS", key)))

    def read(self, kind: str, name: str) -> tuple[Stored, bytearray]:
        """Return a model or script with its bytes; raises RedisRuntimeError when there is none."""
        for _ in range(_READS):
            described = self.find(kind, name)
            if described is None:
                raise RedisRuntimeError(f"there is no {kind} {name!r} in the database")
            data = self._read_chunks(described)
            if data is not None:
                return described, data
        raise RedisRuntimeError(
            f"parts of the {kind} {name!r} are missing from the database",
            hint="the server evicts keys, or somebody replaces it all the time",
        )

    def delete(self, kind: str, name: str) -> bool:
        """Remove a model or script; tell whether there was one."""
        described = self.find(kind, name)
        key = _key(kind, name)
        self._router.run(key, lambda link: link.command(b"UNLINK", key))
        self._tell(kind, name)
        self._drop_chunks(described)
        return described is not None

    def _store(self, key: bytes, data: memoryview) -> None:
        self._router.run(key, lambda link: link.bulk((b"SET", key, (data,)), ReplyReader.value))

    def _read_chunks(self, described: Stored) -> bytearray | None:
        data = bytearray(described.size)
        view = memoryview(data)
        for index, key in enumerate(_chunk_keys(described)):
            part = view[index * described.chunk : (index + 1) * described.chunk]
            if not self._router.run(key, _reading(key, part)):
                return None
        return data

    def _drop_chunks(self, described: Stored | None) -> None:
        for key in [] if described is None else _chunk_keys(described):
            self._router.run(key, _unlinking(key))

    def _tell(self, kind: str, name: str) -> None:
        key, text = _key(kind, name), f"{kind}:{name}"
        # A cluster passes a message on to all of its nodes.
        self._router.run(key, lambda link: link.command(b"PUBLISH", CHANNEL, text))


def _reading(key: bytes, target: memoryview) -> Callable[[Link], bool]:
    def read(reply: ReplyReader) -> bool:
        size = reply.bulk_size()
        if size is None:
            return False
        if size != len(target):
            raise RedisRuntimeError(f"it has {size} bytes, not {len(target)}")
        reply.into(target)
        reply.end_of_bulk()
        return True

    return lambda link: link.bulk((b"GET", key), read)


def _unlinking(key: bytes) -> Callable[[Link], Any]:
    return lambda link: link.command(b"UNLINK", key)


def _key(kind: str, name: str) -> bytes:
    return f"hpcorch:{kind}:{name}".encode()


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
