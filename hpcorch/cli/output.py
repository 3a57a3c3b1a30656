"""What verbs print: JSON objects with a version, and remarks that are not the result."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import sys
from pathlib import Path

from hpcorch.cli.finding import Finding
from hpcorch.log import get_logger
from hpcorch.progress import is_live
from hpcorch.schedulers.base import TaskState

# Raised when a field is removed, renamed or changes meaning; new fields may come at any time.
JSON_VERSION = 1
# Green, blue, red and yellow, in what every terminal with colours knows.
_COLOURS = {
    TaskState.COMPLETED: 32,
    TaskState.RUNNING: 34,
    TaskState.FAILED: 31,
    TaskState.LOST: 31,
    TaskState.TIMED_OUT: 31,
    TaskState.QUEUED: 33,
    TaskState.UNKNOWN: 33,
}


def print_json(indent: int | None = 2, **fields: object) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps({"version": JSON_VERSION, **fields}, indent=indent), flush=True)


def messages_aside(*experiments: str) -> None:
    """Let standard output hold results only: what experiments and `stop` tell goes beside it."""
    for name in (*experiments, "stop"):
        get_logger(name, errors=True)


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


def here(path: str | Path) -> str:
    """Return a path as one would type it: relative where it is below the current directory."""
    whole = Path(path)
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole)


def state(found: TaskState) -> str:
    """Return a state's word, in its colour where standard output is a terminal that has any."""
    code = _COLOURS.get(found)
    if code is None or not is_live() or os.environ.get("NO_COLOR"):
        return str(found)
    return f"\x1b[{code}m{found}\x1b[0m"


def finding_line(finding: Finding, wide: int = 18) -> str:
    """Return the line of a check's result; `wide` is the room for what was checked."""
    cure = f"; cure: {finding.cure}" if finding.cure else ""
    return f"{finding.status:<4}  {finding.check:<{wide}} {finding.detail}{cure}"


def unified(before: str, after: str, name_before: str, name_after: str) -> str:
    """Return what differs between two texts as a unified diff, empty when nothing does."""
    old, new = (text.splitlines(keepends=True) for text in (before, after))
    return "".join(difflib.unified_diff(old, new, name_before, name_after))
