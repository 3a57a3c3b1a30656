"""How long it takes to understand what Slurm says of 10,000 tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable

from hpcorch.schedulers.base import JobId, JobRef, Result
from hpcorch.schedulers.slurm import SlurmScheduler
from tests.bench import measure

SLURM = SlurmScheduler()
ARRAYS = 10


def jobs(rows: int) -> list[JobRef]:
    """Return ten arrays that have `rows` tasks together."""
    return [JobRef(JobId(str(job)), "token", rows // ARRAYS) for job in range(ARRAYS)]


def queue(rows: int) -> Result:
    """Return what squeue prints of them."""
    lines = [f"{row % ARRAYS}|{row // ARRAYS}|RUNNING|None\n" for row in range(rows)]
    return Result(("squeue",), 0, "".join(lines), "")


def history(rows: int) -> Result:
    """Return what sacct prints of them."""
    lines = [f"{row % ARRAYS}_{row // ARRAYS}|COMPLETED|0:0\n" for row in range(rows)]
    return Result(("sacct",), 0, "".join(lines), "")


def parsing_seconds(
    parse: Callable[[Result, list[JobRef]], object], answer: Result, asked: list[JobRef]
) -> float:
    """Return how long one answer takes."""
    return measure.seconds(lambda: parse(answer, asked))


def bench() -> None:
    """10,000 rows of each, against 1,000."""
    for program, answer, parse in (
        ("squeue", queue, SLURM.parse_queue),
        ("sacct", history, SLURM.parse_history),
    ):
        many, few = ((answer(rows), jobs(rows)) for rows in (10_000, 1_000))
        large, small = measure.paired(
            functools.partial(parsing_seconds, parse, *many),
            functools.partial(parsing_seconds, parse, *few),
            rounds=15,
        )
        reference = f"1,000 rows {small * 1000:.2f} ms, ratio {large / small:.1f}"
        measure.show(f"parse of 10,000 {program} rows", large * 1000, "ms", "< 100", reference)


if __name__ == "__main__":
    bench()
