"""`--explain-pinning` of `hpcorch render`: who would sit on which CPU, instead of the script."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.cli import output, words
from hpcorch.describe import cpus
from hpcorch.errors import InputError
from hpcorch.plan import picture, seats
from hpcorch.submit import Built

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--explain-pinning", action="store_true", help="show who would sit on which CPU instead"
    )
    parser.add_argument(
        "--job-cpus", metavar="LIST", help="for a job with these CPUs of a node (default: as here)"
    )


def check(args: Namespace, file: str | None) -> None:
    """Raise InputError where these options and others would be without effect."""
    words.refuse_alone(args, ["--job-cpus"], "a picture of the pinning", "--explain-pinning")
    if args.explain_pinning and file is not None:
        raise InputError("--explain-pinning writes nothing to a file", "leave -o out")


def explain(args: Namespace, built: Built) -> None:
    """Print who sits where; nothing is written."""
    allowed = _cpus_here() if args.job_cpus is None else cpus.parse_list(args.job_cpus)
    found = seats(built.job, allowed, _numa_domains())
    if args.json:
        output.print_json(
            name=built.job.name,
            seats=[{"title": it.title, "cpus": it.cpus, "places": dict(it.places)} for it in found],
        )
    else:
        output.print_exactly(picture(found))


def _cpus_here() -> tuple[int, ...]:
    if sys.platform == "darwin":
        return tuple(range(os.cpu_count() or 1))
    return tuple(sorted(os.sched_getaffinity(0)))


def _numa_domains() -> dict[int, tuple[int, ...]]:
    """Read the domains of this machine, or of the one that HPCORCH_TOPOLOGY describes."""
    root = Path(os.environ.get("HPCORCH_TOPOLOGY") or "/sys/devices/system/node")
    files = {int(path.parent.name[4:]): path for path in root.glob("node[0-9]*/cpulist")}
    return {number: cpus.parse_list(files[number].read_text()) for number in sorted(files)}
