"""The real SmartRedis, in an environment of its own: its wheel needs Python < 3.12, NumPy < 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = ("smartredis==0.6.1", "numpy<2")
_NAMES = ("python3", "python3.11", "python3.10", "python3.9", "python3.8")
_SUITS = "import ensurepip, sys; sys.exit(sys.version_info >= (3, 12))"


def peer_python(cache: Path) -> str:
    """Return a Python that can import smartredis; its environment is made in `cache` once.

    Fails the test, naming what is missing, when there is no suitable Python or pip cannot install.
    """
    ready = cache / "smartredis-0.6.1"
    if not ready.exists():
        # Another session may be making it too: the first complete one stays.
        made = cache / f"making-{os.getpid()}"
        shutil.rmtree(made, ignore_errors=True)
        _install(made)
        try:
            made.rename(ready)
        except OSError:
            shutil.rmtree(made)
    return str(ready / "bin/python")


def _install(folder: Path) -> None:
    interpreter = _interpreter()
    for command in (
        [interpreter, "-m", "venv", str(folder)],
        [str(folder / "bin/python"), "-m", "pip", "install", "-q", *REQUIREMENTS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _interpreter() -> str:
    for name in (sys.executable, *_NAMES):
        found = shutil.which(name)
        if found and not subprocess.run([found, "-c", _SUITS], check=False).returncode:
            return found
    pytest.fail("SmartRedis 0.6.1 needs a Python below 3.12: install one, such as python3.11")
