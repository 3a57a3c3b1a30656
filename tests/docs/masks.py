"""Output as it is compared: without what differs from one run to the next."""

from __future__ import annotations

import re

_HOME = "/home/me"
_VOLATILE = (
    (r"\b\d{4}-\d\d-\d\dT", ""),
    (r"\b\d\d([:-])\d\d\1\d\d\b", "TIME"),
    (r"\b\d+\.\d+\.\d+\.\d+:\d+", "ADDRESS"),
    (r"\b\d+\.\d+\.\d+[-.\w]*", "VERSION"),
    (r"\bjob \d+", "job N"),
    (r"\b\d+\.\d+ s\b", "N s"),
    (r"\b\d+ ok, \d+ warned", "N ok, N warned"),
    (r"\bnode\d+\b", "node"),
    (r" +", " "),
    (r"-+", "-"),
)
# Columns of the summary.
_JOB, _TIME = 4, 6


def masked(text: str, folder: str) -> str:
    """Return `text` with constants for times, ports, versions, job ids and the directory."""
    return "".join(f"{_masked_line(line, folder)}\n" for line in text.splitlines()).strip("\n")


def _masked_line(line: str, folder: str) -> str:
    if re.match(r"\| \d+ +\|", line):
        cells = line.split("|")
        cells[_JOB], cells[_TIME] = " JOB ", " N "
        line = "|".join(cells)
    line = line.replace(folder, _HOME)
    for pattern, constant in _VOLATILE:
        line = re.sub(pattern, constant, line)
    return line.rstrip()


def agrees(shown: str, printed: str) -> bool:
    """Whether `printed` is what a page shows; both are masked."""
    wanted = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in shown.splitlines()
    )
    return re.fullmatch(wanted, f"{printed}\n" if printed else "") is not None
