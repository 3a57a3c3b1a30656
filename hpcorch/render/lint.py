"""Faults of a template that can be seen in its text: pure functions on the Jinja syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jinja2
from jinja2 import nodes

from hpcorch.errors import TemplateError, UnsafeTemplate
from hpcorch.plan import CONTEXT_VERSION
from hpcorch.plan.context import nearest_to_unknown
from hpcorch.render.filters import FILTERS

_WRITTEN_FOR = re.compile(r"\{#-?\s*hpcorch context (\d+)\b")


@dataclass(frozen=True)
class Problem:
    """A fault in line `line` of the file `path`, and its cure. `unsafe` ones are refused always."""

    path: str
    line: int
    message: str
    cure: str = ""
    unsafe: bool = False


def raise_first(problems: Sequence[Problem]) -> None:
    """Raise UnsafeTemplate or TemplateError for the first problem, if there is one."""
    for problem in problems:
        kind = UnsafeTemplate if problem.unsafe else TemplateError
        raise kind(f"{problem.path}:{problem.line}: {problem.message}", problem.cure)


def context_line() -> str:
    """Return the comment by which a template says which context it was written for."""
    return f"{{#- hpcorch context {CONTEXT_VERSION} -#}}"


def unprintable(environment: jinja2.Environment, source: str, where: str) -> list[Problem]:
    """Find a syntax error, or printed values that do not end in an approved filter."""
    try:
        tree = environment.parse(source, filename=where)
    except jinja2.TemplateSyntaxError as error:
        return [Problem(where, error.lineno, error.message or "this is no Jinja template")]
    cure = "end it in one of: " + ", ".join(f"|{name}" for name in FILTERS)
    return [
        Problem(
            where, item.lineno, "a value is printed without an approved filter", cure, unsafe=True
        )
        for output in tree.find_all(nodes.Output)
        for item in output.nodes
        if not isinstance(item, nodes.TemplateData)
        and not (isinstance(item, nodes.Filter) and item.name in FILTERS)
    ]


def wrong_version(source: str, where: str) -> list[Problem]:
    """Find that a template says it was written for another version of the context."""
    match = _WRITTEN_FOR.search(source)
    if match is None or int(match[1]) == CONTEXT_VERSION:
        return []
    return [
        Problem(
            where,
            source.count("\n", 0, match.start()) + 1,
            f"this template was written for context {match[1]}, this hpcorch has {CONTEXT_VERSION}",
            f"compare it with `hpcorch template vars`, then write {CONTEXT_VERSION} there",
        )
    ]


def unknown_names(environment: jinja2.Environment, source: str, where: str) -> list[Problem]:
    """Find attributes of `job` that no kind of job has."""
    problems = []
    for line, path in _attribute_paths(environment.parse(source, filename=where)):
        near = nearest_to_unknown(path)
        if near is not None:
            cure = f"did you mean {near}?" if near else "`hpcorch template vars` lists all"
            problems.append(Problem(where, line, f"no job has {'.'.join(path)!r}", cure))
    return problems


def unknown_blocks(
    environment: jinja2.Environment, source: str, where: str, known: Sequence[str]
) -> list[Problem]:
    """Find blocks that no template above has: Jinja would never print them."""
    tree = environment.parse(source, filename=where)
    nested = {id(inner) for outer in _blocks(tree) for inner in _blocks(outer) if inner != outer}
    cure = "the blocks are " + ", ".join(known)
    return [
        Problem(where, block.lineno, f"no template that this one extends has {block.name!r}", cure)
        for block in _blocks(tree)
        if block.name not in known and id(block) not in nested
    ]


def block_names(environment: jinja2.Environment, source: str) -> list[str]:
    """Return the names of the blocks in a template, in order."""
    return [block.name for block in _blocks(environment.parse(source))]


def parent(environment: jinja2.Environment, source: str) -> str:
    """Return the name of the template that this one extends, nothing if there is none."""
    for node in environment.parse(source).find_all(nodes.Extends):
        if isinstance(node.template, nodes.Const):
            return str(node.template.value)
    return ""


def included(environment: jinja2.Environment, source: str) -> list[str]:
    """Return the names of the templates that this one includes."""
    return [
        str(node.template.value)
        for node in environment.parse(source).find_all(nodes.Include)
        if isinstance(node.template, nodes.Const)
    ]


def _blocks(tree: nodes.Node) -> list[nodes.Block]:
    return list(tree.find_all(nodes.Block))


def _attribute_paths(tree: nodes.Node) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line and the names of each longest chain job.a.b."""
    inner = {id(node.node) for node in tree.find_all(nodes.Getattr)}
    for node in tree.find_all(nodes.Getattr):
        if id(node) in inner:
            continue
        names: list[str] = []
        at: nodes.Node = node
        while isinstance(at, nodes.Getattr):
            names.insert(0, at.attr)
            at = at.node
        if isinstance(at, nodes.Name) and at.name == "job":
            yield node.lineno, tuple(names)
