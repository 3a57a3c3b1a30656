"""What the Python of AI model workers has: it is asked before anything is submitted."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hpcorch import shell
from hpcorch.errors import InputError, SchedulerError

# A Python on a slow network file system takes its time to start.
_PYTHON_SECONDS = 60.0
# What to install for each framework.
PACKAGES = {
    "ONNX": "onnxruntime",
    "TFLITE": "ai-edge-litert",
    "TORCH": "torch",
    "TF": "tensorflow",
}


def check_frameworks(name: str, python: str, needed: Iterable[str]) -> None:
    """Refuse workers whose Python lacks hpcorch or a framework; raises InputError."""
    there = frameworks(python)
    for framework in needed:
        if not there.get(framework):
            package = PACKAGES[framework]
            hint = f"{python} -m pip install {package}"
            if framework == "TORCH":
                hint += '; a function on numpy arrays does without it: language="PYTHON"'
            raise InputError(
                f"the model workers of {name} need {framework}: {python} has no {package}", hint
            )


def frameworks(python: str) -> dict[str, str]:
    """Ask a Python for its frameworks: names as in Client.set_model, then what there is, or "".

    Raises InputError when it cannot run model workers.
    """
    words = (python, "-m", "hpcorch.inference", "frameworks")
    # What lies where the driver runs is not what the workers import.
    env = {"PYTHONSAFEPATH": "1"}
    try:
        done = shell.run(shell.Command(words, env=env, timeout=_PYTHON_SECONDS))
        found: dict[str, str] = json.loads(done.out) if done.code == 0 else {}
    except (SchedulerError, ValueError) as error:
        raise InputError(f"{python} cannot run model workers: {error}") from error
    if not found:
        last = (done.err.strip().splitlines() or [f"exit code {done.code}"])[-1]
        raise InputError(f"{python} cannot run model workers: {last}", "install hpcorch there")
    return found
