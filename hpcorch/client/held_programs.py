"""Models and scripts in a server that has hpcorch's module, by the keys they lie under."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from hpcorch.client.connection import Link
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.model_bytes import Hold, filled
from hpcorch.client.model_store import Stored
from hpcorch.client.replies import ReplyReader
from hpcorch.client.routing import Router
from hpcorch.client.text import to_bytes, to_text

_TAG = re.compile(r"^\{[^{}]*\}\.")
# What HPCORCH.PROGRAM answers: the parts before the content, and the content.
_PARTS = 12
# A script with this tag is Python, which only hpcorch knows; all others are TorchScript.
PYTHON_TAG = "hpcorch:PYTHON"


T = TypeVar("T")


class HeldPrograms:
    """Reads them for a worker; every method raises what commands raise."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def find(self, kind: str, name: str) -> Stored | None:
        """Return what is stored beside the model or script under the key `name`."""
        found = self._ask(name, filled, b"HPCORCH.PROGRAM", to_bytes(name))
        return found[0] if found is not None and found[0].kind == kind else None

    def read_by(self, kind: str, name: str, hold: Hold[T]) -> tuple[Stored, T]:
        """Return a model or script with its bytes in what `hold` makes.

        Raises RedisRuntimeError when there is none.
        """
        found = self._ask(name, hold, b"HPCORCH.PROGRAM", to_bytes(name), b"CONTENT")
        if found is None or found[0].kind != kind or found[1] is None:
            raise RedisRuntimeError(f"there is no {kind} {shown(name)!r} in the database")
        return found[0], found[1]

    def _ask(self, name: str, hold: Hold[T], *words: bytes) -> tuple[Stored, T | None] | None:
        def described(reply: ReplyReader) -> tuple[Stored, T | None] | None:
            return _described(reply, name, hold)

        def ask(link: Link) -> tuple[Stored, T | None] | None:
            return link.bulk(words, described)

        return self._router.run(words[1], ask)


def has_module(link: Link) -> bool:
    """Tell whether a server has hpcorch's module."""
    reply = link.command("COMMAND", "INFO", "HPCORCH.PROGRAM")
    return isinstance(reply, list) and any(reply)


def shown(key: str) -> str:
    """Return the name by which users know the model or script under that key.

    In a cluster keys have a tag of SmartRedis' own before it, of bytes that may be no text.
    """
    return _TAG.sub("", key)


def _described(reply: ReplyReader, name: str, hold: Hold[T]) -> tuple[Stored, T | None] | None:
    size = reply.array_size()
    if size is None:
        return None
    if size != _PARTS:
        raise RedisRuntimeError(f"the server's answer has {size} parts: its module is another one")
    stored = _stored(name, [reply.value() for _ in range(_PARTS - 1)])
    length = reply.bulk_size()
    if length is None:
        return stored, None

    def fill(view: memoryview) -> bool:
        reply.into(view)
        reply.end_of_bulk()
        return True

    return stored, hold(length, fill)


def _stored(name: str, parts: list[Any]) -> Stored:
    kind, version, backend, device, tag = (to_text(part) for part in parts[:5])
    if kind == "SCRIPT":
        backend = "PYTHON" if tag == PYTHON_TAG else "TORCHSCRIPT"
    return Stored(
        kind=kind.lower(),
        name=name,
        version=version,
        backend=backend.upper(),
        device=device.upper(),
        size=parts[10],
        chunk=0,
        batch_size=parts[5],
        min_batch_size=parts[6],
        min_batch_timeout=parts[7],
        tag=tag,
        inputs=tuple(to_text(part) for part in parts[8]),
        outputs=tuple(to_text(part) for part in parts[9]),
    )
