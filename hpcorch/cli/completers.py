"""What a shell offers for words that are no options: spec files, their entities, those of runs."""

from __future__ import annotations

from argparse import Action, Namespace
from collections.abc import Callable
from pathlib import Path

from hpcorch.errors import HpcorchError


def complete(action: Action, completer: Callable[..., list[str]]) -> None:
    """Let argcomplete ask `completer`, by the attribute that it looks for."""
    action.completer = completer  # type: ignore[attr-defined]  # argcomplete's, not argparse's


def spec_files(prefix: str, **_: object) -> list[str]:
    """Return spec files and directories that begin like that."""
    folder, slash, name = prefix.rpartition("/")
    where = Path(folder + slash or ".")
    return [
        f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"
        for path in (where.iterdir() if where.is_dir() else ())
        if path.name.startswith(name) and (path.is_dir() or path.suffix == ".toml")
    ]


def spec_names(parsed_args: Namespace, **_: object) -> list[str]:
    """Return the entities that the spec file on the command line describes."""
    from hpcorch.spec import read_spec

    try:
        return [entity.name for entity in read_spec(parsed_args.spec).entities]
    except (HpcorchError, TypeError):
        return []


def run_names(parsed_args: Namespace, **_: object) -> list[str]:
    """Return the entities that have runs in the directory on the command line."""
    from hpcorch.journal import find_runs

    try:
        return list(dict.fromkeys(run.entity for run in find_runs(Path(parsed_args.dir))))
    except (HpcorchError, OSError, TypeError):
        return []
