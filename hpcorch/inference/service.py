"""One request from beginning to end: inputs, the model, outputs, and what to say when it fails."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence

from hpcorch.client.codecs import Codec, Tensor
from hpcorch.client.connection import Request as Command
from hpcorch.client.errors import RedisReplyError
from hpcorch.client.frames import KINDS, sendable
from hpcorch.client.messages import Request, bad_answer, good_answer
from hpcorch.client.routing import Router
from hpcorch.client.session import layout_at
from hpcorch.client.text import to_bytes
from hpcorch.errors import HpcorchError
from hpcorch.inference.faults import Fault
from hpcorch.inference.shelf import Shelf, Shelved

_MOST_HEADS = 512
# A run that is this much over its time will not end by itself.
_PATIENCE = 2.0
# Loading may go on when the caller has given up: the next one finds the model loaded.
_LOAD_SECONDS = 600.0


class Service:
    """Carries out requests, for any number of threads.

    `key_of` gives what a model or script is called on the shelf, from the name in a request. The
    inputs of one may have `most_bytes`, wherever they come from.
    """

    def __init__(
        self,
        router: Router,
        shelf: Shelf,
        most_bytes: float = math.inf,
        key_of: Callable[[str], str] = str,
    ) -> None:
        self._router = router
        self._shelf = shelf
        self.most_bytes = most_bytes
        self._key_of = key_of
        self._known_codec: Codec | None = None
        self._heads: dict[tuple[object, ...], bytes] = {}
        self._ends: dict[int, float] = {}
        self._numbers = itertools.count()

    def answer(self, request: Request, arrays: Sequence[Tensor]) -> tuple[bytes, list[Tensor]]:
        """Return the beginning and the arrays of the answer's frame; it tells what went wrong."""
        found = self.carry_out(request, arrays)
        if isinstance(found, Fault):
            return bad_answer(found.kind, str(found)), []
        key = tuple([(output.dtype, output.shape) for output in found])
        return self._heads.get(key) or self._new_head(key, found), found

    def carry_out(self, request: Request, arrays: Sequence[Tensor]) -> list[Tensor] | Fault:
        """Return the outputs that were not stored, or what went wrong."""
        number = next(self._numbers)
        self._ends[number] = time.monotonic() + request.seconds
        try:
            return self._done(request, arrays, number)
        except Fault as error:
            return error
        except HpcorchError as error:
            return Fault("failed", str(error))
        except MemoryError:
            return Fault("failed", f"{request.name} needs more memory than there is")
        except Exception as error:
            return Fault("failed", f"{request.work} {request.name} failed: {error}")
        except BaseException as error:
            # A script that calls sys.exit() ends itself, not the thread that serves others too.
            told = f"{type(error).__name__} {error}".rstrip()
            return Fault("failed", f"{request.work} {request.name} failed: {told}")
        finally:
            del self._ends[number]

    def is_stuck(self) -> bool:
        """Tell whether a run is far over its time."""
        now = time.monotonic()
        return any(end + _PATIENCE < now for end in list(self._ends.values()))

    def _done(self, request: Request, arrays: Sequence[Tensor], number: int) -> list[Tensor]:
        key, seconds = self._key_of(request.name), request.seconds
        shelved = self._shelf.find(request.kind, key, request.version, request.device)
        if shelved is None:
            shelved, seconds = self._loaded(request, key, number)
        if request.loads_only:
            return []
        if request.inputs:
            arrays = self._fetch(request.inputs)
        if [array for array in arrays if not array.dtype.isnative]:
            # Frameworks take the bytes of such arrays for numbers of this machine's order.
            arrays = [array.astype(array.dtype.newbyteorder("=")) for array in arrays]
        outputs = shelved.run(arrays, seconds, request.function)
        for index, output in enumerate(outputs):
            if output.dtype.kind not in KINDS or not output.flags.c_contiguous:
                outputs[index] = _plain(output, index)
        if not request.outputs:
            return outputs
        if len(request.outputs) != len(outputs):
            raise Fault(
                "input",
                f"{request.name} has {len(outputs)} output(s), and {len(request.outputs)} names "
                "were given for them",
            )
        self._store(request.outputs, outputs)
        return []

    def _loaded(self, request: Request, key: str, number: int) -> tuple[Shelved, float]:
        """Load what is to be run; return it, and the seconds that are left for it."""
        end = self._ends[number]
        self._ends[number] = max(end, time.monotonic() + _LOAD_SECONDS)
        shelved = self._shelf.get(request.kind, key, request.version, request.device)
        self._ends[number] = end
        left = end - time.monotonic()
        if left <= 0:
            raise Fault("timeout", f"{request.name} was loaded after {request.seconds:g} s only")
        return shelved, left

    def _fetch(self, names: Sequence[str]) -> list[Tensor]:
        keys = [to_bytes(name) for name in names]
        codec = self._codec(keys[0])
        commands = [Command(key, codec.fetch_command(key), codec.read_tensor) for key in keys]
        try:
            found: list[Tensor | None] = self._router.run_many(commands)
        except RedisReplyError as error:
            raise Fault("input", f"an input cannot be had: {error}") from error
        arrays = [_usable(name, tensor) for name, tensor in zip(names, found, strict=True)]
        check_inputs(sum(array.nbytes for array in arrays), self.most_bytes)
        return arrays

    def _store(self, names: Sequence[str], outputs: Sequence[Tensor]) -> None:
        keys = [to_bytes(name) for name in names]
        codec = self._codec(keys[0])
        commands = [
            Command(key, codec.store_command(key, output))
            for key, output in zip(keys, outputs, strict=True)
        ]
        try:
            self._router.run_many(commands)
        except RedisReplyError as error:
            raise Fault("failed", f"an output cannot be stored: {error}") from error

    def _codec(self, key: bytes) -> Codec:
        """Return how tensors lie in this kind of server; the one that owns `key` is asked once."""
        if self._known_codec is None:
            self._known_codec = layout_at(self._router, key).codec
            self._known_codec.most = self.most_bytes
        return self._known_codec

    def _new_head(self, key: tuple[object, ...], outputs: Sequence[Tensor]) -> bytes:
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        head = self._heads[key] = good_answer(outputs)
        return head


class Admission:
    """Bounds the memory that requests take: one alone, and all together."""

    def __init__(self, each: int, together: int) -> None:
        self._each = each
        self._together = together
        self._used = 0
        self._room = threading.Condition()

    def admit(self, size: int) -> None:
        """Wait until there is room for `size` bytes; raises Fault when there never can be."""
        check_inputs(size, self._each)
        with self._room:
            self._room.wait_for(lambda: self._used == 0 or self._used + size <= self._together)
            self._used += size

    def release(self, size: int) -> None:
        """Give back what `admit` gave."""
        with self._room:
            self._used -= size
            self._room.notify_all()


class Share:
    """What one connection has of an Admission: nothing, or the memory of its present request."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size = 0

    def take(self, size: int) -> None:
        """Get room for `size` bytes; raises Fault when there never can be."""
        self._admission.admit(size)
        self._size = size

    def give_back(self) -> None:
        """End the present request; harmless when it took nothing."""
        if self._size:
            self._admission.release(self._size)
            self._size = 0


def check_inputs(size: int, most: float) -> None:
    """Raise Fault when the inputs of a request have more than `most` bytes."""
    if size > most:
        raise Fault(
            "refused",
            f"a request has {size} bytes of inputs, above this worker's limit of {most}",
            hint="start the workers with a larger max_request",
        )


def _usable(name: str, tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise Fault("missing", f"there is no tensor {name!r} in the database, an input")
    if tensor.dtype.kind not in KINDS:
        raise Fault("input", f"the input {name!r} has the dtype {tensor.dtype}")
    return tensor if tensor.flags.c_contiguous else tensor.copy(order="C")


def _plain(output: Tensor, index: int) -> Tensor:
    if output.dtype.kind not in KINDS:
        raise Fault("failed", f"output {index} has the dtype {output.dtype}: only numbers are sent")
    return sendable(output, "output", index)
