"""Commands on a Redis connection, sent from the memory of the arrays themselves (`sendmsg`).

Connecting, AUTH and TLS are redis-py's; hpcorch.client.replies reads what is answered.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Buffer: TypeAlias = bytes | memoryview
# One argument of a command: bytes, or several buffers that make one string together.
Argument: TypeAlias = bytes | Sequence[Buffer]
# The name and the arguments of a command, or what `pack` has made of a small one.
Command: TypeAlias = Sequence[Argument] | bytes

# Up to this size one copy costs less than one more buffer in a system call.
_COPIED_BYTES = 8 * 1024
# Well below the least IOV_MAX of POSIX systems that matter (1024), and as fast.
_MOST_BUFFERS = 64
_TLS_RECORD_BYTES = 16 * 1024


def pack(commands: Iterable[Command]) -> list[Buffer]:
    """Return the buffers that make up `commands`; those of large arguments are not copied."""
    pieces: list[Buffer] = []
    text: list[Buffer] = []
    for arguments in commands:
        if isinstance(arguments, bytes):
            text.append(arguments)
            continue
        text.append(b"*%d\r\n" % len(arguments))
        for argument in arguments:
            if isinstance(argument, bytes) and len(argument) <= _COPIED_BYTES:
                text.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
                continue
            parts = (argument,) if isinstance(argument, bytes) else argument
            size = sum(map(len, parts))
            text.append(b"$%d\r\n" % size)
            if size > _COPIED_BYTES:
                pieces += [b"".join(text), *parts]
                text = []
            else:
                text += parts
            text.append(b"\r\n")
    return [*pieces, b"".join(text)]


def set_timeout(sock: socket.socket, seconds: float) -> None:
    """Give up sending and receiving after `seconds` without a single byte."""
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(seconds)
        return
    # Python's own time-out costs one more system call each time.
    sock.settimeout(None)
    limit = struct.pack("ll", int(seconds), max(1, int(seconds % 1 * 1e6)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def send(sock: socket.socket, pieces: Sequence[Buffer]) -> None:
    """Send all of `pieces` in order, whatever their number and size.

    `memoryview`s must be of bytes. Raises OSError; TimeoutError when not one byte could be sent
    within the socket's timeout.
    """
    try:
        if len(pieces) == 1:
            sock.sendall(pieces[0])
        elif isinstance(sock, ssl.SSLSocket):
            _send_by_tls(sock, pieces)
        else:
            _send_many(sock, pieces)
    except BlockingIOError as error:
        raise TimeoutError("timed out: the server takes no more bytes") from error


def _send_by_tls(sock: ssl.SSLSocket, pieces: Sequence[Buffer]) -> None:
    # A TLS socket has no sendmsg; small pieces share one record.
    small = sum(map(len, pieces)) < _TLS_RECORD_BYTES
    for piece in [b"".join(pieces)] if small else pieces:
        sock.sendall(piece)


def _send_many(sock: socket.socket, pieces: Sequence[Buffer]) -> None:
    waiting = list(pieces)
    first = 0
    while first < len(waiting):
        sent = sock.sendmsg(waiting[first : first + _MOST_BUFFERS])
        while first < len(waiting) and sent >= len(waiting[first]):
            sent -= len(waiting[first])
            first += 1
        if sent:
            waiting[first] = memoryview(waiting[first])[sent:]
