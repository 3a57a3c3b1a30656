"""The part of Client that stores scripts and functions and lets the workers run them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpcorch.client import model_checks as check
from hpcorch.client.codecs import Tensor
from hpcorch.client.functions import function_source
from hpcorch.client.model_bytes import Held
from hpcorch.client.model_store import Stored
from hpcorch.client.models import ModelCalls
from hpcorch.client.text import to_bytes
from hpcorch.errors import InputError


class ScriptCalls(ModelCalls):
    """Scripts: source text in the database, whose functions workers run on tensors.

    A script is TorchScript. A Python function travels as its source text and is TorchScript too,
    unless it names numpy (`np`) or `language` is "PYTHON": Python then runs it on numpy arrays, and
    it finds numpy as `np` and `numpy`. What is outside of the function is not there.
    """

    def set_script(self, name: str, script: str, device: str = "CPU") -> None:
        """Store TorchScript source under `name`, in place of an earlier one."""
        self.set_source(name, script, "TORCHSCRIPT", device)

    def set_script_from_file(
        self, name: str, file: str | os.PathLike[str], device: str = "CPU"
    ) -> None:
        """As set_script, from a file; raises InputFileError when it cannot be read."""
        # What is wrong by itself is told before what is not there.
        check.name("name", name)
        check.device(device)
        self.set_script(name, _decoded(check.file("file", file)), device)

    def set_script_multigpu(self, name: str, script: str, first_gpu: int, num_gpus: int) -> None:
        """As set_script, for run_script_multigpu."""
        check.gpus(first_gpu, num_gpus)
        self.set_script(name, script, "GPU")

    def set_script_from_file_multigpu(
        self, name: str, file: str | os.PathLike[str], first_gpu: int, num_gpus: int
    ) -> None:
        """As set_script_multigpu, from a file."""
        check.gpus(first_gpu, num_gpus)
        self.set_script_from_file(name, file, "GPU")

    def set_function(
        self,
        name: str,
        function: Callable[..., Any],
        device: str = "CPU",
        language: str = "",
    ) -> None:
        """Store the source of `function` under `name`; run it by its own name with run_script.

        `language` is TORCHSCRIPT, PYTHON or "", which lets the function tell. Raises InputTypeError
        for what is no plain function, InputError when there is no source.
        """
        source, told = function_source(function, check.text("language", language))
        self.set_source(name, source, told, device)

    def set_source(self, name: str, source: str, language: str, device: str = "CPU") -> None:
        """Store the source of functions in `language`, TORCHSCRIPT or PYTHON, under `name`."""
        described = Stored(
            kind="script",
            name=self._new_name(name),
            version="",
            backend=check.language(language),
            device=check.device(device),
            size=0,
            chunk=0,
        )
        data = to_bytes(check.source("script", source))
        version = self._inference.store.write(described, Held(data))
        self._inference.stored("script", described.name, version)

    def set_function_multigpu(
        self,
        name: str,
        function: Callable[..., Any],
        first_gpu: int,
        num_gpus: int,
        language: str = "",
    ) -> None:
        """As set_function, for run_script_multigpu."""
        check.gpus(first_gpu, num_gpus)
        self.set_function(name, function, "GPU", language)

    def get_script(self, name: str) -> str:
        """Return a script's source; raises RedisRuntimeError when there is none of that name."""
        return self._inference.store.read("script", self._stored_name(name))[1].decode()

    def script_exists(self, name: str) -> bool:
        """Tell whether there is a script of that name."""
        return self._inference.store.exists("script", self._stored_name(name))

    def delete_script(self, name: str) -> None:
        """Remove a script; workers forget it. Raises RedisRuntimeError when there is none."""
        self._inference.delete("script", self._stored_name(name))

    def delete_script_multigpu(self, name: str, first_gpu: int, num_gpus: int) -> None:
        """Remove a script that set_script_multigpu stored."""
        check.gpus(first_gpu, num_gpus)
        self.delete_script(name)

    def load_script(self, name: str, device: str = "") -> int:
        """As load_model, for a script."""
        wanted = check.device(device) if device else ""
        return self._inference.load("script", self._stored_name(name), wanted)

    def infer_script(
        self, name: str, fn_name: str, arrays: Tensor | Sequence[Tensor]
    ) -> list[Tensor]:
        """Run a function of a script on arrays that need not be in the database."""
        function = check.name("fn_name", fn_name)
        return self._inference.inline("script", self._stored_name(name), arrays, function)

    def run_script(
        self,
        name: str,
        fn_name: str,
        inputs: str | Sequence[str],
        outputs: str | Sequence[str],
        *,
        durable: bool = False,
    ) -> None:
        """Run the function `fn_name` of a script on tensors; `durable` is that of run_model."""
        self._run_script(name, fn_name, inputs, outputs, "", durable=durable)

    def run_script_multigpu(
        self,
        name: str,
        fn_name: str,
        inputs: str | Sequence[str],
        outputs: str | Sequence[str],
        offset: int,
        first_gpu: int,
        num_gpus: int,
    ) -> None:
        """As run_script, on GPU `first_gpu + offset % num_gpus`; `offset` may be an MPI rank."""
        device = check.gpu(offset, first_gpu, num_gpus)
        self._run_script(name, fn_name, inputs, outputs, device, durable=False)

    def _run_script(
        self,
        name: str,
        fn_name: str,
        inputs: str | Sequence[str],
        outputs: str | Sequence[str],
        device: str,
        *,
        durable: bool,
    ) -> None:
        self._inference.by_keys(
            "script",
            self._stored_name(name),
            self._inputs(inputs),
            self._outputs(outputs),
            check.name("fn_name", fn_name),
            device,
            durable=check.flag("durable", durable),
        )


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"file is {str(path)!r}, which holds no UTF-8 text: {error}") from error
