"""The calls of a client that store and fetch plain bytes: files, pickles, whatever is no array."""

from __future__ import annotations

import io

from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.replies import ReplyReader
from hpcorch.client.session import Session, poll
from hpcorch.errors import InputTypeError


class ByteCalls(Session):
    """Bytes under names, which take the same prefixes as those of tensors."""

    def put_bytes(self, name: str, data: io.BytesIO | bytes | bytearray | memoryview) -> None:
        """Store all of `data` under `name`, wherever a BytesIO stands; an older value is replaced.

        Raises InputTypeError for what is no bytes, RedisBadAllocError when the server has no room,
        and what all commands raise.
        """
        key = self._keys.to_write("tensor", name)
        with _memory(data) as view:
            arguments = (b"SET", key, (view,))
            self._router.run(key, lambda link: link.bulk(arguments, ReplyReader.value))

    def get_bytes(self, name: str) -> io.BytesIO:
        """Return the bytes under `name`. Raises RedisRuntimeError when there are none."""
        key = self._keys.to_read("tensor", name)
        found = self._router.run(key, lambda link: link.bulk((b"GET", key), _read))
        if found is None:
            raise RedisRuntimeError(f"there are no bytes {name!r} in the database {self._place}")
        return found

    def delete_bytes(self, name: str) -> None:
        """Remove the bytes under `name`; nothing happens when there are none."""
        self._command(b"UNLINK", self._keys.to_read("tensor", name))

    def bytes_exists(self, name: str) -> bool:
        """Tell whether there is something under `name`."""
        return self._command(b"EXISTS", self._keys.to_read("tensor", name)) > 0

    def poll_bytes(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """As poll_key, for the bytes `name`."""
        self._keys.to_read("tensor", name)
        return poll(lambda: self.bytes_exists(name), poll_frequency_ms, num_tries)


def _memory(data: object) -> memoryview:
    """Return the memory of `data` as bytes, without a copy."""
    if isinstance(data, io.BytesIO):
        return data.getbuffer()
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputTypeError(f"data must be a BytesIO or bytes, not {type(data).__name__}")
    view = memoryview(data)
    if not view.c_contiguous:
        raise InputTypeError("data is a memoryview with gaps: it must be contiguous")
    return view.cast("B")


def _read(reply: ReplyReader) -> io.BytesIO | None:
    size = reply.bulk_size()
    if size is None:
        return None
    found = io.BytesIO()
    if size:
        # Writing the last byte makes room for all of them at once.
        found.seek(size - 1)
        found.write(b"\0")
        found.seek(0)
    with found.getbuffer() as view:
        reply.into(view)
    reply.end_of_bulk()
    return found
