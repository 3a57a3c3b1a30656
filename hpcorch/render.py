"""Jobs to scripts: Jinja templates that cannot print a value unquoted.

A site's template may carry the name of a shipped one and extend it as `!core/<name>`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2 import nodes

from hpcorch.errors import RenderError, TemplateError, UnsafeTemplate
from hpcorch.plan import CONTEXT_VERSION, Job

CORE_PREFIX = "!core/"
# What a library of bash functions says to a linter and a whole script has no need to.
_SH_FIRST_LINE = "# shellcheck shell=bash\n"
_HASH_LINE = "# sha256 of what follows: "


@dataclass(frozen=True)
class Script:
    """A rendered script, and the sha256 of what follows its header."""

    text: str
    sha256: str


def _sh(value: object) -> str:
    """Quote for a shell: a text or number as one word, a list as several words."""
    if isinstance(value, (list, tuple)):
        return " ".join(_sh(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise RenderError(f"the sh filter got {value!r}: it takes text, numbers and lists of them")
    return shlex.quote(str(value))


def _directive(value: object) -> str:
    """Pass text that a scheduler's directive line can hold; refuse control characters."""
    text = str(value)
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise RenderError(f"{text!r} cannot be in a directive: it has control characters")
    return text


def _comment(value: object) -> str:
    """Make any text fit one comment line."""
    return "".join(char if char.isprintable() else "?" for char in str(value))


def _count(value: object) -> str:
    """Print a whole number; a flag prints as 1 or 0."""
    if not isinstance(value, int):
        raise RenderError(f"the count filter got {value!r}: it takes whole numbers and flags")
    return str(int(value))


def _conf(value: object) -> str:
    """Quote for redis.conf: a text as one word, a list as several words of one line."""
    if isinstance(value, (list, tuple)):
        return " ".join(_conf(item) for item in value)
    text = _directive(value)
    if text and all(char.isalnum() or char in "-_./:," for char in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


FILTERS: dict[str, Callable[[object], str]] = {
    "sh": _sh,
    "directive": _directive,
    "comment": _comment,
    "count": _count,
    "json": json.dumps,
    "conf": _conf,
}


def _strict(function: Callable[[object], str]) -> Callable[[object], str]:
    """Let a name that the context lacks be told by its name, not by what a filter makes of it."""

    def filtered(value: object) -> str:
        if isinstance(value, jinja2.Undefined):
            return str(value)
        return function(value)

    return filtered


def lint(environment: jinja2.Environment, source: str, where: str) -> None:
    """Refuse a template in which a printed value does not end in an approved filter."""
    try:
        tree = environment.parse(source, filename=where)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{where}:{error.lineno}: {error.message}") from error
    for output in tree.find_all(nodes.Output):
        for item in output.nodes:
            safe = isinstance(item, nodes.TemplateData) or (
                isinstance(item, nodes.Filter) and item.name in FILTERS
            )
            if not safe:
                raise UnsafeTemplate(
                    f"{where}:{item.lineno}: a value is printed without an approved filter",
                    "end it in one of: " + ", ".join(f"|{name}" for name in FILTERS),
                )


class _Loader(jinja2.BaseLoader):
    """Finds templates in site directories first, then among the shipped ones."""

    def __init__(self, shipped: Path, site_dirs: Sequence[Path]) -> None:
        self._shipped = shipped
        self._site_dirs = site_dirs

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        path = self._find(template)
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".sh":
            # Bash functions are taken as they are: '{#' and '{%' mean something else in bash.
            source = "{% raw %}" + source.removeprefix(_SH_FIRST_LINE) + "{% endraw %}"
        else:
            lint(environment, source, str(path))
        return source, str(path), lambda: True

    def _find(self, template: str) -> Path:
        name = template.removeprefix(CORE_PREFIX)
        if ".." in Path(name).parts or name.startswith("/"):
            raise TemplateError(f"template name {template!r} leaves the template directories")
        if name == template:
            for directory in self._site_dirs:
                found = directory / name
                if found.is_file():
                    for path in (found, *found.parents[: len(Path(name).parts)]):
                        refuse_if_others_may_write(path)
                    return found
        if not (self._shipped / name).is_file():
            raise jinja2.TemplateNotFound(template)
        return self._shipped / name


def refuse_if_others_may_write(path: Path) -> None:
    """Raise UnsafeTemplate when somebody else could change what a job will run."""
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnsafeTemplate(f"{path} can be written by others", f"chmod go-w {path}")
    if status.st_uid not in (0, os.getuid()):
        raise UnsafeTemplate(f"{path} belongs to neither you nor root")


class Renderer:
    """Renders jobs of one scheduler with the shipped templates and a site's overrides."""

    def __init__(self, shipped: Path, site_dirs: Sequence[str] = ()) -> None:
        self._environment = jinja2.Environment(
            loader=_Loader(shipped, [Path(item) for item in site_dirs]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        strict = {name: _strict(function) for name, function in FILTERS.items()}
        self._environment.filters.update(strict)

    def render(self, job: Job, scheduler: str, version: str) -> Script:
        """Return the script of `job`; raises TemplateError, UnsafeTemplate or RenderError."""
        name = f"{scheduler}/{job.kind}.sh.j2"
        try:
            template = self._environment.get_template(name)
            text = template.render(
                job=job,
                scheduler=scheduler,
                origin=name,
                version=version,
                context_version=CONTEXT_VERSION,
            )
        except jinja2.TemplateNotFound as error:
            raise TemplateError(f"there is no template {error.name}") from error
        except RenderError as error:
            raise RenderError(f"template {name} cannot be rendered: {error.message}") from error
        except jinja2.TemplateError as error:
            raise RenderError(f"template {name} cannot be rendered: {error.message}") from error
        return _seal(text)


def _seal(text: str) -> Script:
    """Write the hash of everything after the header into the header."""
    head, mark, body = text.partition(_HASH_LINE + "-\n")
    body = body.rstrip("\n") + "\n"
    digest = hashlib.sha256(body.encode("utf-8", "surrogateescape")).hexdigest()
    return Script(f"{head}{_HASH_LINE}{digest}\n{body}" if mark else text, digest)
