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
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from hpcorch.client.connection import Request
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.routing import Router
from hpcorch.client.text import to_bytes
from hpcorch.client.wire import ReplyReader

CHANNEL = b"hpcorch:models"
DEFAULT_CHUNK = 64 * 1024 * 1024
# A reader that loses this often to somebody who replaces the model is told so.
_READS = 5


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

    def write(self, described: Stored, data: bytes) -> str:
        """Store `data`, in place of what had that name; return its version.

        What is there already just like that stays, so that workers need not load it again. The
        version, size, chunk size and digest in `described` do not matter.
        """
        fresh = replace(
            described,
            version=secrets.token_hex(8),
            size=len(data),
            chunk=self.chunk_bytes,
            digest=hashlib.sha256(data).hexdigest(),
        )
        earlier = self.find(fresh.kind, fresh.name)
        if earlier is not None and earlier.same_as(fresh) and self._is_whole(earlier):
            return earlier.version
        view = memoryview(data)
        for index, key in enumerate(_chunk_keys(fresh)):
            part = view[index * fresh.chunk : (index + 1) * fresh.chunk]
            self._store(key, part)
        self._store(_key(fresh.kind, fresh.name), memoryview(json.dumps(asdict(fresh)).encode()))
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

    def _is_whole(self, described: Stored) -> bool:
        keys = _chunk_keys(described)
        return all(self._router.run_many([Request(key, (b"EXISTS", key)) for key in keys]))

    def _store(self, key: bytes, data: memoryview) -> None:
        self._router.run(key, lambda link: link.bulk((b"SET", key, (data,)), ReplyReader.value))

    def _read_chunks(self, described: Stored) -> bytearray | None:
        data = bytearray(described.size)
        view = memoryview(data)
        requests = [
            Request(key, (b"GET", key), _into(view[at : at + described.chunk]))
            for key, at in zip(
                _chunk_keys(described), range(0, described.size, described.chunk), strict=True
            )
        ]
        return data if all(self._router.run_many(requests)) else None

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
