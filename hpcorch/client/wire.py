"""Large values on a Redis connection without a copy in Python.

Commands are sent from the memory of the arrays themselves (`sendmsg`) and replies are received
straight into the memory they are meant for (`recv_into`). Connecting, AUTH and TLS are redis-py's.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    OutOfMemoryError,
    ResponseError,
    TryAgainError,
)

Buffer: TypeAlias = bytes | memoryview
# One argument of a command: bytes, or several buffers that make one string together.
Argument: TypeAlias = bytes | Sequence[Buffer]

# Error replies that call for more than being passed on; redis-py's own table differs by version.
_ERRORS: dict[str, Callable[[str], Exception]] = {
    "ASK": AskError,
    "CLUSTERDOWN": ClusterDownError,
    "LOADING": BusyLoadingError,
    "MASTERDOWN": MasterDownError,
    "MOVED": MovedError,
    "NOAUTH": AuthenticationError,
    "OOM": OutOfMemoryError,
    "TRYAGAIN": TryAgainError,
}

# Well below the least IOV_MAX of POSIX systems that matter (1024), and as fast.
_MOST_BUFFERS = 64
# Large enough for a small array with its headers: it then takes one system call.
_SCRATCH_BYTES = 128 * 1024
_TLS_RECORD_BYTES = 16 * 1024


def pack(arguments: Sequence[Argument]) -> list[Buffer]:
    """Return the buffers that make up a command; those of large arguments are not copied."""
    pieces: list[Buffer] = []
    text = bytearray(b"*%d\r\n" % len(arguments))
    for argument in arguments:
        if isinstance(argument, bytes):
            text += b"$%d\r\n%b\r\n" % (len(argument), argument)
            continue
        text += b"$%d\r\n" % sum(len(part) for part in argument)
        pieces += [bytes(text), *argument]
        text = bytearray(b"\r\n")
    return [*pieces, bytes(text)]


def send(sock: socket.socket, pieces: Sequence[Buffer]) -> None:
    """Send all of `pieces` in order, whatever their number and size.

    `memoryview`s must be of bytes. Raises OSError; TimeoutError when not one byte could be sent
    within the socket's timeout.
    """
    if isinstance(sock, ssl.SSLSocket):
        # A TLS socket has no sendmsg; small pieces share one record.
        small = sum(len(piece) for piece in pieces) < _TLS_RECORD_BYTES
        for piece in [b"".join(pieces)] if small else pieces:
            sock.sendall(piece)
        return
    # An empty buffer would look like one that was not sent.
    waiting = [piece for piece in pieces if len(piece)]
    first = 0
    while first < len(waiting):
        sent = sock.sendmsg(waiting[first : first + _MOST_BUFFERS])
        while first < len(waiting) and sent >= len(waiting[first]):
            sent -= len(waiting[first])
            first += 1
        if sent:
            waiting[first] = memoryview(waiting[first])[sent:]


class ReplyReader:
    """Reads replies from a socket: headers through a small buffer, large values directly.

    Every method raises ConnectionError when the server closes, OSError on other trouble.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._view = memoryview(self._scratch)
        self._start = 0
        self._end = 0

    def line(self) -> bytes:
        """Return the next line without its CRLF."""
        while True:
            at = self._scratch.find(b"\r\n", self._start, self._end)
            if at >= 0:
                found = bytes(self._view[self._start : at])
                self._start = at + 2
                return found
            self._receive_more()

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes; for headers, not for large values."""
        found = bytearray(size)
        self.into(memoryview(found))
        return bytes(found)

    def into(self, target: memoryview) -> None:
        """Fill `target` (of bytes) with what comes next."""
        size = len(target)
        done = min(size, self._end - self._start)
        target[:done] = self._view[self._start : self._start + done]
        self._start += done
        while done < size:
            # A short rest is read with the line end after it, which saves a system call.
            if size - done < len(self._scratch) // 2:
                self._receive_more()
                part = min(size - done, self._end - self._start)
                target[done : done + part] = self._view[self._start : self._start + part]
                self._start += part
            else:
                part = self._received(target[done:])
            done += part

    def bulk_size(self) -> int | None:
        """Read the header of a bulk string; return its length in bytes, None for a null reply.

        Raises the redis-py exception that stands for an error reply.
        """
        header = self.line()
        if header == b"$-1":
            return None
        if header.startswith(b"$") and header[1:].isdigit():
            return int(header[1:])
        raise self.error(header)

    def end_of_bulk(self) -> None:
        """Read the line end that follows a bulk string."""
        if self.exactly(2) != b"\r\n":
            raise InvalidResponse("a value is longer than the server announced")

    def value(self) -> Any:
        """Return a whole reply: bytes, int, None or a list of those; for small replies.

        Raises as `bulk_size` does for an error reply; errors inside a list are left in it.
        """
        found = self._element()
        if isinstance(found, Exception):
            raise found
        return found

    def error(self, header: bytes) -> Exception:
        """Return the exception for a reply that was not expected, an error reply among them."""
        text = header.decode("utf-8", "replace")
        return error_of(text[1:]) if text.startswith("-") else InvalidResponse(text[:80])

    def _element(self) -> Any:
        header = self.line()
        kind, rest = header[:1], header[1:]
        if kind == b"+":
            return rest
        if kind not in (b":", b"$", b"*") or not rest.removeprefix(b"-").isdigit():
            return self.error(header)
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"*":
            return [self._element() for _ in range(number)]
        found = self.exactly(number)
        self.end_of_bulk()
        return found

    def _receive_more(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._scratch):
            if self._start == 0:
                raise InvalidResponse("a reply line is longer than any that a server sends")
            rest = bytes(self._view[self._start : self._end])
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        self._end += self._received(self._view[self._end :])

    def _received(self, target: memoryview) -> int:
        size = self._sock.recv_into(target)
        if size == 0:
            raise ConnectionError("the server closed the connection")
        return size


def error_of(text: str) -> Exception:
    """Return the redis-py exception for an error reply (`text` without the leading `-`)."""
    word, _, rest = text.partition(" ")
    if word in _ERRORS:
        return _ERRORS[word](rest)
    return ResponseError(text)
