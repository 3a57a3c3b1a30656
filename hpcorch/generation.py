"""Run directories and the files in them, before anything runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hpcorch import placement, rundir
from hpcorch.describe.ensemble import Ensemble
from hpcorch.errors import InputError
from hpcorch.roster import Entity, Roster


def refuse_to_overwrite(
    entities: Sequence[Entity], roster: Roster, script_name: str, *, overwrite: bool
) -> None:
    """Refuse directories that are none, and those with an earlier run unless that may be lost."""
    for entity in entities:
        directory = roster.directory(entity)
        rundir.refuse_file(entity.name, directory)
        used = (directory / script_name).exists() or placement.is_generated(directory)
        if used and not overwrite:
            raise InputError(
                f"{directory} holds an earlier run of {entity.name}", "say overwrite=True"
            )


def prepare(entities: Sequence[Entity], roster: Roster, marker: str) -> None:
    """Make the directories of entities, and of members that do not make theirs themselves."""
    for entity in entities:
        directory = roster.directory(entity)
        rundir.prepare(directory, entity.name, len(entity) if isinstance(entity, Ensemble) else 1)
        if isinstance(entity, Ensemble):
            placement.note_marker(directory, entity.name, marker)
            for model in entity.peek():
                if not model.files.on_node:
                    rundir.make_private(Path(model.path or directory / model.name))


def carry_out(
    orders: Sequence[placement.Order], log: logging.Logger, *, verbose: bool = False
) -> None:
    """Put files in place; what members of an ensemble have to complain of is said once."""
    said: set[str] = set()
    for order in orders:
        for warning in placement.carry_out(order):
            if warning not in said:
                log.warning(warning)
            said.add(warning)
        if verbose:
            found = order.placement
            log.info(
                "%s: %d copied, %d linked, %d configured in %s",
                order.name,
                len(found.copies),
                len(found.links),
                len(found.configured),
                order.directory,
            )
