"""What `hpcorch template lint` finds: in the text of a site's files, and in their scripts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpcorch import shell
from hpcorch.errors import SiteRefusal, TemplateError
from hpcorch.paths import templates_dir
from hpcorch.rehearse import Rehearsal, rehearsals, render
from hpcorch.render.catalogue import Catalogue
from hpcorch.shell import Command
from hpcorch.sites import Site

# A script includes libraries of which it does not use every variable and function.
_SHELLCHECK = (
    "shellcheck",
    "--format=gcc",
    "--shell=bash",
    "--severity=info",
    "-e",
    "SC2034,SC2317,SC2329",
)


@dataclass(frozen=True)
class Finding:
    """Something seen at a line of a file (line 0: in a script made from it), and its cure."""

    path: str
    line: int
    message: str
    cure: str = ""
    is_fault: bool = True

    def text(self) -> str:
        """Return it as a person reads it, with the line of the file."""
        place = f"{self.path}:{self.line}" if self.line else self.path
        lines = [f"{place}: {self.message}"]
        quoted = _line(Path(self.path), self.line)
        if quoted:
            lines.append(f"    {quoted}")
        if self.cure:
            lines.append(f"  cure: {self.cure}")
        return "\n".join(lines)


def check_directories(
    folders: Sequence[Path], site: Site, schedulers: Sequence[str]
) -> list[Finding]:
    """Check a site's template directories, the first one winning.

    When their text is in order, scripts for `schedulers` are made from them and checked too.
    Raises InputError for what is no directory.
    """
    dirs = [str(folder) for folder in folders]
    catalogue = Catalogue(templates_dir(), dirs)
    findings = [
        Finding(item.path, item.line, item.message, item.cure)
        for folder in folders
        for item in catalogue.check(folder)
    ]
    return findings or _merged(_check_scripts(dirs, site, schedulers))


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Name the first of several scripts that have the same fault, and say how many there are."""
    same: dict[tuple[str, str, bool], list[Finding]] = {}
    for item in findings:
        same.setdefault((item.message, item.cure, item.is_fault), []).append(item)
    return [
        first if not others else replace(first, path=f"{first.path} and {len(others)} more")
        for first, *others in same.values()
    ]


def _check_scripts(dirs: Sequence[str], site: Site, schedulers: Sequence[str]) -> Iterator[Finding]:
    for scheduler in schedulers:
        for item in rehearsals(scheduler, site):
            place = f"{scheduler} script of a {item.title}"
            try:
                text = render(item, scheduler, dirs).text
            except SiteRefusal as refusal:
                yield Finding(place, 0, f"refused: {refusal.message}", is_fault=False)
            except TemplateError as error:
                yield Finding(place, 0, error.message, error.hint)
            else:
                for complaint in new_complaints(item, scheduler, text):
                    yield Finding(place, 0, complaint)


def new_complaints(item: Rehearsal, scheduler: str, text: str) -> list[str]:
    """Return what bash and shellcheck say of a script and not of the shipped one."""
    shipped = render(item, scheduler, []).text
    said = [] if text == shipped else _complaints(text)
    known = _complaints(shipped) if said else []
    return [complaint for complaint in said if complaint not in known]


def _complaints(text: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="hpcorch-") as folder:
        script = Path(folder, "script.sh")
        script.write_text(text, encoding="utf-8")
        checks: list[tuple[str, ...]] = [("bash", "-n", str(script))]
        if shutil.which("shellcheck"):
            checks.append((*_SHELLCHECK, str(script)))
        said = [shell.run(Command(argv)) for argv in checks]
    lines = "\n".join(result.err + result.out for result in said).splitlines()
    return [_with_source(line.removeprefix(f"{script}:"), text) for line in lines if line]


def _with_source(complaint: str, text: str) -> str:
    """Replace the number of the script's line, which nobody has, by the line itself."""
    number, _, rest = complaint.removeprefix(" line ").partition(":")
    lines = text.splitlines()
    if not number.isdecimal():
        return complaint
    said = rest.lstrip(" 0123456789:")
    return f"{said} in: {lines[int(number) - 1].strip()}" if int(number) <= len(lines) else said


def _line(path: Path, number: int) -> str:
    if not number:
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[number - 1].strip() if number <= len(lines) else ""
