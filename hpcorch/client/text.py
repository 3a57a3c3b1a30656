"""Between text and the bytes of names and strings in the database, which are UTF-8.

Bytes that are not UTF-8, as programs in other languages may write, survive a round trip.
"""

from __future__ import annotations

from hpcorch.errors import InputError

_BAD_BYTES = "surrogateescape"


def to_bytes(text: str) -> bytes:
    """Return `text` in UTF-8. Raises InputError for characters that UTF-8 does not have."""
    try:
        return text.encode("utf-8", _BAD_BYTES)
    except UnicodeEncodeError as error:
        raise InputError(f"{text!r} cannot be stored: {error.reason}") from error


def to_text(raw: bytes) -> str:
    """Return the text that `raw` stands for."""
    return raw.decode("utf-8", _BAD_BYTES)
