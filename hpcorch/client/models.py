"""The part of Client that stores AI models and lets the database's workers run them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from hpcorch.client import model_checks as check
from hpcorch.client.codecs import Tensor
from hpcorch.client.errors import RedisInputError
from hpcorch.client.inference import Inference
from hpcorch.client.model_bytes import Filed, Held, Source
from hpcorch.client.model_store import Stored
from hpcorch.client.session import Session, Start, poll
from hpcorch.client.text import to_text


class ModelCalls(Session):
    """Models: bytes in the database, run by workers beside it on the CPU or a GPU.

    `device` is "CPU", "GPU" (any) or "GPU:1". Inputs and outputs are tensors of the database, by
    name, or with `infer` arrays that never go there. What a framework says when it fails is in the
    RedisRuntimeError that the caller gets; RedisTimeoutError tells that SR_MODEL_TIMEOUT (ms,
    default 60000) was not enough.
    """

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._inference = Inference(self._router, start.settings)

    def close(self) -> None:
        """Close the connections; harmless when repeated."""
        self._inference.close()
        super().close()

    def _stored_name(self, name: str) -> str:
        """Return what a model or script is called in the database, for those who look for it."""
        return to_text(self._keys.to_read("model", check.name("name", name)))

    def _new_name(self, name: str) -> str:
        """Return what a model or script will be called in the database."""
        return to_text(self._keys.to_write("model", check.name("name", name)))

    def _inputs(self, names: str | Sequence[str] | None) -> list[str]:
        """Return the keys that input tensors lie under."""
        return [
            to_text(self._keys.to_read("tensor", name)) for name in check.names("inputs", names)
        ]

    def _outputs(self, names: str | Sequence[str] | None) -> list[str]:
        """Return the keys that output tensors go to."""
        return [
            to_text(self._keys.to_write("tensor", name)) for name in check.names("outputs", names)
        ]

    def set_model(
        self,
        name: str,
        model: bytes,
        backend: str,
        device: str = "CPU",
        batch_size: int = 0,
        min_batch_size: int = 0,
        min_batch_timeout: int = 0,
        tag: str = "",
        inputs: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
    ) -> None:
        """Store a model under `name`, in place of an earlier one.

        `backend` is TORCH (TorchScript or an exported program), ONNX, TF (a frozen graph, for which
        `inputs` and `outputs` name the nodes) or TFLITE. With `batch_size` above 0 requests are
        joined along axis 0 up to that many rows; with `min_batch_size` a request waits for others
        until there are so many rows, at most `min_batch_timeout` ms. Nothing is loaded here: a
        worker does that when it first needs the model. Raises InputError or InputTypeError.
        """
        described = self._described(
            name,
            backend,
            device,
            batch_size,
            min_batch_size,
            min_batch_timeout,
            tag,
            inputs,
            outputs,
        )
        self._store_model(described, Held(check.data("model", model)))

    def set_model_from_file(
        self,
        name: str,
        model_file: str | os.PathLike[str],
        backend: str,
        device: str = "CPU",
        batch_size: int = 0,
        min_batch_size: int = 0,
        min_batch_timeout: int = 0,
        tag: str = "",
        inputs: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
    ) -> None:
        """As set_model, from a file, of which one chunk at a time is in memory.

        Raises InputFileError when it cannot be read.
        """
        described = self._described(
            name,
            backend,
            device,
            batch_size,
            min_batch_size,
            min_batch_timeout,
            tag,
            inputs,
            outputs,
        )
        self._store_model(described, Filed(check.file("model_file", model_file)))

    def _described(
        self,
        name: str,
        backend: str,
        device: str,
        batch_size: int,
        min_batch_size: int,
        min_batch_timeout: int,
        tag: str,
        inputs: str | Sequence[str] | None,
        outputs: str | Sequence[str] | None,
    ) -> Stored:
        """Return what is stored beside a model's bytes; raises what set_model raises."""
        found = Stored(
            kind="model",
            name=self._new_name(name),
            version="",
            backend=check.backend(backend),
            device=check.device(device),
            size=0,
            chunk=0,
            batch_size=check.count("batch_size", batch_size),
            min_batch_size=check.count("min_batch_size", min_batch_size),
            min_batch_timeout=check.count("min_batch_timeout", min_batch_timeout),
            tag=check.text("tag", tag),
            inputs=check.names("inputs", inputs),
            outputs=check.names("outputs", outputs),
        )
        check.graph(found.backend, found.inputs, found.outputs)
        check.batches(found.batch_size, found.min_batch_size, found.min_batch_timeout)
        if found.min_batch_size and not found.min_batch_timeout:
            warnings.warn(
                "min_batch_timeout is 0: a request may wait for others most of the time it has",
                stacklevel=3,
            )
        return found

    def _store_model(self, described: Stored, data: Source) -> None:
        if not data.size:
            raise RedisInputError(f"the file of the model {described.name!r} is empty")
        version = self._inference.store.write(described, data)
        self._inference.stored("model", described.name, version)

    def set_model_multigpu(
        self,
        name: str,
        model: bytes,
        backend: str,
        first_gpu: int,
        num_gpus: int,
        batch_size: int = 0,
        min_batch_size: int = 0,
        min_batch_timeout: int = 0,
        tag: str = "",
        inputs: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
    ) -> None:
        """As set_model, for run_model_multigpu: the model is stored once and loaded on each GPU."""
        check.gpus(first_gpu, num_gpus)
        self.set_model(
            name,
            model,
            backend,
            "GPU",
            batch_size,
            min_batch_size,
            min_batch_timeout,
            tag,
            inputs,
            outputs,
        )

    def set_model_from_file_multigpu(
        self,
        name: str,
        model_file: str | os.PathLike[str],
        backend: str,
        first_gpu: int,
        num_gpus: int,
        batch_size: int = 0,
        min_batch_size: int = 0,
        min_batch_timeout: int = 0,
        tag: str = "",
        inputs: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
    ) -> None:
        """As set_model_multigpu, from a file."""
        check.gpus(first_gpu, num_gpus)
        self.set_model_from_file(
            name,
            model_file,
            backend,
            "GPU",
            batch_size,
            min_batch_size,
            min_batch_timeout,
            tag,
            inputs,
            outputs,
        )

    def get_model(self, name: str) -> bytes:
        """Return a model's bytes; raises RedisRuntimeError when there is none of that name."""
        return self._inference.store.read("model", self._stored_name(name))[1]

    def model_exists(self, name: str) -> bool:
        """Tell whether there is a model, or a script, of that name."""
        stored, store = self._stored_name(name), self._inference.store
        return store.exists("model", stored) or store.exists("script", stored)

    def poll_model(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """As poll_key, for the model `name`."""
        self._stored_name(name)
        return poll(lambda: self.model_exists(name), poll_frequency_ms, num_tries)

    def delete_model(self, name: str) -> None:
        """Remove a model; workers forget it. Raises RedisRuntimeError when there is none."""
        self._inference.delete("model", self._stored_name(name))

    def delete_model_multigpu(self, name: str, first_gpu: int, num_gpus: int) -> None:
        """Remove a model that set_model_multigpu stored."""
        check.gpus(first_gpu, num_gpus)
        self.delete_model(name)

    def set_model_chunk_size(self, chunk_size: int) -> None:
        """Say how many bytes of a model go into one value; larger models are split (64 MiB)."""
        self._inference.store.chunk_bytes = check.count("chunk_size", chunk_size, 1024)

    def load_model(self, name: str, device: str = "") -> int:
        """Let all workers load a model now, not at its first run; return their number.

        `device` is another one than that which it was stored for.
        """
        wanted = check.device(device) if device else ""
        return self._inference.load("model", self._stored_name(name), wanted)

    def infer(self, name: str, arrays: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """Run a model on arrays that need not be in the database; return its outputs.

        The quickest way: arrays go to a worker directly where one can be reached.
        """
        return self._inference.inline("model", self._stored_name(name), arrays)

    def run_model(
        self,
        name: str,
        inputs: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
        *,
        durable: bool = False,
    ) -> None:
        """Run a model on the tensors `inputs` and store its outputs as the tensors `outputs`.

        There must be as many `outputs` as the model has. `durable` puts the request in the database
        first, so that it is carried out even when this program or a worker ends meanwhile.
        """
        self._run_model(name, inputs, outputs, "", durable=durable)

    def run_model_multigpu(
        self,
        name: str,
        offset: int,
        first_gpu: int,
        num_gpus: int,
        inputs: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
    ) -> None:
        """As run_model, on GPU `first_gpu + offset % num_gpus`; `offset` may be an MPI rank."""
        device = check.gpu(offset, first_gpu, num_gpus)
        self._run_model(name, inputs, outputs, device, durable=False)

    def _run_model(
        self,
        name: str,
        inputs: str | Sequence[str] | None,
        outputs: str | Sequence[str] | None,
        device: str,
        *,
        durable: bool,
    ) -> None:
        self._inference.by_keys(
            "model",
            self._stored_name(name),
            self._inputs(inputs),
            self._outputs(outputs),
            device=device,
            durable=check.flag("durable", durable),
        )
