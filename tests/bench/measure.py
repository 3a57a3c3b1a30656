"""What the benches share: medians, ratios, and one way to print them."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence


def seconds(action: Callable[[], object]) -> float:
    """Return how long `action` takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def command_seconds(argv: Sequence[str]) -> float:
    """Return how long a program takes from its start to its end."""
    return seconds(
        lambda: subprocess.run(
            argv, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
    )


def paired(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> tuple[float, float]:
    """Return the medians of both, measured in turn so that drift hits both."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def show(what: str, value: float, unit: str, limit: str, reference: str = "") -> None:
    """Print one line: the figure, what it was measured against, and what it must reach."""
    beside = f"  ({reference})" if reference else ""
    print(f"{what:<52} {value:8.2f} {unit:<3} wanted {limit}{beside}", flush=True)
