"""What templates there are, what a site has made of them, and what is wrong with its files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from hpcorch.errors import InputError, TemplateError
from hpcorch.render import lint, versions
from hpcorch.render.lint import Problem
from hpcorch.render.loader import CORE_PREFIX, Loader, read, refuse_if_others_may_write
from hpcorch.render.renderer import environment

# Blocks that the shipped templates leave empty for sites.
RESERVED = {
    "site_directives": "further lines for the batch system, such as #SBATCH or #PBS ones",
    "site_modules": "what must be loaded before anything starts",
    "before_launch": "runs before the server or the program starts",
    "after_stop": "runs after it has ended; HPCORCH_CODE is its exit code",
}
_SUFFIXES = (".j2", ".sh")
_SUMMARY = re.compile(r"\{#-?\s*(.*?)\s*-?#\}", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A template: where the one in use is, and whether it is a site's."""

    name: str
    path: str
    is_site: bool
    summary: str


class Catalogue:
    """The shipped templates below those of a site."""

    def __init__(self, shipped: Path, site_dirs: Sequence[str] = ()) -> None:
        self._loader = Loader(shipped, [Path(item) for item in site_dirs])
        self._environment = environment(self._loader)
        self._shipped = _names(shipped)

    def entries(self) -> list[Entry]:
        """Return all templates by name, those that only a site has included."""
        site = {name for folder in self._loader.site_dirs for name in _names(folder)}
        return [self.entry(name) for name in sorted({*self._shipped, *site})]

    def entry(self, name: str, *, core: bool = False) -> Entry:
        """Return the template in use, or the shipped one; raises InputError."""
        path = self._path(name, core=core)
        return Entry(name, str(path), self._is_site(path), _summary(path))

    def source(self, name: str, *, core: bool = False) -> str:
        """Return the text of the template in use, or of the shipped one; raises InputError."""
        return read(self._path(name, core=core))

    def extension(self, name: str) -> str:
        """Return a file that extends a shipped template and leaves its blocks empty.

        Raises InputError for one that has no blocks for sites.
        """
        self._path(name, core=True)
        free = [block for block in RESERVED if block in self.blocks(CORE_PREFIX + name)]
        if not free:
            raise InputError(
                f"template {name} has no blocks for sites to fill",
                "extend base.sh.j2, which every job script is made from",
            )
        lines = [versions.context_line(), f'{{% extends "{CORE_PREFIX}{name}" %}}']
        for block in free:
            lines += ["", f"{{#- {RESERVED[block]} -#}}", f"{{% block {block} %}}"]
            lines.append("{% endblock %}")
        return "\n".join(lines) + "\n"

    def blocks(self, name: str) -> list[str]:
        """Return the blocks of a template and of those that it extends."""
        found: list[str] = []
        above: set[str] = set()
        while name and name not in above:
            above.add(name)
            source = read(self._loader.find(name))
            found += lint.block_names(self._environment, source)
            name = lint.parent(self._environment, source)
        return list(dict.fromkeys(found))

    def check(self, folder: Path) -> list[Problem]:
        """Return everything that can be seen to be wrong with the files of a site's directory."""
        if not folder.is_dir():
            raise InputError(f"{folder} is no directory")
        names = _names(folder)
        used = {*self._shipped, *self._included(folder, names)}
        problems: list[Problem] = []
        for name in names:
            path = folder / name
            problems += _writable(path)
            if name not in used:
                near = next(iter(difflib.get_close_matches(name, self._shipped, n=1)), "")
                cure = f"did you mean {near}?" if near else "`hpcorch template list` shows all"
                problems.append(Problem(str(path), 1, "no template of this name is used", cure))
            if path.suffix == ".j2":
                problems += self._check_text(path, name)
        return problems

    def _check_text(self, path: Path, name: str) -> list[Problem]:
        try:
            source = read(path)
        except TemplateError as error:
            return [Problem(str(path), 1, error.message, "save it as UTF-8")]
        where = str(path)
        problems = lint.unprintable(self._environment, source, where)
        if any(not problem.unsafe for problem in problems):
            return problems
        itself = lint.own_namesake(self._environment, source, where, name)
        if itself:
            return problems + itself
        problems += versions.outdated(self._environment, source, where)
        problems += versions.unversioned(source, where)
        problems += lint.unknown_names(self._environment, source, where)
        problems += self._check_includes(source, where)
        above = lint.parent(self._environment, source)
        if above:
            problems += self._check_blocks(source, where, above)
        elif name in self._shipped:
            known = self.blocks(CORE_PREFIX + name)
            problems += lint.lost_blocks(
                self._environment, source, where, CORE_PREFIX + name, known
            )
        return problems

    def _check_blocks(self, source: str, where: str, above: str) -> list[Problem]:
        try:
            known = self.blocks(above)
        except jinja2.TemplateNotFound as error:
            line = source.count("\n", 0, source.find(above)) + 1
            return [self._missing(source, where, line, str(error.name))]
        return lint.unknown_blocks(self._environment, source, where, known)

    def _check_includes(self, source: str, where: str) -> Iterator[Problem]:
        for line, name, may_be_missing in lint.included(self._environment, source):
            try:
                self._loader.find(name)
            except jinja2.TemplateNotFound:
                if not may_be_missing:
                    yield self._missing(source, where, line, name)

    def _missing(self, source: str, where: str, line: int, name: str) -> Problem:
        core = [CORE_PREFIX + shipped for shipped in self._shipped]
        near = difflib.get_close_matches(name, [*core, *self._shipped], n=1)
        cure = f"did you mean {near[0]}?" if near else "`hpcorch template list` shows all"
        return lint.seen(source, where, line, f"there is no template {name}", cure)

    def _included(self, folder: Path, names: Sequence[str]) -> Iterator[str]:
        for name in names:
            if name.endswith(".j2"):
                source = (folder / name).read_text(encoding="utf-8", errors="replace")
                if not lint.unprintable(self._environment, source, name):
                    for _, included, _ in lint.included(self._environment, source):
                        yield included
                    yield lint.parent(self._environment, source)

    def _is_site(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._loader.site_dirs)

    def _path(self, name: str, *, core: bool) -> Path:
        try:
            return self._loader.find(CORE_PREFIX + name if core else name)
        except jinja2.TemplateNotFound as error:
            near = next(iter(difflib.get_close_matches(name, self._shipped, n=1)), "")
            hint = f"did you mean {near}?" if near else "hpcorch template list"
            raise InputError(f"there is no template {name!r}", hint) from error


def _names(folder: Path) -> list[str]:
    """Return the templates below a directory by name; what is hidden does not count."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _writable(path: Path) -> list[Problem]:
    try:
        refuse_if_others_may_write(path)
    except TemplateError as error:
        message = error.message.removeprefix(f"{path} ")
        return [Problem(str(path), 1, f"it {message}", error.hint, unsafe=True)]
    return []


def _summary(path: Path) -> str:
    """Return the first sentence of a template's first comment."""
    source = read(path)
    if path.suffix == ".sh":
        lines = [line[2:] for line in source.splitlines() if line.startswith("# ")]
        text = next((line for line in lines if not line.startswith("shellcheck")), "")
    else:
        match = _SUMMARY.search(source)
        text = " ".join(match[1].split()) if match else ""
    return text.split(". ")[0].rstrip(".")
