"""The entities of one experiment: names and directories that no two of them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcorch.database import Database
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError, InputTypeError

Entity = Orchestrator | Model | Ensemble


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
            raise InputError(
                f"{field} is {entity.name!r}: {_kind(known)} of this experiment has that name "
                "already"
            )
        directory = self.directory(entity)
        for other in self:
            if self.directory(other) == directory:
                raise InputError(
                    f"path of {entity.name} is {directory}: {other.name} of this experiment has it"
                )
        self._entities[entity.name] = entity
        if isinstance(entity, Orchestrator):
            entity.path = str(directory)
            entity.settle(Database(directory))
        else:
            entity.settle(str(directory))

    def programs(self, entities: Sequence[Entity]) -> Iterator[tuple[str, Model, Path]]:
        """Yield the programs of `entities`: the entity's name, the program, its directory.

        Members of ensembles write down their parameters themselves: only those with files that are
        not their nodes' business are yielded.
        """
        for entity in entities:
            directory = self.directory(entity)
            if isinstance(entity, Model):
                yield entity.name, entity, directory
            elif isinstance(entity, Ensemble):
                for model in entity.peek_equipped():
                    yield entity.name, model, Path(model.path or directory / model.name)

    def distinct(self, entities: Sequence[object]) -> list[Entity]:
        """Return what checked returns; raises InputError for what would run twice at once."""
        found: list[Entity] = []
        for entity in self.checked(entities):
            if entity in found:
                raise InputError(f"{entity.name} is given twice")
            found.append(entity)
        for entity in found:
            owner = self.member(entity)
            if owner is not None and owner[0] in found:
                raise InputError(
                    f"{entity.name} is a member of {owner[0].name}: it starts with all others"
                )
        return found

    def checked(self, entities: Sequence[object]) -> list[Entity]:
        """Return `entities` if all can be started, taking those that are new."""
        found: list[Entity] = []
        for entity in entities:
            if not isinstance(entity, (Orchestrator, Model, Ensemble)):
                raise InputTypeError(
                    f"{entity!r} is a {type(entity).__name__}: a database, a model or an ensemble "
                    "is expected"
                )
            if self._entities.get(entity.name) is not entity:
                owner = self.member(entity)
                if owner is not None:
                    raise InputError(
                        f"{entity.name} is a member of {owner[0].name}: it starts with all others"
                    )
                self.add(entity)
            found.append(entity)
        return found

    def member(self, entity: object) -> tuple[Ensemble, int] | None:
        """Return the ensemble that a model is a member of, and its number there.

        It may have been described by itself and added then: it is known under its name as well.
        """
        if not isinstance(entity, Model):
            return None
        for known in self:
            number = known.number_of(entity) if isinstance(known, Ensemble) else None
            if isinstance(known, Ensemble) and number is not None:
                return known, number
        return None

    def database_in(self, directory: Path) -> Orchestrator | None:
        """Return the database whose run directory that is."""
        for known in self:
            if isinstance(known, Orchestrator) and self.directory(known) == directory:
                return known
        return None

    def directory(self, entity: Entity) -> Path:
        """Return the run directory of `entity`."""
        return Path(entity.path or self._exp_path / entity.name).absolute()


def _kind(entity: Entity) -> str:
    if isinstance(entity, Orchestrator):
        return "a database"
    return "an ensemble" if isinstance(entity, Ensemble) else "a model"
