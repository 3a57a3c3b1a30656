"""Asking model workers to run something: directly when one can be reached, else by the queue."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from hpcorch.client.codecs import Tensor
from hpcorch.client.errors import RedisRuntimeError, RedisTimeoutError
from hpcorch.client.frames import FrameError, sendable
from hpcorch.client.messages import Answer, Request, answer_parser
from hpcorch.client.model_queue import ModelQueue
from hpcorch.client.model_store import ModelStore
from hpcorch.client.module_store import ModuleStore, store_of
from hpcorch.client.routing import Router
from hpcorch.client.settings import Settings
from hpcorch.client.text import to_bytes
from hpcorch.client.worker_links import NoWorker, WorkerLinks, WorkerLost
from hpcorch.client.workers import listed

_MOST_HEADS = 512
# Frameworks and large models come slowly from the file systems of busy machines.
_LOAD_SECONDS = 600.0


class Inference:
    """Models, scripts and their workers, seen from a client.

    `seconds` bounds one run, waiting for a worker included.
    """

    def __init__(self, router: Router, settings: Settings) -> None:
        self._store: ModelStore | ModuleStore | None = None
        self.seconds = settings.model_timeout
        self._router = router
        self._links = WorkerLinks(router, settings)
        self._queue = ModelQueue(router, settings)
        self._heads: dict[tuple[object, ...], bytes] = {}
        # What this client stored itself it must also find, though workers learn of it later.
        self._versions: dict[tuple[str, str], str] = {}

    @property
    def store(self) -> ModelStore | ModuleStore:
        """Where models and scripts lie; the server is asked once."""
        if self._store is None:
            self._store = store_of(self._router)
        return self._store

    def stored(self, kind: str, name: str, version: str) -> None:
        """Remember that this client has stored that version."""
        self._versions[kind, name] = version
        self._heads.clear()

    def delete(self, kind: str, name: str) -> None:
        """Remove a model or script; raises RedisRuntimeError when there is none."""
        self.store.delete(kind, name)
        # Workers learn of it a moment later: no version that they may still have will do.
        self.stored(kind, name, secrets.token_hex(8))

    def inline(
        self, work: str, name: str, arrays: object, function: str = "", device: str = ""
    ) -> list[Tensor]:
        """Run a model or script on arrays; return its outputs as new arrays.

        Raises InputTypeError, RedisRuntimeError with the framework's own words, RedisTimeoutError.
        """
        checked = _arrays(arrays)
        key = (work, name, function, device, _layouts(checked))
        head = self._heads.get(key) or self._keep(
            key, self._request(work, name, function, device).head(checked)
        )
        return self._outputs(head, checked, name, durable=False)

    def by_keys(
        self,
        work: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        function: str = "",
        device: str = "",
        durable: bool = False,
    ) -> None:
        """Run a model or script on tensors of the database, and store its outputs there.

        `durable` queues the request in the database even when a worker could be reached. Raises as
        `inline` does.
        """
        names = tuple(inputs), tuple(outputs)
        key = (work, name, function, device, *names)
        head = self._heads.get(key) or self._keep(
            key, self._request(work, name, function, device, *names).head(())
        )
        beside = inputs[0] if inputs else name
        found = self._outputs(head, (), beside, durable=durable)
        if found and not outputs:
            # Without names they come back, and would be lost.
            raise RedisRuntimeError(
                f"{name} has {len(found)} output(s), and 0 names were given for them"
            )

    def load(self, kind: str, name: str, device: str = "") -> int:
        """Let every worker that can be reached load a model or script now; return their number.

        It may take ten minutes. Raises RedisRuntimeError when there is no worker, or with the words
        of one that cannot, RedisTimeoutError.
        """
        seconds = max(self.seconds, _LOAD_SECONDS)
        request = replace(self._request(f"load_{kind}", name, "", device), seconds=seconds)
        streams = self._links.to_each()
        if not streams:
            self._raise_no_worker()
        parse = answer_parser()
        try:
            for stream in streams:
                stream.set_timeout(seconds)
                stream.send(request.head(()), ())
            for stream in streams:
                _raise_fault(stream.read(parse)[0])
        except TimeoutError as error:
            raise RedisTimeoutError(
                f"a worker has not loaded {name!r} within {seconds:g} s"
            ) from error
        except (OSError, FrameError) as error:
            raise RedisRuntimeError(f"a worker ended while loading {name!r}") from error
        finally:
            for stream in streams:
                stream.close()
        return len(streams)

    def close(self) -> None:
        """Close the connections to workers."""
        self._links.close()

    def _keep(self, key: tuple[object, ...], head: bytes) -> bytes:
        """Remember the head of a request, since the next one is mostly alike."""
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[key] = head
        return head

    def _request(
        self,
        work: str,
        name: str,
        function: str,
        device: str,
        inputs: tuple[str, ...] = (),
        outputs: tuple[str, ...] = (),
    ) -> Request:
        kind = work.removeprefix("load_")
        return Request(
            work=work,
            name=name,
            seconds=self.seconds,
            function=function,
            version=self._versions.get((kind, name), ""),
            device=device,
            inputs=inputs,
            outputs=outputs,
        )

    def _outputs(
        self, head: bytes, arrays: Sequence[Tensor], beside: str, *, durable: bool
    ) -> list[Tensor]:
        lost = 0
        found: tuple[Answer, list[Tensor]] | None = None
        while not (durable or found):
            try:
                found = self._links.exchange(head, arrays, self.seconds)
            except WorkerLost as error:
                lost += 1
                if lost == 2:
                    raise RedisRuntimeError(
                        "two model workers ended while they worked on this request",
                        hint="the model may crash its framework; the database's logs have the "
                        "last words",
                    ) from error
            except NoWorker:
                break
        answer, outputs = found or self._queued(head, arrays, beside, lost, durable=durable)
        if answer.fault:
            _raise_fault(answer)
        return outputs

    def _queued(
        self, head: bytes, arrays: Sequence[Tensor], beside: str, lost: int, *, durable: bool
    ) -> tuple[Answer, list[Tensor]]:
        if not durable and not listed(self._router):
            self._raise_no_worker()
        return self._queue.exchange(head, arrays, to_bytes(beside), self.seconds, lost)

    def _raise_no_worker(self) -> None:
        tried = f"; the last one tried: {self._links.refusal}" if self._links.refusal else ""
        raise RedisRuntimeError(
            f"no model worker of this database can be reached{tried}",
            hint="start the database with workers=1 or more",
        )


def _arrays(found: object) -> list[Tensor]:
    if not isinstance(found, (list, tuple)):
        return [sendable(found, "input", 0)]
    return [sendable(item, "input", index) for index, item in enumerate(found)]


def _layouts(arrays: Sequence[Tensor]) -> tuple[object, ...]:
    """Return what tells arrays of other types or shapes from these."""
    if len(arrays) == 1:
        return arrays[0].dtype, arrays[0].shape
    return tuple([(array.dtype, array.shape) for array in arrays])


def _raise_fault(answer: Answer) -> None:
    if answer.fault == "timeout":
        raise RedisTimeoutError(answer.text, hint="SR_MODEL_TIMEOUT sets the time allowed, in ms")
    if answer.fault:
        raise RedisRuntimeError(answer.text)
