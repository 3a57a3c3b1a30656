"""What `hpcorch template lint` finds: in the text of a site's files, and in their scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hpcorch.cli.script_check import new_complaints, traced
from hpcorch.errors import InputError, SiteRefusal, TemplateError
from hpcorch.paths import templates_dir
from hpcorch.rehearse import rehearsals, render
from hpcorch.render.catalogue import Catalogue
from hpcorch.render.lint import Problem
from hpcorch.sites import Site


def check_directories(
    folders: Sequence[Path], site: Site, schedulers: Sequence[str]
) -> list[Problem]:
    """Check a site's template directories, the first one winning.

    When their text is in order, scripts for `schedulers` are made from them and checked too.
    Raises InputError for what is no directory.
    """
    dirs = [str(folder) for folder in folders]
    catalogue = Catalogue(templates_dir(), dirs)
    problems = [problem for folder in folders for problem in catalogue.check(folder)]
    if any(problem.fault for problem in problems):
        return problems
    return problems + _merged(_check_scripts(dirs, site, schedulers))


def missing(folder: str | Path, site: Site) -> InputError | None:
    """Return what is to be said of a directory that the profile names and that is not there."""
    if Path(folder).is_dir():
        return None
    cure = f"correct template_dirs in {site.origin('template_dirs')}"
    return InputError(f"{folder} is no directory", cure)


def _merged(problems: Iterable[Problem]) -> list[Problem]:
    """Name the first of several scripts that have the same fault, and say how many there are."""
    same: dict[tuple[object, ...], list[Problem]] = {}
    for item in problems:
        # A line of a file is one fault whatever scripts it has got into.
        key = (item.path, item.line) if item.line else (item.message, item.cure, item.fault)
        same.setdefault(key, []).append(item)
    return [_first(*items) for items in same.values()]


def _first(first: Problem, *others: Problem) -> Problem:
    if not others:
        return first
    more = f" and {len(others)} more"
    if first.line:
        return replace(first, message=first.message.removesuffix(")") + more + ")")
    return replace(first, path=first.path + more)


def _check_scripts(dirs: Sequence[str], site: Site, schedulers: Sequence[str]) -> Iterator[Problem]:
    for scheduler in schedulers:
        for item in rehearsals(scheduler, site):
            place = f"{scheduler} script: {item.title}"
            try:
                text = render(item, scheduler, dirs).text
            except SiteRefusal as refusal:
                yield Problem(place, 0, f"refused: {refusal.message}", fault=False)
            except TemplateError as error:
                yield Problem(place, 0, error.message, error.hint)
            else:
                for complaint in new_complaints(item, scheduler, text):
                    yield traced(complaint, place, dirs)
