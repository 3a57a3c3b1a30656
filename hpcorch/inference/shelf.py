"""The models and scripts that a worker has loaded, each once; those that change are forgotten."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from hpcorch.client.codecs import Tensor
from hpcorch.client.errors import RedisReplyError
from hpcorch.client.held_programs import shown
from hpcorch.client.messages import Request
from hpcorch.client.model_bytes import Hold
from hpcorch.client.model_store import Stored
from hpcorch.errors import HpcorchError
from hpcorch.inference import backends, devices, scripts
from hpcorch.inference.backends.base import Loaded, LoadOptions
from hpcorch.inference.batching import Batcher
from hpcorch.inference.blob import Blob, filed
from hpcorch.inference.faults import Fault

LOG = logging.getLogger("hpcorch.inference")
_Key = tuple[str, str, str]
T = TypeVar("T")


class Store(Protocol):
    """Where models and scripts come from."""

    def find(self, kind: str, name: str) -> Stored | None:
        """Return what is stored beside a model's or script's bytes, None when there is none."""

    def read_by(self, kind: str, name: str, hold: Hold[T]) -> tuple[Stored, T]:
        """Return that, and the bytes in what `hold` makes; raises RedisReplyError without any."""


@dataclass(frozen=True)
class Shelved:
    """Something loaded: `run` gets arrays, seconds and the name of a function ("" for a model)."""

    version: str
    run: Callable[[Sequence[Tensor], float, str], list[Tensor]]
    # Versions that some client believes to be the newest, and are not.
    outdated: set[str] = field(default_factory=set)
    # Whether requests of several callers are joined.
    joins: bool = False


class Shelf:
    """What is loaded, for any number of threads. Only one model runs at a time.

    `threads` is how many CPU threads one run may use, `turn` which GPU "GPU" means.
    """

    def __init__(self, store: Store, threads: int, turn: int) -> None:
        self._store = store
        self._threads = threads
        self._turn = turn
        self._shelved: dict[_Key, Shelved] = {}
        self._loading: defaultdict[_Key, threading.Lock] = defaultdict(threading.Lock)
        self._changes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._placing = threading.Lock()
        self._runs = threading.Lock()

    def get(self, kind: str, name: str, version: str = "", device: str = "") -> Shelved:
        """Return a model or script, loaded if need be.

        `version` is one that the caller knows to be stored. Raises Fault.
        """
        key = (kind, name, device)
        with self._loading[key]:
            return self._checked(key, version)

    def find(self, kind: str, name: str, version: str, device: str) -> Shelved | None:
        """Return what `get` would, if that is loaded already."""
        found = self._shelved.get((kind, name, device))
        if found is None or not version or version == found.version or version in found.outdated:
            return found
        return None

    def joins(self, request: Request) -> bool:
        """Tell whether what the request needs is loaded, and joins the requests of callers."""
        found = self._shelved.get((request.work, request.name, request.device))
        return found is not None and found.joins

    def hear(self, kind: str, name: str) -> None:
        """Take note that a model or script was replaced or removed, perhaps a while ago."""
        with self._placing:
            self._changes[kind, name] += 1
        self._unload_outdated([key for key in list(self._shelved) if key[:2] == (kind, name)])

    def verify(self) -> None:
        """Unload everything that is stored in another version, or not at all."""
        self._unload_outdated(list(self._shelved))

    def _unload_outdated(self, keys: Sequence[_Key]) -> None:
        for key in keys:
            shelved = self._shelved.get(key)
            if shelved is None or self._is_newest(key, shelved):
                continue
            with self._placing:
                if self._shelved.get(key) is shelved:
                    del self._shelved[key]

    def _checked(self, key: _Key, version: str) -> Shelved:
        kind, name, device = key
        found = self._shelved.get(key)
        if found is not None and version not in ("", found.version):
            if self._is_newest(key, found):
                found.outdated.add(version)
            else:
                found = None
        if found is None:
            changes = self._changes[kind, name]
            found = self._load(kind, name, device)
            # Word of a change may come late: what was loaded may be the newest all the same.
            while not self._placed(key, found, changes):
                changes = self._changes[kind, name]
                # Something that was replaced meanwhile serves this request, but no other.
                if not self._is_newest(key, found):
                    break
        return found

    def _placed(self, key: _Key, found: Shelved, changes: int) -> bool:
        """Keep what was found if no further change has been heard of; tell whether it is kept."""
        with self._placing:
            if changes == self._changes[key[:2]]:
                self._shelved[key] = found
                return True
            return False

    def _is_newest(self, key: _Key, shelved: Shelved) -> bool:
        kind, name, _ = key
        stored = self._store.find(kind, name)
        return stored is not None and stored.version == shelved.version

    def _load(self, kind: str, name: str, device: str) -> Shelved:
        try:
            stored, blob = self._store.read_by(kind, name, filed)
            with blob:
                made = self._made(stored, blob, device or stored.device)
        except Fault:
            raise
        except RedisReplyError as error:
            raise Fault("missing", error.message, error.hint) from error
        except HpcorchError:
            raise
        except Exception as error:
            raise Fault(
                "failed", f"the {kind} {shown(name)!r} cannot be loaded: {error}"
            ) from error
        LOG.info("loaded the %s %s (%s, %d bytes)", kind, name, stored.backend, stored.size)
        return made

    def _made(self, stored: Stored, blob: Blob, wanted: str) -> Shelved:
        if stored.kind == "script":
            found = devices.choose(wanted, scripts.devices(stored.backend), self._turn)
            script = scripts.load(blob.data(), stored.backend, found)
            return Shelved(
                stored.version,
                lambda arrays, seconds, function: self._run(
                    script.function(function), arrays, seconds
                ),
            )
        backend = backends.get(stored.backend)
        options = LoadOptions(
            devices.choose(wanted, backend.devices(), self._turn),
            self._threads,
            stored.inputs,
            stored.outputs,
        )
        model = backend.load(blob, options)
        if stored.batch_size < 2:
            return Shelved(stored.version, partial(self._run, model))
        batcher = Batcher(
            partial(self._run, model),
            stored.batch_size,
            stored.min_batch_size,
            stored.min_batch_timeout / 1000,
        )
        return Shelved(
            stored.version, lambda arrays, seconds, _: batcher.run(arrays, seconds), joins=True
        )

    def _run(
        self, model: Loaded, arrays: Sequence[Tensor], seconds: float, _function: str = ""
    ) -> list[Tensor]:
        # A lock that is free is had sooner without a time.
        if not self._runs.acquire(blocking=False) and not self._runs.acquire(timeout=seconds):
            raise Fault("timeout", f"the worker was busy with others for {seconds:g} s")
        try:
            return model.run(arrays)
        finally:
            self._runs.release()
