"""From the names that programs use to the keys in the database, as SmartRedis builds them.

A tensor, a model and a list have the key `[prefix.]name`, a dataset `[prefix.]{name}`, to which
`.meta` and the like are appended: the braces keep all its keys on one shard of a cluster. Each kind
has a switch for its prefix; that for models starts off, the others on.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from hpcorch.client.config import ConfigOptions
from hpcorch.client.errors import RedisInputError, RedisInternalError, RedisRuntimeError
from hpcorch.client.text import to_bytes, to_text
from hpcorch.errors import InputError, InputTypeError

Kind: TypeAlias = Literal["tensor", "dataset", "list", "model"]


class Keys:
    """The prefixes of one client: SSKEYOUT for what it writes, one of SSKEYIN for what it reads.

    SSKEYIN is a comma-separated list whose first entry holds until `choose_source` names another.
    """

    def __init__(self, options: ConfigOptions) -> None:
        self._sources = _option(options, "SSKEYIN").split(",")
        self._source = _prefix(self._sources[0])
        self._target = _prefix(_option(options, "SSKEYOUT"))
        self._prefixed: dict[Kind, bool] = {
            "tensor": True,
            "dataset": True,
            "list": True,
            "model": False,
        }

    def choose_source(self, source: str) -> None:
        """Read with the prefix `source` from now on. Raises RedisRuntimeError if not in SSKEYIN."""
        if not isinstance(source, str):
            raise InputTypeError(f"source_id must be a string, not {type(source).__name__}")
        if not source or source not in self._sources:
            known = ", ".join(repr(one) for one in self._sources if one) or "none"
            raise RedisRuntimeError(f"there is no data source {source!r}; SSKEYIN names {known}")
        self._source = _prefix(source)

    def use_prefix(self, kind: Kind, wanted: bool) -> None:
        """Switch the prefix of this kind of names on or off."""
        if not isinstance(wanted, bool):
            raise InputTypeError(f"use_prefix must be True or False, not {type(wanted).__name__}")
        self._prefixed[kind] = wanted

    def to_read(self, kind: Kind, name: str) -> bytes:
        """Return the key under which `name` is looked for, checked or removed."""
        key = encoded(name)
        if kind != "dataset" and not self._source:
            return key
        return self._key(kind, key, self._source)

    def to_write(self, kind: Kind, name: str) -> bytes:
        """Return the key under which `name` is stored. Raises RedisInputError without a name."""
        key = encoded(name)
        if not key:
            raise RedisInputError(f"the name of a {kind} must not be empty")
        if kind != "dataset" and not self._target:
            return key
        return self._key(kind, key, self._target)

    def _key(self, kind: Kind, key: bytes, prefix: bytes) -> bytes:
        if kind == "dataset":
            key = b"{%b}" % _taggable(key)
        return prefix + key if prefix and self._prefixed[kind] else key


def encoded(name: str) -> bytes:
    """Return a name as bytes. Raises InputTypeError unless it is a string."""
    if not isinstance(name, str):
        raise InputTypeError(f"a name must be a string, not {type(name).__name__}")
    # This is on the way of every call, and most names are plain.
    return name.encode() if name.isascii() else to_bytes(name)


def dataset_of_entry(entry: bytes) -> str:
    """Return the name of the dataset that an entry of an aggregation list points to."""
    start, end = entry.find(b"{"), entry.rfind(b"}")
    if not 0 <= start < end:
        raise RedisInternalError(f"the list holds {entry!r}, which names no dataset")
    return to_text(entry[start + 1 : end])


def _taggable(name: bytes) -> bytes:
    # With an empty tag a cluster would spread the keys of one dataset over its shards.
    if not name or name.startswith(b"}"):
        raise InputError("the name of a dataset must not be empty or begin with '}'")
    return name


def _prefix(name: str) -> bytes:
    return to_bytes(name) + b"." if name else b""


def _option(options: ConfigOptions, name: str) -> str:
    return options.get_string_option(name) if options.is_configured(name) else ""
