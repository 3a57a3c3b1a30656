"""`hpcorch render FILE.toml`: the job scripts of what a spec file describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import placement
from hpcorch.build import Builder
from hpcorch.byhand import Draft, drafted
from hpcorch.cli import output, render_output, render_pinning
from hpcorch.cli.completers import complete, spec_files, spec_names
from hpcorch.errors import InputError, RunNotFound
from hpcorch.nearest import suggestion
from hpcorch.plan import DatabaseUse, suffix
from hpcorch.roster import Entity, Roster
from hpcorch.spec import Spec, read_spec

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch render experiment.toml sim
  hpcorch render experiment.toml --scheduler pbs -o jobs

With -o, what the scripts need is put into their run directories, and it is said how to submit them.
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the kind takes."""
    parser.epilog = _EPILOG
    spec = parser.add_argument("spec", metavar="FILE.toml", help="the spec file")
    names = parser.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="which of its entities"
    )
    complete(spec, spec_files)
    complete(names, spec_names)
    parser.add_argument("-o", dest="dir", metavar="DIR", help="write all, or those, there")
    render_pinning.arguments(parser)


def run(args: Namespace) -> int:
    """Print one script, or write several."""
    render_pinning.check(args, args.dir)
    spec = read_spec(args.spec)
    entities = chosen(spec, args.names)
    if len(entities) > 1 and args.dir is None:
        names = ", ".join(entity.name for entity in spec.entities)
        raise InputError(
            f"{args.spec} describes several entities, and one script is printed",
            f"name one of {names}, or write all with -o DIR",
        )
    if args.program:
        raise InputError("a spec file names its programs itself: leave out what follows --")
    build, ending = render_output.builder(args.scheduler or spec.launcher, spec.site, args.server)
    drafts = _drafts(build, spec, entities)
    if args.explain_pinning:
        for draft in drafts:
            render_pinning.explain(args, draft.built)
    elif args.dir is None:
        _print(args, drafts[0])
    else:
        _write(args, spec, {f"{draft.built.job.name}{ending}": draft for draft in drafts})
    return 0


def chosen(spec: Spec, names: list[str]) -> list[Entity]:
    """Return the entities of these names, all when none is named; raises RunNotFound."""
    known = {entity.name: entity for entity in spec.entities}
    for name in names:
        if name not in known:
            raise RunNotFound(
                f"{spec.file} describes no {name!r}", suggestion(name, known, "there are: ")
            )
    return [entity for name, entity in known.items() if not names or name in names]


def _drafts(build: Builder, spec: Spec, entities: list[Entity]) -> list[Draft]:
    roster = Roster(Path(spec.exp_path))
    for entity in spec.entities:
        roster.add(entity)
    uses = [DatabaseUse(str(roster.directory(it)), suffix(it.name)) for it in spec.databases]
    marker = placement.checked_marker(None)
    drafts = [drafted(build, roster, entity, uses, marker) for entity in entities]
    for draft in drafts:
        render_output.warn(draft)
    return drafts


def _print(args: Namespace, draft: Draft) -> None:
    if args.json:
        output.print_json(indent=2, **render_output.facts(draft, None))
    else:
        render_output.print_script(draft)


def _write(args: Namespace, spec: Spec, drafts: dict[str, Draft]) -> None:
    folder = Path(args.dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draft in drafts.items():
        render_output.write(draft, folder / name)
    if args.json:
        scripts = [render_output.facts(draft, folder / name) for name, draft in drafts.items()]
        output.print_json(directory=str(folder.absolute()), scripts=scripts)
        return
    for name, draft in drafts.items():
        render_output.tell(draft, folder / name)
    if spec.databases and len(drafts) > 1:
        output.remark("all can be submitted at once: programs wait for their databases")
    output.remark(f"next: {output.command('hpcorch', 'status', output.here(spec.exp_path))}")
