"""Jobs to scripts: Jinja templates that cannot print a value unquoted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from hpcorch.errors import RenderError, TemplateError
from hpcorch.plan import CONTEXT_VERSION, Job
from hpcorch.render.filters import FILTERS, strict
from hpcorch.render.loader import Loader
from hpcorch.render.refusal import Refusal

_HASH_LINE = "# sha256 of what follows: "


@dataclass(frozen=True)
class Script:
    """A rendered script, and the sha256 of what follows its header."""

    text: str
    sha256: str


def environment(loader: Loader) -> jinja2.Environment:
    """Return the Jinja environment in which all templates live."""
    made = jinja2.Environment(
        loader=loader,
        extensions=[Refusal],
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    made.filters.update({name: strict(function) for name, function in FILTERS.items()})
    return made


class Renderer:
    """Renders jobs with the shipped templates and a site's overrides."""

    def __init__(self, shipped: Path, site_dirs: Sequence[str] = ()) -> None:
        self._environment = environment(Loader(shipped, [Path(item) for item in site_dirs]))

    def render(self, job: Job, scheduler: str, version: str) -> Script:
        """Return the script of `job`.

        Raises TemplateError, UnsafeTemplate, RenderError, or SiteRefusal when a template of the
        site does not allow the job.
        """
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
        except RecursionError as error:
            raise TemplateError(
                f"templates that {name} extends or includes go in a circle"
            ) from error
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
