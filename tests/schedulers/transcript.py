"""Recorded calls of Slurm: read from files, and brought into the columns that hpcorch asks for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hpcorch.schedulers.base import Result

FOLDER = Path(__file__).parent / "transcripts" / "slurm"
_LAYOUT = re.compile(
    r"\$ (?P<command>[^\n]*)\nexit: (?P<code>\d+)\nseconds: (?P<seconds>[\d.]+)\n"
    r"----- stdout -----\n(?P<out>.*)----- stderr -----\n?(?P<err>.*)",
    re.DOTALL,
)
_PROGRAM = re.compile(r"\b(sbatch|squeue|sacct|scancel|sinfo|scontrol)\b")
_ARRAY_ID = re.compile(r"(?P<job>\d+)(?:_\[?(?P<index>[^\]]+)\]?)?(?:\+\d+)?")
# squeue's short words for states, which its default format prints.
_SHORT_STATES = {
    "CA": "CANCELLED",
    "CD": "COMPLETED",
    "CG": "COMPLETING",
    "F": "FAILED",
    "PD": "PENDING",
    "R": "RUNNING",
    "S": "SUSPENDED",
}
# Names in headers and in --Format, as letters of -o.
_LETTERS = {
    "JOBID": "i",
    "ST": "t",
    "NODELIST(REASON)": "R",
    "JobArrayID": "i",
    "ArrayJobID": "F",
    "ArrayTaskID": "K",
    "State": "T",
    "Reason": "r",
    "PARTITION": "P",
    "TIMELIMIT": "l",
    "NODES": "D",
}
Row = dict[str, str]


@dataclass(frozen=True)
class Transcript:
    """One call: the shell command, its exit code and duration, what it printed."""

    command: str
    code: int
    seconds: float
    out: str
    err: str

    @property
    def program(self) -> str:
        """The first program of Slurm in the command."""
        found = _PROGRAM.search(self.command)
        return found[1] if found else ""

    def result(self) -> Result:
        """What hpcorch would have seen of this call."""
        return Result(("sh", "-c", self.command), self.code, self.out, self.err)

    def option(self, name: str) -> str | None:
        """Return the value of a short option given as a word of its own."""
        words = shlex.split(self.command)
        return words[words.index(name) + 1] if name in words[:-1] else None

    def has(self, flag: str) -> bool:
        """Say whether `flag` is a word of the command."""
        return flag in shlex.split(self.command)


def parse(text: str) -> Transcript:
    """Read the text of one file; raises ValueError if it is laid out differently."""
    found = _LAYOUT.fullmatch(text)
    if found is None:
        raise ValueError(f"no transcript: {text[:80]!r}")
    took = float(found["seconds"])
    return Transcript(found["command"], int(found["code"]), took, found["out"], found["err"])


def load() -> dict[str, Transcript]:
    """Return all transcripts by the names of their files."""
    return {path.stem: parse(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.txt"))}


def as_sbatch(shot: Transcript) -> Result:
    """Return only what sbatch printed where the command went on after it."""
    if "; cat " in shot.command:
        return replace(shot.result(), out=shot.out.splitlines(keepends=True)[0])
    return shot.result()


def as_squeue(shot: Transcript) -> Result:
    """Return the same answer as `squeue -h -o '%F|%K|%T|%r'` would have given it."""
    rows = [_queue_columns(row, shot) for row in squeue_rows(shot)]
    return replace(shot.result(), out=_joined("|".join(row) for row in rows if row[0]))


def as_sacct(shot: Transcript) -> Result:
    """Return the same answer as `sacct -n -P -o jobid,state,exitcode` would have given it."""
    names = ("jobid", "state", "exitcode")
    lines = ["|".join(row.get(name, "") for name in names) for row in sacct_rows(shot)]
    return replace(shot.result(), out=_joined(lines))


def as_sinfo(shot: Transcript) -> Result:
    """Return the same answer as `sinfo -h -o '%P|%l|%D|%s'`; rows of -N stand for one node."""
    rows = _letter_rows(shot, has_header=not shot.has("-h"))
    lines = [f"{row['P']}|{row['l']}|{row.get('D', '1')}|{row.get('s', '')}" for row in rows]
    return replace(shot.result(), out=_joined(lines))


def squeue_rows(shot: Transcript) -> list[Row]:
    """Return the columns of each line by their letters; none for columns of unknown width."""
    widths = shot.option("-O")
    if widths is None:
        return _letter_rows(shot, has_header=not shot.has("-h"))
    return [_cut(line, widths) for line in shot.out.splitlines() if ":" in widths]


def sacct_rows(shot: Transcript) -> list[Row]:
    """Return the columns of each line by their names, whether piped or aligned."""
    lines = shot.out.splitlines()
    if shot.has("-n"):
        names = (shot.option("-o") or "").split(",")
        return [_named(names, line.split("|")) for line in lines]
    if shot.has("-P"):
        names = lines[0].lower().split("|")
        return [_named(names, line.split("|")) for line in lines[1:]]
    if not lines:
        return []
    spans = [found.span() for found in re.finditer("-+", lines[1])]
    names, *rows = [
        [line[first:last].strip() for first, last in spans] for line in (lines[0], *lines[2:])
    ]
    return [_named([name.lower() for name in names], row) for row in rows]


def _letter_rows(shot: Transcript, *, has_header: bool) -> list[Row]:
    lines = shot.out.splitlines()
    layout = shot.option("-o")
    if layout is None:
        names = lines[0].split() if lines else []
        letters = [_LETTERS.get(name, name) for name in names]
        separator = None
    else:
        letters = re.findall(r"%(\w)", layout)
        separator = "|" if "|" in layout else " "
    rows = [line.split(separator, len(letters) - 1) for line in lines[has_header:]]
    return [_named(letters, row) for row in rows]


def _queue_columns(row: Row, shot: Transcript) -> tuple[str, str, str, str]:
    known = _ARRAY_ID.match(row.get("i") or shot.option("-j") or "")
    job = row.get("F") or (known["job"] if known else "")
    index = row.get("K") or (known["index"] if known else None) or "N/A"
    state = row.get("T") or _SHORT_STATES.get(row.get("t", ""), "PENDING")
    # %R holds the reason of a pending job in parentheses, else its nodes.
    beside = re.fullmatch(r"\((.*)\)", row.get("R", ""))
    return job, index, state, row.get("r") or (beside[1] if beside else "None")


def _cut(line: str, widths: str) -> Row:
    row: Row = {}
    for column in widths.split(","):
        name, _, width = column.partition(":")
        row[_LETTERS.get(name, name)] = line[: int(width)].strip()
        line = line[int(width) :]
    return row


def _named(names: Iterable[str], values: Iterable[str]) -> Row:
    return dict(zip(names, values, strict=False))


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
