"""`hpcorch doctor`: checks this machine; every problem comes with its cure."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import __version__
from hpcorch.cli import output
from hpcorch.cli.check_files import files
from hpcorch.cli.check_models import models
from hpcorch.cli.check_programs import programs
from hpcorch.cli.check_system import system
from hpcorch.cli.finding import Finding
from hpcorch.errors import SiteError
from hpcorch.sites import Site, load_site

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
example: hpcorch doctor --path /scratch/me --interface ib0

Run it where jobs will run too: a compute node may differ. The exit code is 1 if anything failed.
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--path", default=".", metavar="DIR", help="where run directories will be (default: here)"
    )
    parser.add_argument("--interface", metavar="IF", help="network that databases will listen on")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: Namespace) -> int:
    """Check everything and print it."""
    wanted = (args.interface,) if args.interface else ()
    findings = examine(os.environ, Path(args.path).absolute(), wanted)
    counts = Counter(finding.status for finding in findings)
    if args.json:
        output.print_json(
            findings=[asdict(finding) for finding in findings],
            failed=counts["fail"],
            warnings=counts["warn"],
        )
    else:
        for finding in findings:
            print(output.finding_line(finding))
        print(f"\n{counts['ok']} ok, {counts['warn']} warned, {counts['fail']} failed")
    return 1 if counts["fail"] else 0


def examine(
    environ: Mapping[str, str], directory: Path, wanted: tuple[str, ...] = ()
) -> list[Finding]:
    """Return all findings; a broken site profile is one of them, and the rest goes on without."""
    about = f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    findings = [Finding("hpcorch", "ok", about)]
    try:
        site = load_site(environ)
        layers = [origin for origin in dict.fromkeys(site.origins.values()) if origin != "default"]
        detail = ", ".join(layers) or "none found: defaults are used"
        findings.append(Finding("site profile", "ok", detail))
    except SiteError as error:
        site = Site()
        cure = error.hint or "correct the file"
        findings.append(Finding("site profile", "fail", error.message, cure))
    return [
        *findings,
        *programs(environ, site),
        *models(site),
        *system(wanted or site.interface),
        *files(environ, site, directory),
    ]
