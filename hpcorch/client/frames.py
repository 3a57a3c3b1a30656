"""What a client and a model worker say to each other: frames of a JSON header and array memory.

A frame is `hpm1`, the header's length (4 bytes) and the body's length (8 bytes, both big-endian),
the header, then the memory of the arrays one after the other in C order. Nothing in it is code, and
every length is held against a limit before memory is taken.
"""

from __future__ import annotations

import json
import math
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.ma import MaskedArray

from hpcorch.client import wire
from hpcorch.client.codecs import Tensor, bytes_of
from hpcorch.errors import HpcorchError, InputTypeError

MAGIC = b"hpm1"
PREFIX = struct.Struct("!4sIQ")
# Room for thousands of key names.
LONGEST_HEADER = 1 << 20
MOST_ARRAYS = 4096
MOST_DIMENSIONS = 32
_MOST_BYTES = 2**63
# Truth values, integers, floats and complex numbers of any size and byte order.
KINDS = "biufc"
# A program uses few shapes; one that uses many starts over rather than growing.
_MOST_REMEMBERED = 512
_LONGEST_REMEMBERED = 4096
_SKIP_BYTES = 1 << 20
# Large enough for a small array with its header: it then takes one system call.
_SCRATCH_BYTES = 64 * 1024
# Well below the least IOV_MAX of POSIX systems that matter.
_FEW = 64
# struct timeval: seconds and microseconds.
_TIMEVAL = struct.Struct("ll")


class FrameError(HpcorchError):
    """Bytes that are no frame, or one beyond the limits: the connection is of no more use."""


@dataclass(frozen=True)
class Layout:
    """What one array in a frame's body is: `size` in bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int


class Header(Protocol):
    """A header says what is in the body."""

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The arrays of the body, in order."""


H = TypeVar("H", bound=Header)


def read_layouts(found: object) -> tuple[Layout, ...]:
    """Return the layouts that a header's `arrays` field describes; raises FrameError."""
    if not isinstance(found, list) or len(found) > MOST_ARRAYS:
        raise FrameError("the header of a frame has no list of arrays")
    return tuple(_layout(item) for item in found)


def _layout(item: object) -> Layout:
    if not isinstance(item, list) or len(item) != 2:
        raise FrameError("an array in the header of a frame is not [dtype, shape]")
    kind, shape = item
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise FrameError("an array in the header of a frame has no shape")
    dtype = _dtype(kind)
    if not all(type(length) is int and length >= 0 for length in shape) or (
        # NumPy counts an empty array's other lengths too.
        math.prod(length or 1 for length in shape) * dtype.itemsize >= _MOST_BYTES
    ):
        raise FrameError("an array in the header of a frame has an impossible shape")
    return Layout(dtype, tuple(shape), math.prod(shape) * dtype.itemsize)


def _dtype(text: object) -> np.dtype[Any]:
    # Only what `dtype.str` of an allowed array looks like reaches numpy, which accepts much more.
    if isinstance(text, str) and len(text) <= 4 and text[:1] in "<>|" and text[1:2] in KINDS:
        try:
            return np.dtype(text)
        except TypeError:
            pass
    raise FrameError(f"an array in the header of a frame has the dtype {text!r}, which is unknown")


def describe(arrays: Sequence[Tensor]) -> list[list[Any]]:
    """Return the `arrays` field of a header."""
    return [[array.dtype.str, list(array.shape)] for array in arrays]


def sendable(array: object, what: str, index: int) -> Tensor:
    """Return `array` in C order, copied only if it is not.

    Raises InputTypeError, which calls it `what` number `index`.
    """
    if not isinstance(array, np.ndarray):
        raise InputTypeError(f"{what} {index} must be a numpy array, not {type(array).__name__}")
    if array.dtype.kind not in KINDS:
        raise InputTypeError(
            f"{what} {index} has the dtype {array.dtype}: models take truth values and numbers only"
        )
    if isinstance(array, MaskedArray):
        raise InputTypeError(f"{what} {index} is a masked array, whose mask would be lost")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def head(header: bytes, arrays: Sequence[Tensor]) -> bytes:
    """Return everything of a frame but the arrays' memory; it serves all arrays of one layout."""
    size = sum(array.nbytes for array in arrays)
    return PREFIX.pack(MAGIC, len(header), size) + header


def pack(start: bytes, arrays: Sequence[Tensor]) -> list[wire.Buffer]:
    """Return the buffers of a frame that begins with `start`; arrays' memory is not copied."""
    return [start, *map(bytes_of, arrays)]


class Parser(Generic[H]):
    """Turns header bytes into what they mean, and remembers the short ones."""

    def __init__(self, parse: Callable[[dict[str, Any]], H]) -> None:
        self._parse = parse
        self._known: dict[bytes, H] = {}
        # How the last short frame began, what that means, and its size: mostly the next is alike.
        self.last: tuple[bytes, H, int] | None = None

    def __call__(self, header: bytes) -> H:
        """Return what `header` means; raises FrameError."""
        found = self._known.get(header)
        if found is None:
            found = self._parse(_object(header))
            if len(header) <= _LONGEST_REMEMBERED:
                if len(self._known) >= _MOST_REMEMBERED:
                    self._known.clear()
                self._known[header] = found
        return found


def _object(header: bytes) -> dict[str, Any]:
    try:
        found = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise FrameError("the header of a frame is not JSON") from error
    if not isinstance(found, dict):
        raise FrameError("the header of a frame is no JSON object")
    return found


class Source(Protocol):
    """Where a frame's bytes come from: a socket (Stream), or memory (model_queue.Bytes)."""

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""

    def into(self, target: memoryview) -> None:
        """Fill `target`."""


def admit_all(_: int) -> None:
    """Admit arrays of any size: for what comes from a worker, whom a client trusts."""


def read(
    source: Source, parse: Callable[[bytes], H], admit: Callable[[int], None] = admit_all
) -> tuple[H, list[Tensor]]:
    """Read one frame; `admit` gets the bytes of its arrays before memory is taken for them.

    Raises FrameError, or what reading from `source` raises. What `admit` raises comes when the
    arrays have been skipped, so that the next frame can be read.
    """
    magic, length, size = PREFIX.unpack(source.exactly(PREFIX.size))
    if magic != MAGIC:
        raise FrameError("what arrived is no frame of a model worker")
    if length > LONGEST_HEADER:
        raise FrameError(f"the header of a frame is {length} bytes long, above {LONGEST_HEADER}")
    header = parse(source.exactly(length))
    _check_size(header, size)
    try:
        admit(size)
    except HpcorchError:
        _skip(source, size)
        raise
    return header, [_filled(source, layout) for layout in header.layouts]


def _check_size(header: Header, size: int) -> None:
    for layout in header.layouts:
        size -= layout.size
    if size:
        raise FrameError("the arrays of a frame do not fit its size")


def _filled(source: Source, layout: Layout) -> Tensor:
    memory = np.empty(layout.size, np.uint8)
    if layout.size:
        # NumPy's types do not say that arrays are buffers before Python 3.12.
        source.into(memoryview(memory))  # type: ignore[arg-type]
    array: Tensor = memory.view(layout.dtype).reshape(layout.shape)
    return array


def _skip(source: Source, size: int) -> None:
    waste = memoryview(bytearray(min(size, _SKIP_BYTES)))
    while size > 0:
        source.into(waste[: min(size, len(waste))])
        size -= len(waste)


class Stream:
    """Frames over a connected socket, one at a time in each direction.

    Every method raises OSError when the other side has gone or nothing came in time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._view = memoryview(self._scratch)
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._start = 0
        self._end = 0
        self._seconds: float | None = -1.0

    def send_bytes(self, data: bytes) -> None:
        """Send plain bytes: for what comes before the first frame."""
        self._sock.sendall(data)

    def send(self, start: bytes, arrays: Sequence[Tensor]) -> None:
        """Send the frame that begins with `start` (see `head`)."""
        size = len(start)
        for array in arrays:
            size += array.nbytes
        try:
            if size > _SCRATCH_BYTES or len(arrays) > _FEW or self._tls:
                wire.send(self._sock, pack(start, arrays))
            else:
                pieces: list[Any] = [start, *arrays]
                sent = self._sock.sendmsg(pieces)
                if sent < size:
                    self._sock.sendall(b"".join(pack(start, arrays))[sent:])
        except BlockingIOError as error:
            raise TimeoutError("nothing could be sent in time") from error

    def read(
        self, parse: Parser[H], admit: Callable[[int], None] = admit_all
    ) -> tuple[H, list[Tensor]]:
        """Read one frame; raises what `frames.read` raises."""
        # A frame that has arrived at once needs no further memory.
        if self._start == self._end:
            self._start, self._end = 0, self._received(self._view)
        last = parse.last
        if last is None or not self._scratch.startswith(last[0], self._start, self._end):
            last = self._begun(parse)
        if last is None or self._start + last[2] > self._end:
            return read(self, parse, admit)
        start, header, size = last
        at = self._start + len(start)
        self._start += size
        arrays = []
        for layout in header.layouts:
            there: Tensor = np.ndarray(layout.shape, layout.dtype, self._scratch, at)
            arrays.append(there.copy())
            at += layout.size
        return header, arrays

    def _begun(self, parse: Parser[H]) -> tuple[bytes, H, int] | None:
        """Return how the frame begins that has arrived, what that means and the frame's size."""
        if self._end - self._start < PREFIX.size:
            return None
        magic, length, size = PREFIX.unpack_from(self._scratch, self._start)
        whole = PREFIX.size + length
        if magic != MAGIC or self._start + whole > self._end:
            return None
        start = bytes(self._view[self._start : self._start + whole])
        header = parse(start[PREFIX.size :])
        _check_size(header, size)
        parse.last = start, header, whole + size
        return parse.last

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        if self._end - self._start < size:
            found = bytearray(size)
            self.into(memoryview(found))
            return bytes(found)
        start = self._start
        self._start = start + size
        return bytes(self._view[start : start + size])

    def into(self, target: memoryview) -> None:
        """Fill `target` (of bytes)."""
        done, size = 0, len(target)
        while done < size:
            there = self._end - self._start
            # What is large is received where it belongs; what is small comes with what follows it.
            if not there and size - done >= _SCRATCH_BYTES // 2:
                done += self._received(target[done:])
                continue
            if not there:
                self._start, self._end = 0, self._received(self._view)
                there = self._end
            part = min(there, size - done)
            target[done : done + part] = self._view[self._start : self._start + part]
            self._start += part
            done += part

    def set_timeout(self, seconds: float | None) -> None:
        """Limit the time without a single byte; None waits for ever."""
        if seconds == self._seconds:
            return
        self._seconds = seconds
        if self._tls:
            self._sock.settimeout(seconds)
            return
        # The kernel keeps the time: Python's own way is a further system call for every other one.
        self._sock.settimeout(None)
        limit = _TIMEVAL.pack(*_split(seconds or 0))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        with suppress(OSError):
            # A thread that waits in recv is only woken by a shutdown.
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _received(self, target: memoryview) -> int:
        try:
            size = self._sock.recv_into(target)
        except BlockingIOError as error:
            raise TimeoutError("nothing came in time") from error
        if size == 0:
            raise ConnectionError("the other side closed the connection")
        return size


def _split(seconds: float) -> tuple[int, int]:
    return int(seconds), int(seconds % 1 * 1e6)
