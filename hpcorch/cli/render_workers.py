"""What `hpcorch render` takes of AI models: workers, and what is loaded into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcorch.cli.words import refuse_alone, repeated
from hpcorch.client.model_checks import BACKENDS
from hpcorch.describe import cpus
from hpcorch.describe.workers import Attachments, Workers
from hpcorch.errors import InputError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _ActionsContainer

OPTIONS = ("--workers", "--worker-cpus", "--worker-threads")
_ENDINGS = {"onnx": "ONNX", "tflite": "TFLITE", "pb": "TF", "pt": "TORCH", "pt2": "TORCH"}


def arguments(group: _ActionsContainer, where: str) -> None:
    """Declare the options of workers."""
    group.add_argument(
        "--workers", type=int, default=0, metavar="N", help=f"AI model workers {where}"
    )
    group.add_argument("--worker-cpus", metavar="LIST", help="CPUs of the workers")
    group.add_argument("--worker-threads", type=int, metavar="N", help="threads of each worker")


def attachment_arguments(parser: ArgumentParser) -> None:
    """Declare the options of what is loaded."""
    group = parser.add_argument_group("AI models, loaded before anybody may ask for them")
    repeated(group, "--ml-model", "NAME=[BACKEND:]FILE", "a model; by its ending if not by name")
    repeated(group, "--script", "NAME=FILE", "a TorchScript source")
    group.add_argument("--device", help="CPU, GPU or GPU:number (default: CPU)")


def workers(args: Namespace) -> Workers | int:
    """Return the workers that were asked for; raises InputError."""
    if args.worker_cpus is None and args.worker_threads is None:
        return int(args.workers)
    refuse_alone(args, OPTIONS, "workers", "--workers")
    chosen = None if args.worker_cpus is None else cpus.parse_list(args.worker_cpus)
    return Workers(args.workers, chosen, args.worker_threads or 0)


def attach(args: Namespace, entity: Attachments) -> None:
    """Attach the models and scripts that were named; raises InputError."""
    refuse_alone(args, ["--device"], "what is loaded", "--ml-model", "--script")
    device = args.device or "CPU"
    for word in args.ml_model:
        name, file = _named("--ml-model", word)
        backend, colon, path = file.partition(":")
        if not colon or backend.upper() not in BACKENDS:
            path, backend = file, _ENDINGS.get(file.rpartition(".")[2].lower(), "")
        if not backend:
            known = ", ".join(BACKENDS)
            raise InputError(f"--ml-model is {word!r}: say which of {known}, as in NAME=ONNX:FILE")
        entity.add_ml_model(name, backend, model_path=path, device=device)
    for word in args.script:
        name, file = _named("--script", word)
        entity.add_script(name, script_path=file, device=device)


def _named(option: str, word: str) -> tuple[str, str]:
    name, sign, file = word.partition("=")
    if not sign or not name or not file:
        raise InputError(f"{option} is {word!r}: it must be NAME=FILE")
    return name, file
