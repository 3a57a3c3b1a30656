"""`hpcorch site`: shows the site profile, and checks that jobs can be made and run with it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.build import choose_scheduler
from hpcorch.cli import config, output
from hpcorch.cli.finding import Finding
from hpcorch.cli.site_profile import check_profile
from hpcorch.cli.site_scripts import check_scripts
from hpcorch.cli.site_submit import submit_and_use
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import HpcorchError, InputError
from hpcorch.sites import load_site

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch site show --origin
  hpcorch site check --queue debug --account abc123 --submit

Run `site check --submit` after every maintenance, on a login node, in a directory that compute
nodes see.
"""
# The longest title of a check.
_WIDE = 30


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.set_defaults(what=None)
    actions = parser.add_subparsers(dest="what", metavar="ACTION", title="actions")
    config.show_arguments(actions.add_parser("show", help="print the profile in effect"))
    check = actions.add_parser(
        "check", help="make every kind of job script; with --submit run some"
    )
    check.add_argument("--scheduler", default="auto", metavar="NAME", help="default: as detected")
    check.add_argument("--queue", default="", help="queue or partition of the jobs")
    check.add_argument("--account", default="", help="what the jobs are charged to")
    check.add_argument("--time", default="", metavar="HH:MM:SS", help="walltime of the jobs")
    check.add_argument("--submit", action="store_true", help="run a database and a program")
    check.add_argument(
        "--path", default=".", metavar="DIR", help="where --submit runs them (default: here)"
    )
    check.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: Namespace) -> int:
    """Show or check; a check that failed makes the exit code 1."""
    if args.what is None:
        raise InputError("site what?", "hpcorch site check")
    if args.what == "show":
        return config.show(args)
    findings = []
    for finding in _check(args):
        findings.append(finding)
        if not args.json:
            print(output.finding_line(finding, _WIDE), flush=True)
    failed = sum(finding.status == "fail" for finding in findings)
    if args.json:
        output.print_json(findings=[vars(finding) for finding in findings], failed=failed)
    else:
        output.remark(f"{len(findings)} checks, {failed} failed")
    return 1 if failed else 0


def _check(args: Namespace) -> Iterator[Finding]:
    try:
        site = load_site(os.environ)
        scheduler, reason = choose_scheduler(args.scheduler, site, os.environ)
    except HpcorchError as error:
        yield Finding("site profile", "fail", error.message, error.hint)
        return
    layers = [origin for origin in dict.fromkeys(site.origins.values()) if origin != "default"]
    yield Finding("site profile", "ok", ", ".join(layers) or "none: defaults are used")
    yield Finding("scheduler", "ok", f"{scheduler.name}: {reason}")
    if not scheduler.is_batch and (args.queue or args.account or args.time):
        raise InputError(f"{scheduler.name} has no queues: leave --queue, --account and --time out")
    batch = BatchSettings(time=args.time, queue=args.queue, account=args.account)
    found = []
    checks = (check_profile(scheduler, site, batch), check_scripts(scheduler, site, batch))
    for finding in itertools.chain.from_iterable(checks):
        found.append(finding)
        yield finding
    if not args.submit:
        return
    if any(finding.status == "fail" for finding in found):
        yield Finding("submit", "warn", "nothing is submitted", "cure what failed above")
        return
    yield from submit_and_use(scheduler.name, batch, Path(args.path).absolute())
