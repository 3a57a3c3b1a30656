"""The calls of a client that store and fetch tensors."""

from __future__ import annotations

from redis.crc import key_slot

from hpcorch.client.codecs import Tensor, check_out
from hpcorch.client.connection import Link
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.replies import ReplyReader
from hpcorch.client.session import Session, poll


class TensorCalls(Session):
    """Tensors under names; what is written takes the prefix SSKEYOUT, what is read SSKEYIN."""

    def put_tensor(self, name: str, data: Tensor) -> None:
        """Store the numpy array `data` under `name`; an older value is replaced.

        Any shape and any dtype without objects will do, unless the server has RedisAI: then the
        dtype must be a float or an integer of RedisAI's, and there must be at least one element.
        Raises InputTypeError for an array that cannot be stored, RedisBadAllocError when the
        server has no room, and what all commands raise.
        """
        key = self._keys.to_write("tensor", name)
        arguments = self._layout(key).codec.store_command(key, data)
        self._router.run(key, lambda link: link.bulk(arguments, ReplyReader.value))

    def get_tensor(self, name: str, out: Tensor | None = None) -> Tensor:
        """Return the tensor `name` as a new array with the dtype and shape it was put in.

        When `out` is given, an array of the same dtype and shape in any order, it is filled and
        returned; after an error its content is undefined. Raises RedisRuntimeError when there is no
        such key, it holds no tensor or does not fit into `out`, InputTypeError and InputError for
        an `out` that is no array or read-only.
        """
        key = self._keys.to_read("tensor", name)
        if out is not None:
            check_out(out)
        codec = self._layout(key).codec
        arguments = codec.fetch_command(key)
        tensor = self._router.run(
            key, lambda link: link.bulk(arguments, lambda reply: codec.read_tensor(reply, out))
        )
        if tensor is None:
            raise RedisRuntimeError(f"there is no tensor {name!r} in the database {self._place}")
        return tensor

    def delete_tensor(self, name: str) -> None:
        """Remove the tensor `name`; nothing happens when there is none."""
        self._command(b"UNLINK", self._keys.to_read("tensor", name))

    def copy_tensor(self, src_name: str, dest_name: str) -> None:
        """Store the tensor `src_name` under `dest_name` too, by way of this client.

        Raises RedisRuntimeError when there is no such tensor.
        """
        # A bad name must be found before anything is fetched.
        self._keys.to_write("tensor", dest_name)
        self.put_tensor(dest_name, self.get_tensor(src_name))

    def rename_tensor(self, old_name: str, new_name: str) -> None:
        """Give the tensor `old_name` the name `new_name`, replacing what has that name.

        In a cluster the data goes by way of this client when the shard changes, and for a moment
        both names exist. Raises RedisRuntimeError when there is no such tensor.
        """
        old = self._keys.to_read("tensor", old_name)
        new = self._keys.to_write("tensor", new_name)
        if not self._router.clustered or key_slot(old) == key_slot(new):
            self._router.run(old, lambda link: _rename(link, old, new), repeatable=False)
        else:
            self.copy_tensor(old_name, new_name)
            self.delete_tensor(old_name)

    def tensor_exists(self, name: str) -> bool:
        """Tell whether there is a tensor `name`."""
        return self._command(b"EXISTS", self._keys.to_read("tensor", name)) > 0

    def poll_tensor(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """As poll_key, for the tensor `name`."""
        self._keys.to_read("tensor", name)
        return poll(lambda: self.tensor_exists(name), poll_frequency_ms, num_tries)


def _rename(link: Link, old: bytes, new: bytes) -> None:
    link.command("RENAME", old, new)
