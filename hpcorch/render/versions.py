"""Templates that were written for another version of the context: which lines must be looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import jinja2

from hpcorch.plan import CONTEXT_VERSION
from hpcorch.plan.changes import CHANGES, Change
from hpcorch.render.lint import Problem, seen, uses

_WRITTEN_FOR = re.compile(r"\{#-?\s*hpcorch context (\d+)\b")


def context_line() -> str:
    """Return the comment by which a template says which context it was written for."""
    return f"{{#- hpcorch context {CONTEXT_VERSION} -#}}"


def unversioned(source: str, where: str) -> list[Problem]:
    """Remark that a template does not say which context it was written for."""
    if _WRITTEN_FOR.search(source):
        return []
    message = "it does not say which context it was written for: an upgrade could not warn you"
    return [Problem(where, 1, message, f"begin it with {context_line()}", fault=False)]


def outdated(environment: jinja2.Environment, source: str, where: str) -> list[Problem]:
    """Find what a template for another version uses that now means something else, or nothing.

    One that uses nothing of what has changed gets a remark; what a later version brings is unknown.
    """
    match = _WRITTEN_FOR.search(source)
    if match is None or int(match[1]) == CONTEXT_VERSION:
        return []
    written = int(match[1])
    line = source.count("\n", 0, match.start()) + 1
    since = [change for change in CHANGES if written < change.version]
    known = 0 < written < CONTEXT_VERSION
    changed = "; changed since: " + ", ".join(change.name for change in since) if known else ""
    whole = seen(
        source,
        where,
        line,
        f"it was written for context {written}, this hpcorch has {CONTEXT_VERSION}{changed}",
        f"compare it with `hpcorch template vars`, then write {CONTEXT_VERSION} there",
    )
    cure = f"correct it, then write context {CONTEXT_VERSION} in line {line}"
    lines = [
        seen(source, where, at, f"since context {it.version} {it.name} is {it.what}", cure)
        for at, it in _affected(uses(environment, source), since)
    ]
    return lines or [replace(whole, fault=not known)]


def _affected(
    used: Sequence[tuple[int, str]], changes: Sequence[Change]
) -> Iterator[tuple[int, Change]]:
    """Yield each use of a name that has changed, or of something below it."""
    for line, name in used:
        for change in changes:
            if f"{name}.".startswith(f"{change.name}."):
                yield line, change
