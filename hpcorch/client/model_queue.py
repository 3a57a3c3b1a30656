"""Requests to model workers through a stream in the database: the way that survives a worker.

Each shard has a stream of its own, `hpcorch:queue:{N}` with the least N that lies on that shard,
read by the workers of that shard as one consumer group. An entry holds a frame (see frames.py), the
key of the list on which the answer, a frame as well, is awaited, and how many workers were lost
with the request before. An entry's id is the shard's
clock, by which its age is told. Entries are removed when they are answered, so that the length of
the stream is the number of requests that wait or are being worked on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from hpcorch.client import frames
from hpcorch.client.codecs import Tensor
from hpcorch.client.connection import Link
from hpcorch.client.errors import RedisInternalError, RedisRuntimeError, RedisTimeoutError
from hpcorch.client.messages import Answer, answer_parser
from hpcorch.client.replies import ReplyReader
from hpcorch.client.routing import Router
from hpcorch.client.settings import Settings

GROUP = b"workers"
# Requests that wait on one shard; more than that means that workers cannot keep up, or are gone.
LONGEST_QUEUE = 1000
# An answer that nobody fetches disappears after this long.
ANSWER_SECONDS = 600
_SLICE_SECONDS = 30.0
# The worker says itself that the time is up; this much later nobody is there to say it.
_GRACE_SECONDS = 2.0
_ADD_UNLESS_FULL = b"""
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', 'reply', ARGV[2], 'tries', ARGV[3], 'frame', ARGV[4])
"""


class Bytes:
    """A frame that is in memory already; a source for frames.read."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes; raises FrameError when there are fewer."""
        return bytes(self._next(size))

    def into(self, target: memoryview) -> None:
        """Fill `target`; raises FrameError when there is not enough."""
        target[:] = self._next(len(target))

    def _next(self, size: int) -> memoryview:
        if size > len(self._view):
            raise frames.FrameError("a frame is cut short")
        found, self._view = self._view[:size], self._view[size:]
        return found


def queue_of(router: Router, key: bytes) -> bytes:
    """Return the stream for requests whose inputs lie on the shard that owns `key`."""
    return queue_at(router, str(router.place(key)))


def queue_at(router: Router, shard: str) -> bytes:
    """Return the stream that lies on `shard` (its `ip:port`)."""
    if not router.clustered:
        return b"hpcorch:queue:{0}"
    names = (b"hpcorch:queue:{%d}" % number for number in count())
    return next(name for name in names if str(router.place(name)) == shard)


class ModelQueue:
    """The client's end of the streams."""

    def __init__(self, router: Router, settings: Settings) -> None:
        self._router = router
        # A connection must not look dead while it waits for an answer.
        self._slice = min(_SLICE_SECONDS, settings.socket_timeout / 2)
        self._parse = answer_parser()

    def exchange(
        self,
        head: bytes,
        arrays: Sequence[Tensor],
        beside: bytes,
        seconds: float,
        tries: int = 0,
    ) -> tuple[Answer, list[Tensor]]:
        """Queue a request on the shard that owns the key `beside`; wait for its answer.

        `tries` workers have been lost with it before. Raises RedisRuntimeError when the queue is
        full, RedisTimeoutError when no answer came in `seconds` and a little more.
        """
        queue = queue_of(self._router, beside)
        # The tag of the queue keeps the answer on the same shard.
        reply = queue.replace(b"queue", b"reply") + b":" + secrets.token_hex(8).encode()
        self._add(queue, reply, tries, frames.pack(head, arrays))
        text = self._answer(reply, time.monotonic() + seconds + _GRACE_SECONDS)
        if text is None:
            raise RedisTimeoutError(
                f"no model worker answered within {seconds:g} s",
                hint="SR_MODEL_TIMEOUT sets the time in ms; the database's logs tell of workers",
            )
        try:
            return frames.read(Bytes(text), self._parse)
        except frames.FrameError as error:
            raise RedisInternalError(f"the answer of a model worker is damaged: {error}") from error

    def _add(
        self, queue: bytes, reply: bytes, tries: int, frame: Sequence[bytes | memoryview]
    ) -> None:
        values = (b"%d" % LONGEST_QUEUE, reply, b"%d" % tries, frame)
        command = (b"EVAL", _ADD_UNLESS_FULL, b"1", queue, *values)
        added = self._router.run(queue, lambda link: link.bulk(command, ReplyReader.value))
        if added is None:
            raise RedisRuntimeError(
                f"{LONGEST_QUEUE} requests wait for the model workers of this shard already",
                hint="more workers, or batching, would keep up with them",
            )

    def _answer(self, reply: bytes, deadline: float) -> bytes | None:
        while (left := deadline - time.monotonic()) > 0:
            found = self._router.run(reply, _popping(reply, min(left, self._slice)))
            if found is not None:
                text: bytes = found[1]
                return text
        return None


def _popping(key: bytes, seconds: float) -> Callable[[Link], Any]:
    # To the server, 0.000 is for ever.
    return lambda link: link.command(b"BLPOP", key, f"{max(seconds, 0.001):.3f}")
