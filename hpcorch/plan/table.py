"""What the tasks of an ensemble read: lines of words that bash takes apart again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Rows in one file of the table: a task reads half of them on average, within milliseconds.
TABLE_ROWS = 1000
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ESCAPED = re.compile(r"[\\\t\n\r]")


@dataclass(frozen=True)
class NodeFiles:
    """What a member's node puts into its directory: a list for bash, and what is odd about it."""

    text: str
    warnings: tuple[str, ...] = ()


def line(words: Sequence[str]) -> str:
    """Return a line that hpcorch_words of templates/lib/task.sh takes apart."""
    return "".join(f"{_ESCAPED.sub(_escape, word)}\t" for word in words) + "\n"


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES[found[0]]
