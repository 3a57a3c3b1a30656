"""`hpcorch render`: prints job scripts; nothing is started, nothing else is needed to run them.

What a script needs beside it, such as the table of an ensemble's tasks, is written with `-o`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import placement, rundir
from hpcorch.byhand import Draft, drafted
from hpcorch.cli import output, render_database, render_output, render_pinning, render_program
from hpcorch.cli import render_spec as spec_file
from hpcorch.cli.words import refuse_alone, refuse_empty
from hpcorch.errors import InputError
from hpcorch.plan import DatabaseUse, suffix
from hpcorch.roster import Entity, Roster

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch render database --nodes 3 > db.sh
  hpcorch render model sim --use ./orchestrator -- ./solver --steps 100 > sim.sh
  hpcorch render experiment.toml sim       the script of one entity of a spec file
  hpcorch render experiment.toml -o jobs   all of them, and what they need
"""
_WHAT = "say hpcorch render database, model NAME, ensemble NAME, or FILE.toml"
KINDS = ("database", "model", "ensemble", "spec")


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.set_defaults(what=None)
    kinds = parser.add_subparsers(dest="what", metavar="KIND", title="kinds")
    said = "Print its job script."
    database = kinds.add_parser("database", help="a database", description=said)
    render_database.arguments(database)
    render_pinning.arguments(database)
    model = kinds.add_parser("model", help="a program", description=said)
    render_program.model_arguments(model)
    ensemble = kinds.add_parser("ensemble", help="many programs as one array", description=said)
    render_program.ensemble_arguments(ensemble)
    for kind in (database, model, ensemble):
        kind.add_argument(
            "--path", metavar="RUN_DIR", help="where the job keeps its files (default: ./NAME)"
        )
        kind.add_argument(
            "-o", dest="file", metavar="FILE", help="write the script there, with mode 0700"
        )
    spec = kinds.add_parser(
        "spec", help="what a spec file describes; this word may be left out", description=said
    )
    spec_file.arguments(spec)
    for kind in (database, model, ensemble, spec):
        kind.add_argument(
            "--scheduler", metavar="NAME", help="whose script it is, such as slurm, pbs or local"
        )
        kind.add_argument("--server", metavar="PATH", help="the server program to start")
        kind.add_argument("--json", action="store_true", help="print a JSON object")


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words for the parser, and those after --, which are somebody else's.

    `render FILE.toml` is short for `render spec FILE.toml`.
    """
    cut = list(words).index("--") if "--" in words else len(words)
    mine, program = list(words[:cut]), list(words[cut + 1 :])
    after = mine.index("render") + 1
    if not any(word in KINDS for word in mine[after:]) and any(
        word.endswith(".toml") for word in mine[after:]
    ):
        mine.insert(after, "spec")
    kind = next((word for word in mine[after:] if not word.startswith("-")), "spec")
    if kind not in KINDS:
        raise InputError(f"{kind!r} is no kind of job and no FILE.toml", _WHAT)
    return mine, program


def run(args: Namespace) -> int:
    """Render and print."""
    if args.what is None:
        raise InputError("render what?", _WHAT)
    refuse_empty(args, ("--scheduler", "--time", "--queue", "--account", "--use"))
    if args.what == "spec":
        return spec_file.run(args)
    if args.what != "ensemble":
        render_pinning.check(args, args.file)
    if args.what != "database":
        refuse_alone(args, ["--server"], "a database beside the program", "--colocate")
    entity = _described(args)
    build, _ = render_output.builder(args.scheduler or "auto", None, args.server)
    roster = Roster(Path.cwd())
    roster.add(entity)
    uses = [] if args.what == "database" else _uses(args.use)
    marker = None if args.what == "database" else args.marker
    draft = drafted(build, roster, entity, uses, placement.checked_marker(marker))
    render_output.warn(draft)
    for use in uses:
        if not Path(use.directory).is_dir():
            output.remark(f"{use.directory} is not there: the program will wait for it", "warning")
    if args.explain_pinning:
        render_pinning.explain(args, draft.built)
        return 0
    _deliver(args, draft)
    return 0


def _described(args: Namespace) -> Entity:
    if args.what == "database":
        return render_database.described(args)
    if args.what == "model":
        return render_program.described_model(args)
    return render_program.described_ensemble(args)


def _deliver(args: Namespace, draft: Draft) -> None:
    first = None if args.file is None else Path(args.file)
    if first is not None:
        render_output.write(draft, first)
    if args.json:
        output.print_json(indent=2, **render_output.facts(draft, first))
    elif first is None:
        render_output.print_script(draft)
    else:
        render_output.tell(draft, first)


def _uses(words: Sequence[str]) -> list[DatabaseUse]:
    """Read DIR[:ID] words; without ID, the database itself or its directory's name tells."""
    uses: dict[str, DatabaseUse] = {}
    for word in words:
        where, _, identifier = ("", "", "") if Path(word).is_dir() else word.rpartition(":")
        directory = Path(where or word).absolute()
        if not where:
            known = rundir.address(directory) or {}
            identifier = str(known.get("identifier", directory.name))
        use = DatabaseUse(str(directory), suffix(identifier))
        if use.suffix in uses:
            raise InputError(
                f"--use names two databases {identifier!r}: their variables would be the same",
                "give one of them an identifier of its own when it is started",
            )
        uses[use.suffix] = use
    return list(uses.values())
