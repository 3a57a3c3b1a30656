"""The way in that survives a worker: requests in the stream of this worker's shard.

An entry is acknowledged and removed after its outputs are written and its answer is sent. One that
a worker died with is found again by its successor of the same name, which tries it once more.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from hpcorch.client import frames
from hpcorch.client.codecs import Tensor
from hpcorch.client.connection import Link
from hpcorch.client.errors import RedisReplyError
from hpcorch.client.messages import bad_answer, request_parser
from hpcorch.client.model_queue import ANSWER_SECONDS, GROUP, Bytes
from hpcorch.client.replies import ReplyReader
from hpcorch.client.routing import Router
from hpcorch.inference.faults import Fault
from hpcorch.inference.service import Service, check_inputs

LOG = logging.getLogger("hpcorch.inference")
_PAUSE_SECONDS = 0.5
# The first try and one more.
_MOST_TRIES = 2


@dataclass(frozen=True)
class _Entry:
    """One request in the stream, and how many workers were lost with it."""

    id: bytes
    reply: bytes
    frame: bytes
    tries: int


class QueueReader:
    """Answers the requests of one stream, one after the other.

    `consumer` is the name under which a successor finds what this one has begun; `announce` is
    called whenever the database may have forgotten this worker; `wait` is how many seconds the
    server keeps silent while there is nothing to do.
    """

    def __init__(
        self,
        router: Router,
        service: Service,
        queue: bytes,
        consumer: str,
        announce: Callable[[], None],
        wait: float,
    ) -> None:
        self._router = router
        self._service = service
        self._queue = queue
        self._consumer = consumer.encode()
        self._announce = announce
        self._block = b"%d" % max(1, round(1000 * wait))
        self._parse = request_parser()

    def run(self) -> None:
        """Work for ever; raises RedisConnectionError when the database has gone for good."""
        while True:
            try:
                self._join()
                entries = self._begun_before()
                while True:
                    for entry in entries:
                        self._answer(entry)
                    # What a broken connection has swallowed turns up when nothing else comes.
                    entries = self._next() or self._begun_before()
            except RedisReplyError as error:
                # The stream was deleted, by a flush for example: it is made anew.
                LOG.info("the request queue begins anew: %s", error.message)
                # What the server goes on refusing must not keep the CPU busy.
                time.sleep(_PAUSE_SECONDS)
                # A server that takes nothing at present is asked again.
                with suppress(RedisReplyError):
                    self._announce()

    def _join(self) -> None:
        try:
            self._command(b"XGROUP", b"CREATE", self._queue, GROUP, b"0", b"MKSTREAM")
        except RedisReplyError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _begun_before(self) -> list[_Entry]:
        """Return what an earlier worker of this name has begun and not ended."""
        pending = self._command(
            b"XPENDING", self._queue, GROUP, b"-", b"+", b"1000", self._consumer
        )
        tries = {item[0]: int(item[3]) for item in pending}
        found = self._read(b"0")
        return [replace(entry, tries=entry.tries + tries.get(entry.id, 1)) for entry in found]

    def _next(self) -> list[_Entry]:
        return self._read(b">", b"COUNT", b"1", b"BLOCK", self._block)

    def _read(self, start: bytes, *options: bytes) -> list[_Entry]:
        words = (b"XREADGROUP", b"GROUP", GROUP, self._consumer, *options)
        found = self._command(*words, b"STREAMS", self._queue, start)
        entries = found[0][1] if found else []
        # An entry that was deleted since has no fields left.
        return [_entry(item) for item in entries if item[1]]

    def _answer(self, entry: _Entry) -> None:
        head, outputs = self._outcome(entry)
        answer = frames.pack(head, outputs)
        commands = (
            (b"RPUSH", entry.reply, answer),
            (b"EXPIRE", entry.reply, b"%d" % ANSWER_SECONDS),
            (b"XACK", self._queue, GROUP, entry.id),
            (b"XDEL", self._queue, entry.id),
        )

        def send(link: Link) -> None:
            for command in commands:
                link.bulk(command, ReplyReader.value)

        self._router.run(self._queue, send)

    def _outcome(self, entry: _Entry) -> tuple[bytes, Sequence[Tensor]]:
        if entry.tries >= _MOST_TRIES:
            text = f"{entry.tries} model workers ended while they worked on this request"
            return bad_answer("failed", text), ()
        try:
            request, arrays = frames.read(Bytes(entry.frame), self._parse, self._admit)
        except (frames.FrameError, Fault) as error:
            return bad_answer("refused", str(error)), ()
        left = request.seconds - self._age(entry)
        if left <= 0:
            text = f"no worker had time for the request within {request.seconds:g} s"
            return bad_answer("timeout", text), ()
        return self._service.answer(replace(request, seconds=left), arrays)

    def _admit(self, size: int) -> None:
        check_inputs(size, self._service.most_bytes)

    def _age(self, entry: _Entry) -> float:
        """Return the seconds since the request was queued, by the shard's own clock."""
        seconds, micros = self._command(b"TIME")
        now = int(seconds) + int(micros) / 1e6
        return now - int(entry.id.partition(b"-")[0]) / 1000

    def _command(self, *words: bytes) -> Any:
        return self._router.run(self._queue, lambda link: link.command(*words))


def _entry(item: Any) -> _Entry:
    names, values = itertools.islice(item[1], 0, None, 2), itertools.islice(item[1], 1, None, 2)
    fields = dict(zip(names, values, strict=True))
    tries = fields.get(b"tries", b"0")
    return _Entry(
        id=item[0],
        reply=fields.get(b"reply", b"hpcorch:reply:nobody"),
        frame=fields.get(b"frame", b""),
        tries=int(tries) if tries.isdigit() else 0,
    )
