"""Scripts for those who submit by hand: what they need beside them, and the commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcorch import placement, rundir
from hpcorch.build import Builder
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.plan import DatabaseUse
from hpcorch.roster import Entity, Roster
from hpcorch.submit import Built, furnish


@dataclass(frozen=True)
class Draft:
    """The scripts of one entity, and the files that its programs find in their directories."""

    built: Built
    orders: tuple[placement.Order, ...]

    @property
    def needs_files(self) -> bool:
        """Whether a script alone does not do."""
        built = self.built
        models = any(job.files for job in built.plan.jobs)
        return bool(built.plan.table or models or any(it.placement.files for it in self.orders))


def drafted(
    build: Builder,
    roster: Roster,
    entity: Entity,
    uses: Sequence[DatabaseUse],
    marker: str | None = None,
) -> Draft:
    """Plan and render one entity, whose directory the roster knows; nothing is written.

    `marker` stands on both sides of markers in its files. None leaves files alone that were
    generated already.
    """
    where = roster.directory(entity)
    if isinstance(entity, Orchestrator):
        return Draft(build.finish(build.database(entity, where)), ())
    if isinstance(entity, Model):
        plan = build.model(entity, uses, where)
    else:
        known = marker or placement.noted_marker(where)
        plan = build.ensemble(entity, uses, where, marker=known)
    orders = placement.survey_all(roster.programs([entity]), marker)
    return Draft(build.finish(plan), tuple(orders))


def write(draft: Draft, first: Path) -> list[str]:
    """Write the scripts, and into the run directory what they need there; return warnings."""
    rundir.write_scripts(first, [script.text for script in draft.built.scripts])
    furnish(draft.built)
    return [warning for order in draft.orders for warning in placement.carry_out(order)]


def submissions(draft: Draft, first: Path) -> list[tuple[Path, str]]:
    """Return each script file of a job with the command that runs it."""
    words = draft.built.job.by_hand.replace("THIS_FILE", "").split()
    files = [rundir.script_file(first, part) for part in range(len(draft.built.scripts))]
    return [(file, shlex.join([*words, str(file)])) for file in files]
