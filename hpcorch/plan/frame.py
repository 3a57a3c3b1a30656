"""What a job of any kind gets from where it goes and from what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from hpcorch.describe.check import walltime_seconds
from hpcorch.describe.workers import Attachment
from hpcorch.plan.jobs import RunFile, Target
from hpcorch.plan.workers import model_files
from hpcorch.schedulers.base import Resources


class Frame(TypedDict):
    """Those attributes of a job, by their names."""

    name: str
    run_dir: str
    token: str
    directives: tuple[str, ...]
    resources: Resources
    by_hand: str
    preamble: str
    walltime_seconds: int
    files: tuple[RunFile, ...]
    load_modules: tuple[str, ...]


def frame(
    resources: Resources, target: Target, preamble: Sequence[str], attached: Sequence[Attachment]
) -> Frame:
    """Return them; `preamble` are lines of bash, `attached` the models to load."""
    return Frame(
        name=resources.name,
        run_dir=target.run_dir,
        token=target.token,
        directives=target.scheduler.directives(resources),
        resources=resources,
        by_hand=target.scheduler.by_hand(),
        preamble="\n".join(preamble),
        walltime_seconds=walltime_seconds(resources.walltime),
        files=model_files(attached),
        load_modules=target.site.load_modules,
    )
