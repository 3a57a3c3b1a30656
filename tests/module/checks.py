"""Comparing what calls of SmartRedis give with what they should; for programs of its users."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

ADDRESSES = os.environ["SSDB"].split(",")
CLUSTERED = os.environ["SR_DB_TYPE"] == "Clustered"
NO_TENSOR = "RedisRuntimeError: ERR tensor key is empty or in a different shard"
NO_MODEL = "RedisRuntimeError: ERR model key is empty"
NO_SCRIPT = "RedisRuntimeError: ERR script key is empty"

differences: list[tuple[str, str, str]] = []


def outcome(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the name of its exception and the last line of its text."""
    try:
        result = call()
    except Exception as error:
        text = str(error).strip().splitlines()[-1]
        return (
            f"{type(error).__name__}: {text.removeprefix('Redis error when executing command: ')}"
        )
    return result.tolist() if isinstance(result, np.ndarray) else result


def check(name: str, wanted: Any, call: Callable[[], Any]) -> None:
    found = outcome(call)
    # A part of an error's text is enough.
    text = isinstance(wanted, str) and isinstance(found, str)
    if not (wanted in found if text else found == wanted):
        differences.append((name, repr(wanted), repr(found)))


def report() -> None:
    """Print a JSON list of the calls that gave something else."""
    sys.stdout.write(json.dumps(differences))
