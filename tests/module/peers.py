"""Connections on which commands are sent now and answered later: callers, and workers by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tests.module.conftest import ModuleServer


class Peer:
    """A client that sends a command now and reads the answer later."""

    def __init__(self, server: ModuleServer) -> None:
        library: Any = redis
        self._connection = library.UnixDomainSocketConnection(path=server.socket, socket_timeout=60)
        self._connection.connect()

    def send(self, *words: Any) -> None:
        self._connection.send_command(*words)

    def read(self) -> Any:
        return self._connection.read_response()

    def ask(self, *words: Any) -> Any:
        self.send(*words)
        return self.read()

    def refused(self) -> str:
        """Return the error that is the answer."""
        with pytest.raises(redis.ResponseError) as caught:
            self.read()
        return str(caught.value)

    def failed(self) -> Exception:
        """Return the exception that the answer, an error of any kind, becomes."""
        with pytest.raises(redis.RedisError) as caught:
            self.read()
        return caught.value

    def close(self) -> None:
        self._connection.disconnect()


@contextmanager
def peers(server: ModuleServer, number: int) -> Iterator[list[Peer]]:
    made = [Peer(server) for _ in range(number)]
    try:
        yield made
    finally:
        for one in made:
            one.close()
