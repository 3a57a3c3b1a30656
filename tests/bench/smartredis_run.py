"""A SmartRedis program of the module's bench: `smartredis_run.py MODEL`, with SSDB set.

Prints as JSON the medians, in seconds, of put_tensor, of run_model, and of put, run and get.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from smartredis import Client  # type: ignore[import-not-found, unused-ignore]

ROUNDS = 1000


def median(action: Callable[[], object]) -> float:
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> None:
    client = Client(None)
    client.set_model("mlp", Path(sys.argv[1]).read_bytes(), "ONNX", "CPU")
    rows = np.ones((1, 64), "float32")

    def whole() -> None:
        client.put_tensor("x", rows)
        client.run_model("mlp", ["x"], ["y"])
        client.get_tensor("y")

    whole()
    found = {
        "put": median(lambda: client.put_tensor("x", rows)),
        "run": median(lambda: client.run_model("mlp", ["x"], ["y"])),
        "whole": median(whole),
    }
    # The client prints lines of its own before.
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
