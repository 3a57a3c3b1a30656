"""What has changed in the context that templates see, from one version of it to the next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """Since context `version` the name is `what`: "gone: use job.y", or "in megabytes", say.

    It is one that templates print, such as job.resources.queue, or that of a block.
    """

    version: int
    name: str
    what: str


# Whoever raises CONTEXT_VERSION writes down here why, so that sites learn which of their files to
# look at. New names need neither.
CHANGES: tuple[Change, ...] = ()
