"""Where the parts of a dataset are, for each kind of server.

Both layouts keep the metadata as SmartRedis does: a hash `{name}.meta` of the fields, of the
tensors' names (`.tensor_names`) and of a mark that the dataset is complete (`.COMPLETE`).

| server       | tensors                                    | round trips to put, to get |
|--------------|--------------------------------------------|----------------------------|
| any          | the fields of a hash `{name}.tensors`      | 1, 1                       |
| with RedisAI | `{name}.tensor` each, as SmartRedis has it | 1, 2                       |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from hpcorch.client.codecs import Codec, NpyCodec, Tensor
from hpcorch.client.connection import Request
from hpcorch.client.dataset import Contents
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.keys import encoded
from hpcorch.client.metadata import Field, decode_field, encode_field
from hpcorch.client.redisai import RedisAICodec
from hpcorch.client.replies import ReplyReader
from hpcorch.client.text import to_text
from hpcorch.client.wire import Argument
from hpcorch.errors import InputError

T = TypeVar("T")
Hash = Mapping[bytes, bytes]

COMPLETE = b".COMPLETE"
_NAMES = b".tensor_names"


class DatasetLayout(Protocol):
    """Builds the requests for one kind of server; `key` is that of a dataset, without a suffix."""

    codec: Codec

    def store(self, key: bytes, contents: Contents) -> list[Request]:
        """Return the requests that together replace the dataset."""

    def fetch(self, key: bytes) -> list[Request]:
        """Return the requests for the metadata (a Hash) and whatever else can be asked at once."""

    def fetch_rest(self, key: bytes, names: Sequence[str], /) -> list[Request]:
        """Return the requests that are left when the names of the tensors are known."""

    def tensors(self, names: Sequence[str], replies: Sequence[Any]) -> dict[str, Tensor | None]:
        """Return the tensors by name from the replies to all requests after the metadata."""

    def keys(self, key: bytes, names: Sequence[str], /) -> list[bytes]:
        """Return all keys that the dataset has in the database."""


class HashLayout:
    """For any server: all tensors of a dataset in one hash."""

    def __init__(self) -> None:
        self._npy = NpyCodec()
        self.codec: Codec = self._npy

    def store(self, key: bytes, contents: Contents) -> list[Request]:
        """As DatasetLayout says."""
        values: list[Argument] = []
        for name, tensor in contents.tensors.items():
            values += [encoded(name), self._npy.value_of(tensor)]
        requests = [Request(key, (b"DEL", *self.keys(key, ()))), _store_fields(key, contents)]
        if values:
            requests.append(Request(key, (b"HSET", _tensors_key(key), *values)))
        return [*requests, _mark_complete(key)]

    def fetch(self, key: bytes) -> list[Request]:
        """As DatasetLayout says."""
        return [_fetch_fields(key), Request(key, (b"HGETALL", _tensors_key(key)), self._read_all)]

    def fetch_rest(self, _key: bytes, _names: Sequence[str]) -> list[Request]:
        """As DatasetLayout says."""
        return []

    def tensors(self, names: Sequence[str], replies: Sequence[Any]) -> dict[str, Tensor | None]:
        """As DatasetLayout says."""
        return {name: replies[0].get(encoded(name)) for name in names}

    def keys(self, key: bytes, _names: Sequence[str]) -> list[bytes]:
        """As DatasetLayout says."""
        return [meta_key(key), _tensors_key(key)]

    def _read_all(self, reply: ReplyReader) -> dict[bytes, Tensor | None]:
        return _read_pairs(reply, self.codec.read_tensor)


class RedisAILayout:
    """For a server with RedisAI's tensor commands: each tensor has a key of its own."""

    def __init__(self) -> None:
        self.codec: Codec = RedisAICodec()

    def store(self, key: bytes, contents: Contents) -> list[Request]:
        """As DatasetLayout says."""
        if "meta" in contents.tensors:
            raise InputError(
                f"tensor 'meta' of dataset {contents.name!r} cannot be stored: "
                "in this database its key is that of the metadata"
            )
        commands = [
            self.codec.store_command(_tensor_key(key, name), tensor)
            for name, tensor in contents.tensors.items()
        ]
        return [
            Request(key, (b"DEL", meta_key(key))),
            _store_fields(key, contents),
            *(Request(key, command) for command in commands),
            _mark_complete(key),
        ]

    def fetch(self, key: bytes) -> list[Request]:
        """As DatasetLayout says."""
        return [_fetch_fields(key)]

    def fetch_rest(self, key: bytes, names: Sequence[str]) -> list[Request]:
        """As DatasetLayout says."""
        commands = [self.codec.fetch_command(_tensor_key(key, name)) for name in names]
        return [Request(key, command, self.codec.read_tensor) for command in commands]

    def tensors(self, names: Sequence[str], replies: Sequence[Any]) -> dict[str, Tensor | None]:
        """As DatasetLayout says."""
        return dict(zip(names, replies, strict=True))

    def keys(self, key: bytes, names: Sequence[str]) -> list[bytes]:
        """As DatasetLayout says."""
        return [meta_key(key), *(_tensor_key(key, name) for name in names)]


def meta_key(key: bytes) -> bytes:
    """Return the key of the metadata of the dataset with this key."""
    return key + b".meta"


def tensor_names(dataset: str, fields: Hash) -> list[str]:
    """Return the names of a dataset's tensors from what its metadata hash holds."""
    if _NAMES not in fields:
        return []
    names = _decoded(dataset, _NAMES.decode(), fields[_NAMES])
    if not isinstance(names, list):
        raise RedisRuntimeError(f"{_NAMES.decode()} of dataset {dataset!r} holds numbers, no names")
    return names


def assemble(name: str, fields: Hash, tensors: Mapping[str, Tensor | None]) -> Contents:
    """Return a dataset from its parts. Raises RedisRuntimeError when one is missing or damaged."""
    contents = Contents(name)
    for raw_name, raw in fields.items():
        if raw_name not in (COMPLETE, _NAMES):
            field = to_text(raw_name)
            contents.fields[field] = _decoded(name, field, raw)
    for tensor_name, tensor in tensors.items():
        if tensor is None:
            raise RedisRuntimeError(f"dataset {name!r} has lost its tensor {tensor_name!r}")
        contents.tensors[tensor_name] = tensor
    return contents


def _decoded(dataset: str, field: str, raw: bytes) -> Field:
    try:
        return decode_field(raw)
    except RedisRuntimeError as error:
        raise RedisRuntimeError(
            f"metadata field {field!r} of dataset {dataset!r} was not read: {error.message}"
        ) from error


def _store_fields(key: bytes, contents: Contents) -> Request:
    pairs: list[Argument] = []
    for name, field in contents.fields.items():
        pairs += [encoded(name), encode_field(field)]
    if contents.tensors:
        pairs += [_NAMES, encode_field(list(contents.tensors))]
    return Request(key, (b"HMSET", meta_key(key), *pairs))


def _mark_complete(key: bytes) -> Request:
    return Request(key, (b"HSET", meta_key(key), COMPLETE, b"1"))


def _fetch_fields(key: bytes) -> Request:
    return Request(key, (b"HGETALL", meta_key(key)), _read_hash)


def _read_hash(reply: ReplyReader) -> dict[bytes, bytes]:
    return _read_pairs(reply, _read_word)


def _read_pairs(reply: ReplyReader, read: Callable[[ReplyReader], T]) -> dict[bytes, T]:
    pairs = (reply.array_size() or 0) // 2
    return {_read_word(reply): read(reply) for _ in range(pairs)}


def _read_word(reply: ReplyReader) -> bytes:
    word = reply.value()
    if not isinstance(word, bytes):
        raise RedisRuntimeError(f"the server's answer has {word!r} where a string belongs")
    return word


def _tensors_key(key: bytes) -> bytes:
    return key + b".tensors"


def _tensor_key(key: bytes, name: str) -> bytes:
    return b"%b.%b" % (key, encoded(name))
