"""Direct connections from a client to model workers: finding one, keeping it, replacing it."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from hpcorch.client import handshake, workers
from hpcorch.client.codecs import Tensor
from hpcorch.client.errors import RedisTimeoutError
from hpcorch.client.frames import FrameError, Stream
from hpcorch.client.messages import Answer, answer_parser
from hpcorch.client.routing import Router
from hpcorch.client.settings import Settings
from hpcorch.client.workers import WorkerAddress
from hpcorch.errors import SecurityError

# A host that drops packets must not use up the time for the other workers.
_CONNECT_SECONDS = 5.0
# A worker says itself that the time is up; this much later it is taken to be stuck.
_GRACE_SECONDS = 2.0


class WorkerLost(Exception):
    """A worker went away after it had got a request; whether it was carried out is unknown."""


class NoWorker(Exception):
    """No worker could be reached; nothing was sent."""


class WorkerLinks:
    """The workers of one database. Safe for threads; a forked child makes its own links."""

    def __init__(self, router: Router, settings: Settings) -> None:
        self._router = router
        self._credentials = settings.credentials
        self._key = handshake.key_of(settings.credentials)
        self._idle: deque[Stream] = deque()
        self._process = os.getpid()
        self._parse = answer_parser()
        self._refused = ""
        self._turn = 0

    @property
    def refusal(self) -> str:
        """Why the last worker that was tried could not be used; empty when none was tried."""
        return self._refused

    def exchange(
        self, head: bytes, arrays: Sequence[Tensor], seconds: float
    ) -> tuple[Answer, list[Tensor]]:
        """Send one request to a worker and return its answer.

        Raises NoWorker, WorkerLost, or RedisTimeoutError after `seconds` and a little more.
        """
        stream = self._take()
        end = time.monotonic() + seconds
        try:
            stream.set_timeout(seconds + _GRACE_SECONDS)
            stream.send(head, arrays)
            found = stream.read(self._parse)
        except (OSError, FrameError) as error:
            stream.close()
            if not isinstance(error, TimeoutError):
                # Whatever broke this connection has likely broken the idle ones.
                self.close()
            # A worker that is stuck with the request ends itself at about the same time.
            if isinstance(error, TimeoutError) or time.monotonic() > end:
                text = f"the model worker did not answer within {seconds:g} s"
                raise RedisTimeoutError(text) from error
            raise WorkerLost(str(error)) from error
        except BaseException:
            stream.close()
            raise
        self._idle.append(stream)
        return found

    def to_each(self) -> list[Stream]:
        """Return a fresh connection to every worker that can be reached."""
        streams = [self._connected(worker) for worker in workers.listed(self._router)]
        return [stream for stream in streams if stream is not None]

    def close(self) -> None:
        """Close the idle connections; they are made again when they are needed."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Stream:
        if self._process != os.getpid():
            # The parent goes on using the sockets that we inherited.
            self._idle, self._process = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> Stream:
        self._turn += 1
        turn = os.getpid() + self._turn
        for worker in in_order(workers.listed(self._router), workers.this_node(), turn):
            stream = self._connected(worker)
            if stream is not None:
                return stream
        raise NoWorker(self._refused)

    def _connected(self, worker: WorkerAddress) -> Stream | None:
        here = worker.node == workers.this_node()
        if worker.path and here and Path(worker.path).exists():
            found = self._greeted(worker, local=True)
            if found is not None:
                return found
        return self._greeted(worker, local=False) if worker.host else None

    def _greeted(self, worker: WorkerAddress, *, local: bool) -> Stream | None:
        sock = None
        try:
            sock = self._local(worker.path) if local else self._remote(worker.host, worker.port)
            stream = Stream(sock)
            handshake.greet_worker(stream, self._key)
        except (OSError, SecurityError) as error:
            self._refused = f"{worker}: {error}"
            if sock is not None:
                sock.close()
            return None
        return stream

    def _local(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(_CONNECT_SECONDS)
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return sock

    def _remote(self, host: str, port: int) -> socket.socket:
        sock = socket.create_connection((host, port), _CONNECT_SECONDS)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = handshake.client_tls(self._credentials)
            return sock if context is None else context.wrap_socket(sock)
        except OSError:
            sock.close()
            raise


def in_order(found: Sequence[WorkerAddress], node: str, turn: int) -> list[WorkerAddress]:
    """Return workers in the order to try them: those on `node` first, each group from `turn` on.

    Clients with different turns spread over the workers.
    """
    near = [worker for worker in found if worker.node == node]
    far = [worker for worker in found if worker.node != node]
    return [*_rotated(near, turn), *_rotated(far, turn)]


def _rotated(found: list[WorkerAddress], turn: int) -> list[WorkerAddress]:
    at = turn % len(found) if found else 0
    return found[at:] + found[:at]
