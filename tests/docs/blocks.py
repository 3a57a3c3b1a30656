"""The code blocks of README.md and docs/*.md, and what a comment above a block says about it.

Without a comment a block is run, in the order of its page, in a directory of the page's own:

python   in one namespace for the whole page
bash     must end with 0; exported variables and the directory stay for the blocks that follow
console  `$ command` lines and what they print; `...` on a line of its own stands for any lines
jinja    is linted as a template of a site
toml     must be valid
text     is for reading

A comment on the line above says otherwise; the comments are:

<!-- not run: REASON -->     only the syntax is checked
<!-- on Slurm -->            tests/cluster runs it, on a real Slurm
<!-- on Slurm with PyTorch --> the same, by `make test-ai`
<!-- file: NAME -->          the block is a file that later blocks use
<!-- prints -->              what the Python blocks since the last such block have printed
<!-- output of: COMMAND -->  what the command prints; `...` as in console
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import ROOT

LANGUAGES = ("python", "bash", "console", "jinja", "toml", "text")
SLURM = ("on Slurm", "on Slurm with PyTorch")
NOTES = ("", "not run", *SLURM, "file", "prints", "output of")
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_COMMENT = re.compile(r"<!-- ([^:]*?)(?:: (.*?))? -->")


@dataclass(frozen=True)
class Block:
    """A block: where it begins, its language and text, and the comment above it in two parts."""

    where: str
    language: str
    text: str
    note: str = ""
    detail: str = ""


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        above = _COMMENT.fullmatch(lines[start - 1]) if start else None
        note, detail = (above[1], above[2] or "") if above else ("", "")
        text = "".join(f"{inside}\n" for inside in lines[start + 1 : number])
        where = f"{page.name}:{start + 1}"
        found.append(Block(where, lines[start].strip("`"), text, note, detail))
        start = None
    assert start is None, f"{page.name}:{(start or 0) + 1}: the block has no end"
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
            continue
        assert found, "a console block begins with a command"
        command, printed = found[-1]
        goes_on = command.endswith("\\\n") and not printed
        found[-1] = (command + line, "") if goes_on else (command, printed + line)
    return found
