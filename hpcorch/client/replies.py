"""Replies on a Redis connection, large values without a copy in Python.

They are received straight into the memory they are meant for (`recv_into`, `recvmsg_into`).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

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

from hpcorch.client.errors import RedisReplyError

T = TypeVar("T")

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

# What a server says instead of a value; it has answered in full then.
ERROR_REPLIES = (ResponseError, BusyLoadingError, AuthenticationError)

# Large enough for a small array with its headers: it then takes one system call.
_SCRATCH_BYTES = 128 * 1024
_LINE_END_BYTES = 2
# From this size on, one more buffer in a system call costs less than a copy.
_SCATTERED_BYTES = 8 * 1024
# Bounds on what a reply may announce; a 64-bit number has 19 digits.
_LONGEST_NUMBER = 20
_DEEPEST = 16
_MOST_AHEAD = 1024 * 1024
# How long to look for bytes before sleeping, and how many looks to leave out after a vain one.
_SOON_SECONDS = 1e-4
_LEAST_LEFT_OUT = 8
_MOST_LEFT_OUT = 250


class ReplyReader:
    """Reads replies from a socket: headers through a small buffer, large values directly.

    Every method raises ConnectionError when the server closes, OSError on other trouble and
    InvalidResponse for bytes that are no reply; the connection is out of step after these.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._view = memoryview(self._scratch)
        self._start = 0
        self._end = 0
        # What is left of the current bulk string, and the replies still owed, counted from any
        # point: an array owes as many as it has elements.
        self._rest = 0
        self._owed = 0
        # A TLS socket knows neither flags nor several buffers.
        self._scatters = not isinstance(sock, ssl.SSLSocket)
        # How many looks are to be left out, and have been (see _received_soon).
        self._leave_out = 0
        self._left_out = 0

    def one(self, read: Callable[[ReplyReader], T]) -> T:
        """Return what `read` makes of the next reply.

        When `read` raises a server's error or a RedisReplyError, what it left unread of this reply
        is skipped, so that the next one can be read.
        """
        after = self._owed - 1
        try:
            return read(self)
        except (*ERROR_REPLIES, RedisReplyError):
            self._skip(after)
            raise

    def begins_with(self, start: bytes, size: int, more: int = 0) -> bool:
        """Take `start` if that is what has arrived of the next reply, and tell whether it is.

        `start` is all of it up to the contents of a string, `size` bytes; `more` values follow.
        """
        if self._start == self._end:
            self._receive_more()
        if not self._scratch.startswith(start, self._start, self._end):
            return False
        self._start += len(start)
        self._owed += more - 1
        self._rest = size + 2
        return True

    def brings(self, start: bytes, target: memoryview) -> bool:
        """As `begins_with`, for a string that fills `target`: it is received there at once.

        When that is not what comes, `target` has undefined contents and nothing is taken.
        """
        if self._start != self._end or not self._scatters:
            if not self.begins_with(start, len(target)):
                return False
            self.into(target)
            return True
        length = len(start)
        # All of it must have room in the scratch buffer, should it be something else.
        first = target[: _SCRATCH_BYTES - length - _LINE_END_BYTES]
        parts = [self._view[:length], first]
        if len(first) == len(target):
            parts.append(self._view[length : length + _LINE_END_BYTES])
        size = self._received(self._sock.recvmsg_into, parts)
        if size < length or not self._scratch.startswith(start):
            self._collect(length, first, size)
            return False
        self._owed -= 1
        done = min(size - length, len(first))
        self._rest = len(target) - done + 2
        self._start, self._end = length, size - done
        if done < len(target):
            self.into(target[done:])
        return True

    def _collect(self, length: int, first: memoryview, size: int) -> None:
        """Put together in the scratch buffer what `brings` has spread."""
        self._start, self._end = 0, size
        spread = min(max(size - length, 0), len(first))
        end = bytes(self._view[length : length + _LINE_END_BYTES])
        self._view[length : length + spread] = first[:spread]
        self._view[length + spread : length + spread + len(end)] = end

    def line(self) -> bytes:
        """Return the next line without its CRLF."""
        while True:
            at = self._scratch.find(b"\r\n", self._start, self._end)
            if at >= 0:
                found = bytes(self._view[self._start : at])
                self._start = at + 2
                return found
            self._receive_more()

    def array_size(self) -> int | None:
        """Read the header of an array; return its number of elements, None for a null reply.

        Raises the redis-py exception that stands for an error reply.
        """
        return self._size(b"*")

    def bulk_size(self) -> int | None:
        """Read the header of a bulk string; return its length in bytes, None for a null reply.

        Raises the redis-py exception that stands for an error reply.
        """
        return self._size(b"$")

    def arrived(self, size: int) -> memoryview | None:
        """Return the next `size` bytes of a bulk string if they are here, else None.

        They are only valid until something else is read.
        """
        end = self._start + size
        if end > self._end:
            return None
        there = self._view[self._start : end]
        self._start = end
        self._rest -= size
        return there

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes of a bulk string; for headers, not for large values."""
        there = self.arrived(size)
        if there is not None:
            return bytes(there)
        found = bytearray()
        while len(found) < size:
            # Memory is taken as the bytes arrive, whatever the server has announced.
            part = bytearray(min(size - len(found), _MOST_AHEAD))
            self.into(memoryview(part))
            found += part
        return bytes(found)

    def into(self, target: memoryview) -> None:
        """Fill `target` (of bytes) with what comes next in a bulk string."""
        size = len(target)
        self._rest -= size
        done = min(size, self._end - self._start)
        target[:done] = self._view[self._start : self._start + done]
        self._start += done
        while done < size:
            rest = size - done
            if self._scatters and rest >= _SCATTERED_BYTES:
                # With what follows it, which saves a system call.
                part = self._received(self._sock.recvmsg_into, [target[done:], self._view])
                self._start, self._end = 0, max(part - rest, 0)
                part -= self._end
            elif rest < _SCRATCH_BYTES // 2:
                self._receive_more()
                part = min(rest, self._end - self._start)
                target[done : done + part] = self._view[self._start : self._start + part]
                self._start += part
            else:
                part = self._received(self._sock.recv_into, target[done:])
            done += part

    def end_of_bulk(self) -> None:
        """Read the line end that follows a bulk string."""
        while self._end - self._start < 2:
            self._receive_more()
        if self._scratch[self._start : self._start + 2] != b"\r\n":
            raise InvalidResponse("a value is longer than the server announced")
        self._start += 2
        self._rest = 0

    def value(self) -> Any:
        """Return a whole reply: bytes, int, None or a list of those; for small replies.

        Raises as `bulk_size` does for an error reply; errors inside a list are left in it.
        """
        # What most commands that store something say.
        if self._start == self._end:
            self._receive_more()
        if self._scratch.startswith(b"+OK\r\n", self._start, self._end):
            self._start += 5
            self._owed -= 1
            return b"OK"
        found = self._element(_DEEPEST)
        if isinstance(found, Exception):
            raise found
        return found

    def error(self, header: bytes) -> Exception:
        """Return the exception for a reply that was not expected, an error reply among them."""
        text = header.decode("utf-8", "replace")
        return error_of(text[1:]) if text.startswith("-") else InvalidResponse(text[:80])

    def _size(self, kind: bytes) -> int | None:
        header = self.line()
        self._owed -= 1
        if header[:1] != kind:
            raise self.error(header)
        return None if header[1:] == b"-1" else self._number(header, kind)

    def _number(self, header: bytes, kind: bytes) -> int:
        """Return the length in `header`, and expect that much to follow."""
        # isdigit refuses signs and blanks, which int() would allow.
        if not header[1:].isdigit() or len(header) > _LONGEST_NUMBER:
            raise self.error(header)
        number = int(header[1:])
        if kind == b"$":
            # The line end belongs to the string.
            self._rest = number + 2
        else:
            self._owed += number
        return number

    def _element(self, depth: int) -> Any:
        header = self.line()
        self._owed -= 1
        kind, rest = header[:1], header[1:]
        if kind == b"+":
            return rest
        if kind == b":" and len(header) <= _LONGEST_NUMBER and rest.removeprefix(b"-").isdigit():
            return int(rest)
        if kind not in (b"$", b"*"):
            unknown = self.error(header)
            if isinstance(unknown, InvalidResponse):
                raise unknown
            return unknown
        if rest == b"-1":
            return None
        number = self._number(header, kind)
        if kind == b"*":
            if depth == 0:
                raise InvalidResponse("a reply is nested more deeply than any that a server sends")
            return [self._element(depth - 1) for _ in range(number)]
        found = self.exactly(number)
        self.end_of_bulk()
        return found

    def _skip(self, owed: int) -> None:
        """Read on, without keeping anything, until only `owed` replies are owed."""
        while self._rest or self._owed > owed:
            if not self._rest:
                header = self.line()
                self._owed -= 1
                if header[:1] in (b"$", b"*") and header[1:] != b"-1":
                    self._number(header, header[:1])
                continue
            if self._start == self._end:
                self._receive_more()
            part = min(self._rest, self._end - self._start)
            self._start += part
            self._rest -= part

    def _receive_more(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._scratch):
            if self._start == 0:
                raise InvalidResponse("a reply line is longer than any that a server sends")
            rest = bytes(self._view[self._start : self._end])
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        self._end += self._received(self._sock.recv_into, self._view[self._end :])

    def _received(self, receive: Callable[..., Any], target: object) -> int:
        """Return how many bytes `receive`, a method of the socket, has put into `target`."""
        try:
            got = self._received_soon(receive, target) if self._scatters else 0
            got = got or receive(target)
        except BlockingIOError as error:
            raise TimeoutError("timed out: the server sends nothing") from error
        size: int = got if isinstance(got, int) else got[0]
        if size == 0:
            raise ConnectionError("the server closed the connection")
        return size

    def _received_soon(self, receive: Callable[..., Any], target: object) -> Any:
        """Look for bytes for a short while, since to sleep and wake takes longer; 0 without any.

        A server that is far, busy or on our own CPU makes that vain. The next looks are then left
        out, twice as many after each vain one.
        """
        if self._left_out < self._leave_out:
            self._left_out += 1
            return 0
        end = 0.0
        while True:
            try:
                got = receive(target, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                now = time.perf_counter()
                end = end or now + _SOON_SECONDS
                if now < end:
                    continue
                self._left_out = 0
                self._leave_out = min(2 * self._leave_out + _LEAST_LEFT_OUT, _MOST_LEFT_OUT)
                return 0
            if end:
                self._leave_out = 0
            return got


def error_of(text: str) -> Exception:
    """Return the redis-py exception for an error reply (`text` without the leading `-`)."""
    word, _, rest = text.partition(" ")
    if word not in _ERRORS:
        return ResponseError(text)
    try:
        return _ERRORS[word](rest)
    except ValueError:
        # A redirection without a slot and an address.
        return InvalidResponse(text[:80])
