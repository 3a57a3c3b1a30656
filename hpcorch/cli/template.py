"""`hpcorch template`: shows the job script templates and checks what a site has made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import rundir
from hpcorch.cli import output
from hpcorch.cli.template_check import check_directories, missing
from hpcorch.errors import InputError
from hpcorch.paths import templates_dir
from hpcorch.plan import CONTEXT_VERSION, context
from hpcorch.plan.changes import CHANGES
from hpcorch.rehearse import rehearsals, render
from hpcorch.render.catalogue import Catalogue, Entry
from hpcorch.render.lint import Problem
from hpcorch.schedulers import names
from hpcorch.sites import Site, load_site, template_dirs

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch template eject base.sh.j2 -o ~/.config/hpcorch/templates/base.sh.j2
  hpcorch template lint ~/.config/hpcorch/templates
  hpcorch template diff --scheduler slurm
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.set_defaults(what=None)
    actions = parser.add_subparsers(dest="what", metavar="ACTION", title="actions")
    actions.add_parser("list", help="all templates and where they come from")
    show = actions.add_parser("show", help="print the template that is used")
    show.add_argument("name", metavar="NAME", help="such as base.sh.j2")
    show.add_argument("--core", action="store_true", help="the shipped one, not the site's")
    diff = actions.add_parser("diff", help="what the site's templates change")
    diff.add_argument("name", metavar="NAME", nargs="?", help="compare the text of this template")
    diff.add_argument(
        "--scheduler", default="slurm", choices=names(), help="compare its scripts (default: slurm)"
    )
    eject = actions.add_parser("eject", help="print a file that extends a template")
    eject.add_argument("name", metavar="NAME", help="such as base.sh.j2")
    eject.add_argument("-o", dest="file", metavar="FILE", help="write it there, unless it exists")
    lint = actions.add_parser("lint", help="check a site's templates")
    lint.add_argument(
        "--scheduler", choices=names(), help="make scripts of this one only (default: of all)"
    )
    lint.add_argument("dirs", metavar="DIR", nargs="*", help="default: those that are in use")
    variables = actions.add_parser("vars", help="what templates can print")
    variables.add_argument("kind", nargs="?", choices=context.kinds(), help="default: all kinds")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: Namespace) -> int:
    """Do what was asked; `lint` returns 1 when it has found something."""
    if args.what is None:
        raise InputError("template what?", "hpcorch template list")
    site = load_site(os.environ)
    dirs = template_dirs(site, os.environ)
    catalogue = Catalogue(templates_dir(), dirs)
    if args.what == "list":
        _list(args, catalogue)
    elif args.what == "show":
        _show(args, catalogue)
    elif args.what == "diff":
        _diff(args, catalogue, site, dirs)
    elif args.what == "eject":
        _eject(args, catalogue)
    elif args.what == "vars":
        _variables(args)
    else:
        return _lint(args, site, dirs)
    return 0


def _list(args: Namespace, catalogue: Catalogue) -> None:
    entries = catalogue.entries()
    if args.json:
        output.print_json(templates=[_facts(item) for item in entries])
        return
    wide = max(len(item.name) for item in entries)
    for item in entries:
        print(f"{item.name:{wide}}  {item.path if item.is_site else item.summary}")


def _facts(item: Entry) -> dict[str, object]:
    return {"name": item.name, "path": item.path, "site": item.is_site, "summary": item.summary}


def _show(args: Namespace, catalogue: Catalogue) -> None:
    text = catalogue.source(args.name, core=args.core)
    if args.json:
        facts = _facts(catalogue.entry(args.name, core=args.core))
        output.print_json(indent=2, **facts, text=text)
    else:
        output.print_exactly(text)


def _diff(args: Namespace, catalogue: Catalogue, site: Site, dirs: tuple[str, ...]) -> None:
    if args.name is not None:
        core = catalogue.source(args.name, core=True)
        found = {args.name: output.unified(core, catalogue.source(args.name), "shipped", "in use")}
    else:
        found = {
            item.title: output.unified(
                render(item, args.scheduler, []).text,
                render(item, args.scheduler, dirs).text,
                f"shipped: {item.title}",
                f"site: {item.title}",
            )
            for item in rehearsals(args.scheduler, site)
        }
    changes = {title: text for title, text in found.items() if text}
    if args.json:
        output.print_json(changes=[{"title": it, "diff": text} for it, text in changes.items()])
    elif changes:
        output.print_exactly("".join(changes.values()))
    else:
        output.remark("no difference: no template of the site is in use here")


def _eject(args: Namespace, catalogue: Catalogue) -> None:
    text = catalogue.extension(args.name)
    path = None if args.file is None else Path(args.file)
    if path is not None:
        if path.exists():
            raise InputError(f"{path} exists already", "remove it, or name another file")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        rundir.write_whole(path, text, 0o644)
    if args.json:
        output.print_json(
            name=args.name, file=None if path is None else str(path.absolute()), text=text
        )
    elif path is None:
        output.print_exactly(text)
    else:
        output.remark(f"{path} is written; check it with: {_lint_command(path.parent)}")


def _lint_command(folder: Path) -> str:
    return output.command("hpcorch", "template", "lint", folder)


def _variables(args: Namespace) -> None:
    kinds = [args.kind] if args.kind else list(context.kinds())
    if args.json:
        output.print_json(
            context=CONTEXT_VERSION,
            changes=[vars(change) for change in CHANGES],
            kinds={kind: [vars(item) for item in context.variables(kind)] for kind in kinds},
        )
        return
    print(f"template context {CONTEXT_VERSION}")
    for change in CHANGES:
        print(f"  since context {change.version} {change.name} is {change.what}")
    for kind in kinds:
        found = context.variables(kind)
        wide = max(len(item.path) for item in found)
        print(f"\nin templates of a {kind}:")
        for item in found:
            print(f"  {item.path:{wide}}  {item.type}: {item.meaning}")


def _lint(args: Namespace, site: Site, dirs: tuple[str, ...]) -> int:
    folders = [Path(item) for item in args.dirs or dirs]
    for folder in () if args.dirs else folders:
        refusal = missing(folder, site)
        if refusal is not None:
            raise refusal
    schedulers = [args.scheduler] if args.scheduler else names()
    problems = check_directories(folders, site, schedulers)
    faults = [item for item in problems if item.fault]
    if args.json:
        output.print_json(directories=[str(item) for item in folders], findings=_rows(problems))
        return 1 if faults else 0
    for item in problems:
        print(item.text())
    where = ", ".join(str(item) for item in folders) or "no directory of a site is in use"
    count = f"{len(faults)} to cure" if faults else "nothing to cure"
    output.remark(f"{where}: {count}")
    return 1 if faults else 0


def _rows(problems: list[Problem]) -> list[dict[str, object]]:
    return [
        {
            "path": item.path,
            "line": item.line,
            "text": item.quote,
            "message": item.message,
            "cure": item.cure,
            "fault": item.fault,
        }
        for item in problems
    ]
