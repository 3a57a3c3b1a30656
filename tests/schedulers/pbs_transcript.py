"""Recorded calls of PBS: read from files, tables brought into the form that hpcorch asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hpcorch.schedulers.base import JobId, JobRef, Result
from hpcorch.schedulers.pbs_states import PbsId, parse_id, refused

FOLDER = Path(__file__).parent / "transcripts" / "pbs"
_LAYOUT = re.compile(
    r"\$ (?P<command>[^\n]*)\n(?P<out>.*)--- stderr\n(?P<err>.*)--- exit (?P<code>\d+)\n?"
    r"(?:# note:[^\n]*\s*)?",
    re.DOTALL,
)
# Job, name, user, time, state, queue; names may be cut with a star.
_ROW = re.compile(r"^(\d\S*) +\S+ +\S+ +\S+ ([A-Z]) \S+ *$", re.MULTILINE)
_BELOW = re.compile(r"^(\d\S* .*\n)(?: {4}\w.*\n)+", re.MULTILINE)
_SHOWN = re.compile(r"^Job Id: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Transcript:
    """One call: the shell command, its exit code, what it printed."""

    command: str
    code: int
    out: str
    err: str

    def result(self) -> Result:
        """What hpcorch would have seen of this call; the rows of tables as short records."""
        # What stands right below a table belongs to another call, of which the id was left out.
        out = _BELOW.sub(r"\1", self.out)
        out = _ROW.sub(r"Job Id: \1\n    job_state = \2", out)
        return Result(("sh", "-c", self.command), self.code, out, self.err)

    def refs(self) -> list[JobRef]:
        """Every job that the answer shows or refuses, with as many tasks as it tells of."""
        sizes: dict[str, int] = {}
        shown = [parse_id(text) for text in _SHOWN.findall(self.result().out)]
        for job in (*shown, *refused(self.err)):
            key = whole(job)
            sizes[key] = max(sizes.get(key, 1), (job.index or 0) + 1)
        return [JobRef(JobId(key), "token", size) for key, size in sizes.items()]


def whole(job: PbsId) -> str:
    """Return the id of a task's job as qsub prints it."""
    return f"{job.number}{'[]' if job.is_array else ''}.{job.server}"


def parse(text: str) -> Transcript:
    """Read the text of one file; raises ValueError if it is laid out differently."""
    found = _LAYOUT.fullmatch(text)
    if found is None:
        raise ValueError(f"no transcript: {text[:80]!r}")
    return Transcript(found["command"], int(found["code"]), found["out"], found["err"])


def load() -> dict[str, Transcript]:
    """Return all transcripts by the names of their files."""
    return {path.stem: parse(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.txt"))}
