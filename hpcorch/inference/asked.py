"""The way in for AI.MODELEXECUTE and AI.SCRIPTRUN: the server's module hands out what is asked.

A worker's connection asks for work by HPCORCH.WORK, and waits. What it gets carries the inputs; the
outputs, or why there are none, go back by HPCORCH.DONE or HPCORCH.FAIL.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError, ResponseError

from hpcorch.client.connection import Link, Server
from hpcorch.client.errors import RedisConnectionError
from hpcorch.client.held_programs import shown
from hpcorch.client.messages import Request
from hpcorch.client.text import to_bytes
from hpcorch.client.wire import Argument, pack
from hpcorch.errors import HpcorchError
from hpcorch.inference.faults import Fault, NoFunction
from hpcorch.inference.orders import Order, Orders, answer_words
from hpcorch.inference.service import Service
from hpcorch.inference.shelf import Shelf

LOG = logging.getLogger("hpcorch.inference")
_PAUSE_SECONDS = 0.5
_SILENTLY = b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n"
# More requests than these cannot be joined into one batch.
_MOST_SEATS = 64


class Desk:
    """Carries out what one server asks for, by connections ("seats") of this worker.

    A seat waits `wait` seconds before it asks anew, and gives up when the server was silent for
    `patience` seconds more. One seat is enough, since a worker runs one model at a time, but for
    models whose requests are joined: there is one more seat to ask then, as long as what it may
    get has room beside the others' inputs in `together` bytes.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        service: Service,
        shelf: Shelf,
        wait: float,
        patience: float,
        together: float = math.inf,
    ) -> None:
        self._server = server
        self._service = service
        self._shelf = shelf
        milliseconds = b"%d" % max(1, round(1000 * wait))
        ask: tuple[Argument, ...] = (b"HPCORCH.WORK", to_bytes(name), milliseconds)
        if service.most_bytes < math.inf:
            # The server knows the sizes: what is too large is refused there, and not sent.
            ask += (b"%d" % service.most_bytes,)
        self._ask = _packed(ask)
        self._patience = wait + patience
        self._began = self._heard = time.monotonic()
        self._most = math.inf
        self._lock = threading.Lock()
        self._seats = 1
        self._together = together
        # Bytes of the inputs that are to be joined.
        self._held = 0
        # Seats that carry something out; the others ask, or will in a moment.
        self._busy = 0

    def start(self) -> None:
        """Take a seat, in a thread of its own, until the server will not have us or has gone."""
        threading.Thread(target=self._take_seat, daemon=True).start()

    def _take_seat(self) -> None:
        try:
            # Others who need the server tell of its end.
            with suppress(RedisConnectionError):
                self._stay()
        finally:
            with self._lock:
                self._seats -= 1

    def _stay(self) -> None:
        while True:
            try:
                self._sit(self._server.take(repeatable=False))
            except (RedisError, OSError, HpcorchError) as error:
                if self._heard == self._began and _is_refusal(error):
                    LOG.error("AI.MODELEXECUTE and AI.SCRIPTRUN are not served: %s", error)
                    return
                if time.monotonic() > self._heard + self._patience:
                    raise RedisConnectionError(f"{self._server} has gone: {error}") from error
                LOG.info("the server that asks for models begins anew: %s", error)
                # What the server goes on refusing must not keep the CPU busy.
                time.sleep(_PAUSE_SECONDS)

    def _sit(self, link: Link) -> None:
        orders = Orders()
        try:
            self._most = _most_in_a_value(link)
            link.send([self._ask])
            while True:
                order = self._next(link, orders)
                if order is None:
                    self._shelf.verify()
                    link.send([self._ask])
                    continue
                # What comes of an answer is the caller's affair: one wake-up less for us.
                link.send([_SILENTLY, self._answer(order), self._ask])
        finally:
            link.close()

    def _next(self, link: Link, orders: Orders) -> Order | None:
        order = link.receive(orders.read)
        self._heard = time.monotonic()
        return order

    def _answer(self, order: Order) -> Sequence[Argument]:
        request = order.kind.request
        began = time.perf_counter()
        joins = self._shelf.joins(request)
        size = sum(array.nbytes for array in order.arrays) if joins else 0
        with self._occupied(size):
            if joins:
                self._call_another()
            found = self._service.carry_out(request, order.arrays)
        micros = b"%d" % round(1e6 * (time.perf_counter() - began))
        number = b"%d" % order.number
        try:
            words = answer_words(order.kind, found, self._most)
            return (b"HPCORCH.DONE", number, micros, *words)
        except Fault as fault:
            text = _text(request, fault).encode("utf-8", "replace")
            return (b"HPCORCH.FAIL", number, micros, text)

    @contextmanager
    def _occupied(self, size: int) -> Iterator[None]:
        """Count a seat as busy, and what it holds of inputs that are to be joined."""
        with self._lock:
            self._busy += 1
            self._held += size
        try:
            yield
        finally:
            # At once: a seat that is free but not seen to be would have another one called.
            with self._lock:
                self._busy -= 1
                self._held -= size

    def _call_another(self) -> None:
        """Have another seat ask for what is to be joined, if none is free to and there is room."""
        with self._lock:
            room = self._held + self._service.most_bytes <= self._together
            wanted = room and self._busy == self._seats < _MOST_SEATS
            self._seats += wanted
        if wanted:
            self.start()


def _is_refusal(error: Exception) -> bool:
    """Say whether a server will not have us; one that becomes a replica wakes who waits as well."""
    return isinstance(error, ResponseError) and not str(error).startswith("UNBLOCKED")


def _packed(command: Sequence[Argument]) -> bytes:
    """Return a small command as it is sent."""
    return b"".join(pack([command]))


def _most_in_a_value(link: Link) -> float:
    """Return with how many bytes in one value the server does not hang up, if it tells."""
    # A line end follows a value in the buffer.
    return min(
        _setting(link, "proto-max-bulk-len"), _setting(link, "client-query-buffer-limit") - 2
    )


def _setting(link: Link, name: str) -> float:
    with suppress(ResponseError):
        found = link.command("CONFIG", "GET", name)
        return int(found[1]) if found else math.inf
    return math.inf


def _text(request: Request, fault: Fault) -> str:
    """Return what the caller is told: RedisAI's own words where programs may look for them."""
    if isinstance(fault, NoFunction):
        return f"Function does not exist: {request.function}"
    return f"ERR {str(fault).replace(request.name, shown(request.name))}"
