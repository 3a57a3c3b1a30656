"""What bash, shellcheck and a look at directives say of a site's scripts, traced to its files."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcorch import shell
from hpcorch.rehearse import Rehearsal, render
from hpcorch.render.lint import Problem
from hpcorch.shell import Command

# A script includes libraries of which it does not use every variable and function.
_SHELLCHECK = (
    "shellcheck",
    "--format=gcc",
    "--shell=bash",
    "--severity=info",
    "-e",
    "SC2034,SC2317,SC2329",
)
_DIRECTIVE = re.compile(r"#(SBATCH|PBS)\b")
# What a template prints or decides: any text of a script may stand there.
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}")


@dataclass(frozen=True)
class Complaint:
    """What is said of a line of a script; the line's number is nobody's business."""

    message: str
    line: str

    def __str__(self) -> str:
        return f"{self.message}, in: {self.line}" if self.line else self.message


def new_complaints(item: Rehearsal, scheduler: str, text: str) -> list[Complaint]:
    """Return what is wrong with a script and not with the shipped one."""
    shipped = render(item, scheduler, []).text
    said = [] if text == shipped else _complaints(text)
    known = _complaints(shipped) if said else []
    return [complaint for complaint in said if complaint not in known]


def traced(complaint: Complaint, script: str, folders: Sequence[str]) -> Problem:
    """Return the problem at the line of the site's file that printed it, else in the script."""
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in (".j2", ".sh") and path.is_file():
                for number, line in enumerate(_lines(path), 1):
                    if complaint.line and _prints(line, complaint.line):
                        message = f"{complaint.message} (in the {script})"
                        return Problem(str(path), number, message, quote=line.strip())
    return Problem(script, 0, str(complaint))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _prints(template: str, line: str) -> bool:
    """Say whether a template's line may have become this line of a script."""
    fixed = _TAG.split(template.strip())
    if not any(re.search(r"\w", part) for part in fixed):
        return False
    return re.fullmatch(".*".join(map(re.escape, fixed)), line) is not None


def _complaints(text: str) -> list[Complaint]:
    lines = text.splitlines()
    late = [Complaint(message, lines[number - 1].strip()) for number, message in _late(lines)]
    with tempfile.TemporaryDirectory(prefix="hpcorch-") as folder:
        script = Path(folder, "script.sh")
        script.write_text(text, encoding="utf-8")
        said = _run(("bash", "-n", str(script)), script)
        # What is no bash is nothing for shellcheck either.
        if not said and shutil.which("shellcheck"):
            said = _run((*_SHELLCHECK, str(script)), script)
    return late + [_complaint(line, lines) for line in said]


def _run(argv: tuple[str, ...], script: Path) -> list[str]:
    result = shell.run(Command(argv))
    said = [line.removeprefix(f"{script}:") for line in (result.err + result.out).splitlines()]
    # Bash repeats the line in quotes of its own.
    return [line for line in said if line and not re.match(r" line \d+: `", line)]


def _complaint(said: str, lines: Sequence[str]) -> Complaint:
    """Replace the number of the script's line, which nobody has, by the line itself."""
    number, _, rest = said.removeprefix(" line ").partition(":")
    if not number.isdecimal():
        return Complaint(said, "")
    message = rest.lstrip(" 0123456789:")
    inside = int(number) <= len(lines)
    return Complaint(message, lines[int(number) - 1].strip() if inside else "")


def _late(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Find directives after the first command: batch systems do not look for them there."""
    begun = False
    for number, line in enumerate(lines, 1):
        found = _DIRECTIVE.match(line)
        if begun and found:
            yield (
                number,
                f"this #{found[1]} line stands after the first command and has no effect: write it "
                "into the block site_directives",
            )
        begun = begun or bool(line.strip() and not line.startswith("#"))
