"""Asking model workers to run something: directly when one can be reached, else by the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpcorch.client.codecs import Tensor
from hpcorch.client.errors import RedisRuntimeError, RedisTimeoutError
from hpcorch.client.frames import FrameError, sendable
from hpcorch.client.messages import Answer, Request, answer_parser
from hpcorch.client.model_queue import ModelQueue
from hpcorch.client.model_store import ModelStore
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
        self.store = ModelStore(router)
        self.seconds = settings.model_timeout
        self._router = router
        self._links = WorkerLinks(router, settings)
        self._queue = ModelQueue(router, settings)
        self._heads: dict[tuple[object, ...], bytes] = {}
        # What this client stored itself it must also find, though workers learn of it later.
        self._versions: dict[tuple[str, str], str] = {}

    def stored(self, kind: str, name: str, version: str) -> None:
        """Remember that this client has stored that version."""
        self._versions[kind, name] = version
        self._heads.clear()

    def inline(
        self, work: str, name: str, arrays: object, function: str = "", device: str = ""
    ) -> list[Tensor]:
        """Run a model or script on arrays; return its outputs as new arrays.

        Raises InputTypeError, RedisRuntimeError with the framework's own words, RedisTimeoutError.
        """
        checked = _arrays(arrays)
        shapes = tuple((array.dtype, array.shape) for array in checked)
        key = (work, name, function, device, shapes)
        head = self._heads.get(key)
        if head is None:
            head = self._request(work, name, function, device).head(checked)
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return self._outputs(head, checked, to_bytes(name), durable=False)

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
        request = self._request(work, name, function, device, tuple(inputs), tuple(outputs))
        beside = to_bytes(inputs[0] if inputs else name)
        self._outputs(request.head(()), (), beside, durable=durable)

    def load(self, kind: str, name: str) -> int:
        """Let every worker that can be reached load a model or script now; return their number.

        It may take ten minutes. Raises RedisRuntimeError when there is no worker, or with the words
        of one that cannot, RedisTimeoutError.
        """
        seconds = max(self.seconds, _LOAD_SECONDS)
        request = replace(self._request(f"load_{kind}", name, "", ""), seconds=seconds)
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
        self, head: bytes, arrays: Sequence[Tensor], beside: bytes, *, durable: bool
    ) -> list[Tensor]:
        answer, outputs = self._exchange(head, arrays, beside, durable=durable)
        if answer.fault:
            _raise_fault(answer)
        return outputs

    def _exchange(
        self, head: bytes, arrays: Sequence[Tensor], beside: bytes, *, durable: bool
    ) -> tuple[Answer, list[Tensor]]:
        lost = 0
        while not durable and lost < 2:
            try:
                return self._links.exchange(head, arrays, self.seconds)
            except WorkerLost:
                lost += 1
            except NoWorker:
                break
        if lost == 2:
            raise RedisRuntimeError(
                "two model workers ended while they worked on this request",
                hint="the model may crash its framework; the database's logs have the last words",
            )
        if not durable and not listed(self._router):
            self._raise_no_worker()
        return self._queue.exchange(head, arrays, beside, self.seconds, lost)

    def _raise_no_worker(self) -> None:
        tried = f"; the last one tried: {self._links.refusal}" if self._links.refusal else ""
        raise RedisRuntimeError(
            f"no model worker of this database can be reached{tried}",
            hint="start the database with workers=1 or more",
        )


def _arrays(found: object) -> list[Tensor]:
    items = found if isinstance(found, (list, tuple)) else [found]
    return [sendable(item, f"input {index}") for index, item in enumerate(items)]


def _raise_fault(answer: Answer) -> None:
    if answer.fault == "timeout":
        raise RedisTimeoutError(answer.text, hint="SR_MODEL_TIMEOUT sets the time allowed, in ms")
    if answer.fault:
        raise RedisRuntimeError(answer.text)
