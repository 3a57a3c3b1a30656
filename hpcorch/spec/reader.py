"""From the text of a spec file to the descriptions of an experiment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from hpcorch.describe import check
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError
from hpcorch.spec import entities
from hpcorch.spec.table import Source, Table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXPERIMENT_KEYS = ("name", "exp_path", "launcher", "site")
TOP_KEYS = ("experiment", "database", "model", "ensemble")


@dataclass(frozen=True)
class Spec:
    """An experiment as a spec file describes it: the arguments of Experiment, and its entities.

    `exp_path` is absolute; `site` is a path or None. `databases` and `programs` are in the order of
    the file.
    """

    file: str
    name: str
    exp_path: str
    launcher: str
    site: str | None
    databases: tuple[Orchestrator, ...]
    programs: tuple[Model | Ensemble, ...]

    @property
    def entities(self) -> tuple[Orchestrator | Model | Ensemble, ...]:
        """Databases first, then programs."""
        return (*self.databases, *self.programs)


def read_spec(path: str | os.PathLike[str]) -> Spec:
    """Read a spec file; raises InputError that names the file, the table and the key at fault."""
    file = os.fspath(path)
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"the spec file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the spec file {file} is not UTF-8 text: {error}") from error
    return read_text(text, file, str(Path(file).absolute().parent))


def read_text(text: str, file: str, folder: str) -> Spec:
    """Read the text of a spec file, whose relative paths start at `folder`; raises InputError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the spec file {file} is not valid TOML: {error}") from error
    top = Table(Source(file, folder), "", values, TOP_KEYS)
    databases = [
        entities.database(name, table)
        for name, table in top.named("database", entities.DATABASE_KEYS).items()
    ]
    programs = _programs(top)
    _refuse_twins(top, [item.name for item in databases], list(programs))
    if not (databases or programs):
        raise InputError(
            f"{file} describes nothing to start",
            "a [database.NAME], a [model.NAME] or an [ensemble.NAME] is needed",
        )
    about = top.table("experiment", EXPERIMENT_KEYS) or Table(Source(file, folder), "", {}, ())
    with about.blamed():
        name = check.name("name", about.get("name", Path(file).stem))
        launcher = check.text("launcher", about.get("launcher", "auto"))
        site = about.get("site")
        return Spec(
            file=file,
            name=name,
            exp_path=check.path("exp_path", about.anchored(about.get("exp_path", name))),
            launcher=launcher,
            site=None if site is None else check.path("site", about.anchored(site)),
            databases=tuple(databases),
            programs=tuple(programs.values()),
        )


def _programs(top: Table) -> dict[str, Model | Ensemble]:
    """Return models and ensembles by name, each told whose keys it reads."""
    models = top.named("model", entities.MODEL_KEYS)
    ensembles = top.named("ensemble", entities.ENSEMBLE_KEYS)
    _refuse_twins(top, list(models), list(ensembles))
    found: dict[str, Model | Ensemble] = {}
    found.update((name, entities.model(name, table)) for name, table in models.items())
    found.update((name, entities.ensemble(name, table)) for name, table in ensembles.items())
    for name, table in {**models, **ensembles}.items():
        entities.incoming(table, found[name], found)
    return found


def _refuse_twins(top: Table, some: list[str], others: list[str]) -> None:
    for name in some:
        if name in others:
            raise top.fault(f"two tables describe {name!r}: every entity needs a name of its own")
