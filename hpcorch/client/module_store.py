"""Models and scripts on servers with hpcorch's module: as SmartRedis stores them, on each shard.

SmartRedis programs find what `hpcorch.client` stores by this, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.held_programs import PYTHON_TAG, HeldPrograms, has_module
from hpcorch.client.model_bytes import Source, filled
from hpcorch.client.model_store import CHANNEL, DEFAULT_CHUNK, ModelStore, Stored
from hpcorch.client.replies import ReplyReader
from hpcorch.client.routing import Router
from hpcorch.client.shardtags import shard_tag
from hpcorch.client.text import to_bytes, to_text
from hpcorch.client.wire import Argument


class ModuleStore:
    """Models and scripts in one database; every method raises what commands raise."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._held = HeldPrograms(router)
        self.chunk_bytes = DEFAULT_CHUNK

    def write(self, described: Stored, data: Source) -> str:
        """Store `data` on every shard, in place of what had that name; return its version.

        The version comes of the content: workers do not load again what they have already.
        """
        # One command carries it all.
        whole = next(iter(data.parts(data.size or 1)), memoryview(b""))
        words = self._script(described, whole) if described.kind == "script" else ()
        words = words or self._model(described, whole)
        keys = self._keys(described.name)
        for key in keys:
            self._run(key, (words[0], key, *words[1:]))
        stored = self._held.find(described.kind, to_text(keys[0]))
        return "" if stored is None else stored.version

    def find(self, kind: str, name: str) -> Stored | None:
        """Return what is stored beside that model or script, None when there is none."""
        return self._held.find(kind, to_text(self._keys(name)[0]))

    def exists(self, kind: str, name: str) -> bool:
        """Tell whether there is such a model or script."""
        return self.find(kind, name) is not None

    def read(self, kind: str, name: str) -> tuple[Stored, bytes]:
        """Return a model or script with its bytes; raises RedisRuntimeError when there is none."""
        return self._held.read_by(kind, to_text(self._keys(name)[0]), filled)

    def delete(self, kind: str, name: str) -> None:
        """Remove a model or script; raises RedisRuntimeError when there is none."""
        word = b"AI.MODELDEL" if kind == "model" else b"AI.SCRIPTDEL"
        first, *others = self._keys(name)
        self._run(first, (word, first))
        for key in others:
            # A program may have stored it on one shard only.
            with suppress(RedisRuntimeError):
                self._run(key, (word, key))

    def _keys(self, name: str) -> list[bytes]:
        """Return the keys of the copies on all shards."""
        return [key_at(self._router, one, to_bytes(name)) for one in self._router.addresses]

    def _model(self, described: Stored, whole: memoryview) -> Sequence[Argument]:
        options: list[bytes] = []
        for word, value in (
            (b"TAG", described.tag),
            (b"BATCHSIZE", described.batch_size),
            (b"MINBATCHSIZE", described.min_batch_size),
            (b"MINBATCHTIMEOUT", described.min_batch_timeout),
        ):
            if value:
                options += [word, to_bytes(str(value))]
        for word, names in ((b"INPUTS", described.inputs), (b"OUTPUTS", described.outputs)):
            if names:
                options += [word, b"%d" % len(names), *map(to_bytes, names)]
        starts = range(0, len(whole), self.chunk_bytes)
        chunks = [(whole[start : start + self.chunk_bytes],) for start in starts]
        head = (b"AI.MODELSTORE", to_bytes(described.backend), to_bytes(described.device))
        return (*head, *options, b"BLOB", *chunks)

    def _script(self, described: Stored, whole: memoryview) -> Sequence[Argument]:
        tag = (b"TAG", to_bytes(PYTHON_TAG)) if described.backend == "PYTHON" else ()
        return (b"AI.SCRIPTSET", to_bytes(described.device), *tag, b"SOURCE", (whole,))

    def _run(self, key: bytes, words: Sequence[Argument]) -> None:
        self._router.run(key, lambda link: link.bulk(words, ReplyReader.value))


def key_at(router: Router, address: str, name: bytes) -> bytes:
    """Return the key under which the server at `address` holds its copy of a model or script."""
    slot = router.first_slot(address)
    return name if slot is None else b"{%b}.%b" % (shard_tag(slot), name)


def store_of(router: Router) -> ModelStore | ModuleStore:
    """Return how models and scripts lie in this kind of server, which is asked."""
    return ModuleStore(router) if router.run(CHANNEL, has_module) else ModelStore(router)
