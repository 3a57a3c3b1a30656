"""What verbs print: JSON objects with a version, and remarks that are not the result."""

from __future__ import annotations

import difflib
import json
import shlex
import sys
from pathlib import Path

from hpcorch.cli.finding import Finding

# Raised when a field is removed, renamed or changes meaning; new fields may come at any time.
JSON_VERSION = 1


def print_json(indent: int | None = 2, **fields: object) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps({"version": JSON_VERSION, **fields}, indent=indent), flush=True)


def remark(text: str, kind: str = "") -> None:
    """Print something beside the result, on standard error."""
    print(f"hpcorch: {kind}: {text}" if kind else text, file=sys.stderr)


def print_exactly(text: str) -> None:
    """Print text byte for byte, also where the terminal's encoding differs."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


def command(*words: str | Path) -> str:
    """Return a command to type, quoted for a shell."""
    return shlex.join(str(word) for word in words)


def finding_line(finding: Finding, wide: int = 18) -> str:
    """Return the line of a check's result; `wide` is the room for what was checked."""
    cure = f"; cure: {finding.cure}" if finding.cure else ""
    return f"{finding.status:<4}  {finding.check:<{wide}} {finding.detail}{cure}"


def unified(before: str, after: str, name_before: str, name_after: str) -> str:
    """Return what differs between two texts as a unified diff, empty when nothing does."""
    old, new = (text.splitlines(keepends=True) for text in (before, after))
    return "".join(difflib.unified_diff(old, new, name_before, name_after))
