"""Finds templates: in the site's directories first, then among the shipped ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2

from hpcorch.errors import TemplateError, UnsafeTemplate
from hpcorch.paths import distrust
from hpcorch.render.lint import own_namesake, raise_first, unprintable
from hpcorch.render.versions import outdated

CORE_PREFIX = "!core/"
# What a library of bash functions says to a linter and a whole script has no need to.
_SH_FIRST_LINE = "# shellcheck shell=bash\n"


class Loader(jinja2.BaseLoader):
    """Loads by name, and refuses what others could change or what prints a value unquoted.

    `!core/<name>` is always the shipped one, so that a site's template can extend its namesake.
    """

    def __init__(self, shipped: Path, site_dirs: Sequence[Path]) -> None:
        self.shipped = shipped
        self.site_dirs = tuple(site_dirs)

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Return a template's source and path, as Jinja asks for it."""
        path = self.find(template)
        source = read(path)
        if path.suffix == ".sh":
            # Bash functions are taken as they are: '{#' and '{%' mean something else in bash.
            source = "{% raw %}" + source.removeprefix(_SH_FIRST_LINE) + "{% endraw %}"
        else:
            raise_first(unprintable(environment, source, str(path)))
            raise_first(own_namesake(environment, source, str(path), template))
            raise_first(outdated(environment, source, str(path)))
        return source, str(path), lambda: True

    def find(self, template: str) -> Path:
        """Return the file that stands for a name; raises jinja2.TemplateNotFound."""
        name = template.removeprefix(CORE_PREFIX)
        if ".." in Path(name).parts or name.startswith("/"):
            raise TemplateError(f"template name {template!r} leaves the template directories")
        if name == template:
            for directory in self.site_dirs:
                found = directory / name
                if found.is_file():
                    for path in (found, *found.parents[: len(Path(name).parts)]):
                        refuse_if_others_may_write(path)
                    return found
        if not (self.shipped / name).is_file():
            raise jinja2.TemplateNotFound(template)
        return self.shipped / name


def read(path: Path) -> str:
    """Return a template's text; raises TemplateError when it is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path} is no UTF-8 text: {error.reason}") from error


def refuse_if_others_may_write(path: Path) -> None:
    """Raise UnsafeTemplate when somebody else could change what a job will run."""
    reason = distrust(path)
    if reason is not None:
        raise UnsafeTemplate(*reason)
