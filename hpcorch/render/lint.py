"""Faults of a template that can be seen in its text: pure functions on the Jinja syntax tree."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import jinja2
from jinja2 import meta, nodes

from hpcorch.errors import TemplateError, UnsafeTemplate
from hpcorch.plan import context
from hpcorch.plan.context import nearest_anywhere, nearest_to_unknown
from hpcorch.render.filters import FILTERS

_TAGS = (
    *("block", "endblock", "extends", "include", "import", "from", "raise"),
    *("if", "elif", "else", "endif", "for", "endfor", "set", "endset", "macro", "endmacro"),
    *("raw", "endraw", "filter", "endfilter", "call", "endcall", "with", "endwith"),
)
_UNKNOWN_TAG = re.compile(r"Encountered unknown tag '(\w+)'")
_OPEN_TAG = re.compile(r"innermost block that needs to be closed is '(\w+)'")


@dataclass(frozen=True)
class Problem:
    """Something seen in line `line` of the file `path` (0: in no line of it), and its cure.

    `quote` is the line's text. `unsafe` ones are refused always; what is no `fault` is a remark.
    """

    path: str
    line: int
    message: str
    cure: str = ""
    quote: str = ""
    unsafe: bool = False
    fault: bool = True

    @property
    def place(self) -> str:
        """The file and the line, as editors and compilers write it."""
        return f"{self.path}:{self.line}" if self.line else self.path

    def text(self) -> str:
        """Return it as a person reads it: place, message, the line's text, cure."""
        lines = [f"{self.place}: {self.message}"]
        if self.quote:
            lines.append(f"    {self.quote}")
        if self.cure:
            lines.append(f"  cure: {self.cure}")
        return "\n".join(lines)


def raise_first(problems: Sequence[Problem]) -> None:
    """Raise UnsafeTemplate or TemplateError for the first fault, if there is one."""
    faults = [problem for problem in problems if problem.fault]
    for problem in faults:
        more = f" (and {len(faults) - 1} more: `hpcorch template lint`)" if faults[1:] else ""
        kind = UnsafeTemplate if problem.unsafe else TemplateError
        quote = f", in: {problem.quote}" if problem.quote else ""
        raise kind(f"{problem.place}: {problem.message}{quote}{more}", problem.cure)


def seen(source: str, where: str, line: int, message: str, cure: str = "") -> Problem:
    """Return a problem with the text of its line."""
    lines = source.splitlines()
    return Problem(
        where, line, message, cure, lines[line - 1].strip() if line <= len(lines) else ""
    )


def unprintable(environment: jinja2.Environment, source: str, where: str) -> list[Problem]:
    """Find a syntax error, or printed values that do not end in an approved filter."""
    try:
        tree = environment.parse(source, filename=where)
    except jinja2.TemplateSyntaxError as error:
        message = error.message or "this is no Jinja template"
        return [seen(source, where, error.lineno, *_in_words(message))]
    cure = "end it in one of: " + ", ".join(f"|{name}" for name in FILTERS)
    message = "a value is printed without an approved filter"
    return [
        replace(seen(source, where, item.lineno, message, cure), unsafe=True)
        for output in tree.find_all(nodes.Output)
        for item in output.nodes
        if not isinstance(item, nodes.TemplateData)
        and not (isinstance(item, nodes.Filter) and item.name in FILTERS)
    ]


def _in_words(message: str) -> tuple[str, str]:
    """Return what Jinja says of a tag, shorter and with a cure where it is known."""
    tag = _UNKNOWN_TAG.match(message)
    if tag is None:
        return message, ""
    inner = _OPEN_TAG.search(message)
    if inner is not None and tag[1] in _TAGS:
        return (
            f"{{% {tag[1]} %}} comes while {{% {inner[1]} %}} is still open",
            f"write {{% end{inner[1]} %}} before it",
        )
    near = difflib.get_close_matches(tag[1], _TAGS, n=1)
    cure = f"did you mean {{% {near[0]} %}}?" if near else "the tags are " + ", ".join(_TAGS)
    return f"there is no tag {{% {tag[1]} %}}", cure


def unknown_names(environment: jinja2.Environment, source: str, where: str) -> list[Problem]:
    """Find names that templates do not have, and attributes of `job` that no kind of job has."""
    tree = environment.parse(source, filename=where)
    known = {"job", *context.GLOBALS, *environment.globals, "self", "super", "caller"}
    unknown = meta.find_undeclared_variables(tree) - known
    problems = [
        seen(
            source,
            where,
            node.lineno,
            f"there is no {node.name!r}",
            _suggestion(nearest_anywhere(node.name)),
        )
        for node in tree.find_all(nodes.Name)
        if node.name in unknown and node.ctx == "load"
    ]
    for line, path in _attribute_paths(tree):
        near = nearest_to_unknown(path)
        if near is not None:
            cure = _suggestion(near or nearest_anywhere(path[-1]))
            problems.append(seen(source, where, line, f"no job has {'.'.join(path)!r}", cure))
    return problems


def _suggestion(near: str) -> str:
    return f"did you mean {near}?" if near else "`hpcorch template vars` lists all"


def own_namesake(
    environment: jinja2.Environment, source: str, where: str, name: str
) -> list[Problem]:
    """Find that a site's template extends its own name, which would be itself once more."""
    if parent(environment, source) != name:
        return []
    line = source.count("\n", 0, source.find(name)) + 1
    return [seen(source, where, line, "it extends itself", f'write "!core/{name}" there')]


def unknown_blocks(
    environment: jinja2.Environment, source: str, where: str, known: Sequence[str]
) -> list[Problem]:
    """Find blocks that no template above has: Jinja would never print them."""
    tree = environment.parse(source, filename=where)
    nested = {id(inner) for outer in _blocks(tree) for inner in _blocks(outer) if inner != outer}
    unknown = [b for b in _blocks(tree) if b.name not in known and id(b) not in nested]
    return [
        seen(
            source,
            where,
            block.lineno,
            f"no template above has a block {block.name!r}: it would be left out",
            _meant(block.name, known),
        )
        for block in unknown
    ]


def lost_blocks(
    environment: jinja2.Environment, source: str, where: str, core: str, known: Sequence[str]
) -> list[Problem]:
    """Find that a file takes the place of the template `core`, with its blocks `known`.

    Without all of them job scripts lack what belongs there; a whole copy only grows old.
    """
    if not known or _extends(environment, source):
        return []
    lost = [block for block in known if block not in block_names(environment, source)]
    message = f"it does not extend {core}: scripts have only what stands here"
    if lost:
        message += f", without the block{'s' * (len(lost) > 1)} " + ", ".join(lost)
    cure = f'write {{% extends "{core}" %}} at its beginning and keep only the blocks that differ'
    return [replace(seen(source, where, 1, message, cure), fault=bool(lost))]


def _extends(environment: jinja2.Environment, source: str) -> bool:
    return environment.parse(source).find(nodes.Extends) is not None


def _meant(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else "the blocks are " + ", ".join(known)


def uses(environment: jinja2.Environment, source: str) -> list[tuple[int, str]]:
    """Return what a template uses, with its line: blocks, and names such as job.name."""
    tree = environment.parse(source)
    found = [(block.lineno, block.name) for block in _blocks(tree)]
    return sorted(
        found + [(line, ".".join(("job", *path))) for line, path in _attribute_paths(tree)]
    )


def block_names(environment: jinja2.Environment, source: str) -> list[str]:
    """Return the names of the blocks in a template, in order."""
    return [block.name for block in _blocks(environment.parse(source))]


def parent(environment: jinja2.Environment, source: str) -> str:
    """Return the name of the template that this one extends, nothing if there is none."""
    for node in environment.parse(source).find_all(nodes.Extends):
        if isinstance(node.template, nodes.Const):
            return str(node.template.value)
    return ""


def included(environment: jinja2.Environment, source: str) -> list[tuple[int, str, bool]]:
    """Return the templates that this one includes: line, name, and whether it may be missing."""
    return [
        (node.lineno, str(node.template.value), node.ignore_missing)
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
