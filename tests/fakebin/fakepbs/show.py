"""How qstat and pbsnodes print attributes: wrapped text, JSON, and tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence

VERSION = "23.06.06"
SERVER = "head"
Attributes = Sequence[tuple[str, str]]

_WIDTH = 79
_TAB = 8
_TABLE = """\
Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
"""
# They are objects of their own in JSON.
_GROUPS = ("Resource_List", "resources_used", "resources_available", "resources_assigned")


def date(seconds: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(seconds))


def comment_date(seconds: float) -> str:
    return time.strftime("%a %b %d at %H:%M", time.localtime(seconds))


def full(kind: str, name: str, attributes: Attributes) -> str:
    """Return one record of `qstat -f`, `-Qf` or `-Bf`, an empty line after it."""
    lines = "".join(f"{_attribute(key, value)}\n" for key, value in attributes)
    return f"{kind}: {name}\n{lines}\n"


def _attribute(key: str, value: str) -> str:
    head = f"    {key} = "
    if key == "Variable_List":
        return head + _listed(value, len(head))
    room = _WIDTH - len(head)
    lines = [value[:room]]
    rest = value[room:]
    # What fills its line to the last column is followed by an empty one.
    full = len(value) >= room
    while full:
        lines.append(rest[: _WIDTH - _TAB])
        full = len(rest) >= _WIDTH - _TAB
        rest = rest[_WIDTH - _TAB :]
    return head + "\n\t".join(lines)


def _listed(value: str, used: int) -> str:
    """Return a list broken between its items."""
    lines, line = [], ""
    for item in re.findall(r"[^,]*,|[^,]+$", value):
        if line and used + len(line) + len(item) > _WIDTH - 1:
            lines.append(line)
            line, used = "", _TAB
        # An item that is longer than a line is broken anywhere.
        rest, room = item, _WIDTH - _TAB - 1
        while len(rest) > room:
            lines.append(rest[:room])
            rest, used, room = rest[room:], _TAB, _WIDTH - _TAB
        line += rest
    return "\n\t".join([*lines, line])


def table(rows: Iterable[tuple[str, str, str, str, str, str]], *, heading: bool) -> str:
    """Return rows of id, name, user, time used, state and queue."""
    lines = [
        f"{job:<17.17} {name:<16.16} {user:<16.16}  {used:>8} {state} {queue:<16}\n"
        for job, name, user, used, state, queue in rows
    ]
    return (_TABLE if heading and lines else "") + "".join(lines)


def as_json(section: str, records: Sequence[tuple[str, Attributes]], now: float) -> str:
    """Return the JSON form; without records it has no section at all."""
    found: dict[str, object] = {
        "timestamp": int(now),
        "pbs_version": VERSION,
        "pbs_server": SERVER,
    }
    if records:
        found[section] = {name: _tree(attributes) for name, attributes in records}
    text = json.dumps(found, indent="\t", separators=(",", ":\t"), ensure_ascii=False)
    return text.replace(":\t[\n", ":\t[") + "\n"


def _tree(attributes: Attributes) -> dict[str, object]:
    tree: dict[str, object] = {}
    for key, value in attributes:
        group, dot, name = key.partition(".")
        if key == "Variable_List":
            pairs = (item.partition("=")[::2] for item in value.split(","))
            tree[key] = {variable: _guessed(text) for variable, text in pairs}
        elif dot and group in _GROUPS:
            branch = tree.setdefault(group, {})
            assert isinstance(branch, dict)
            branch[name] = _guessed(value)
        else:
            tree[key] = value if key == "Job_Name" else _guessed(value)
    return tree


def _guessed(text: str) -> object:
    """Return a number for what looks like one, as PBS does."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return {"true": True, "false": False, "null": None}.get(text, text)
