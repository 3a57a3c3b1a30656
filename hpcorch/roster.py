"""The entities of one experiment: names and directories that no two of them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcorch.database import Database
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError, InputTypeError

Entity = Orchestrator | Model


class Roster:
    """Entities by name; those without a path of their own live below `exp_path`."""

    def __init__(self, exp_path: Path) -> None:
        self._exp_path = exp_path
        self._entities: dict[str, Entity] = {}

    def __iter__(self) -> Iterator[Entity]:
        return iter(self._entities.values())

    def add(self, entity: Entity) -> None:
        """Take a new entity; raises InputError when its name or its directory is in use."""
        known = self._entities.get(entity.name)
        if known is not None:
            field = "db_identifier" if isinstance(entity, Orchestrator) else "name"
            kind = "database" if isinstance(known, Orchestrator) else "model"
            raise InputError(
                f"{field} is {entity.name!r}: a {kind} of this experiment has that name already"
            )
        directory = self.directory(entity)
        for other in self:
            if self.directory(other) == directory:
                raise InputError(
                    f"path of {entity.name} is {directory}: {other.name} of this experiment has it"
                )
        self._entities[entity.name] = entity
        if isinstance(entity, Orchestrator):
            entity.settle(Database(directory))

    def checked(self, entities: Sequence[object]) -> list[Entity]:
        """Return `entities` if all are databases or models, taking those that are new."""
        found: list[Entity] = []
        for entity in entities:
            if not isinstance(entity, (Orchestrator, Model)):
                raise InputTypeError(
                    f"{entity!r} is a {type(entity).__name__}: a database or a model is expected"
                )
            if self._entities.get(entity.name) is not entity:
                self.add(entity)
            found.append(entity)
        return found

    def directory(self, entity: Entity) -> Path:
        """Return the run directory of `entity`."""
        return Path(entity.path or self._exp_path / entity.name).absolute()
