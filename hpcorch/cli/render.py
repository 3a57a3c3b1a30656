"""`hpcorch render`: prints a job script; nothing is started, nothing else is needed to run it.

An ensemble's script needs the table of its tasks beside it, which is written with `-o`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import report, rundir
from hpcorch.build import Builder, choose_scheduler
from hpcorch.cli import output, render_database
from hpcorch.describe import cpus
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import COLOCATED_PER, Model
from hpcorch.describe.settings import RunSettings
from hpcorch.describe.strategies import NAMES
from hpcorch.errors import InputError
from hpcorch.plan import DatabaseUse, picture, seats, suffix
from hpcorch.sites import load_site
from hpcorch.submit import Built

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch render database --nodes 3 > db.sh
  hpcorch render model sim --use ./orchestrator -- ./sim --steps 100 > sim.sh
"""
_MODEL_EPILOG = """\
example: hpcorch render model sim --colocate uds --use ./orchestrator -- ./sim --steps 100

Everything after -- is the program's own and reaches it byte for byte.
"""
_ENSEMBLE_EPILOG = """\
example: hpcorch render ensemble heat --param alpha=0.1,0.2 --param n=1,2 -o heat.sh -- ./sim

Members get their parameters as arguments: ./sim --alpha=0.1 -n 1, and so on.
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.set_defaults(what=None)
    kinds = parser.add_subparsers(dest="what", metavar="KIND", title="kinds")
    database = kinds.add_parser("database", help="a database", description="Print its job script.")
    render_database.arguments(database)
    model = kinds.add_parser("model", help="a program", description="Print its job script.")
    model.epilog = _MODEL_EPILOG
    _model_arguments(model)
    ensemble = kinds.add_parser(
        "ensemble", help="many programs as one array", description="Print its job script."
    )
    ensemble.epilog = _ENSEMBLE_EPILOG
    _ensemble_arguments(ensemble)
    ensemble.set_defaults(explain_pinning=False)
    for kind in (database, model, ensemble):
        _common_arguments(kind)
    for kind in (database, model):
        _explain_arguments(kind)


def _common_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--scheduler", default="auto", metavar="NAME", help="whose script it is, such as local"
    )
    parser.add_argument(
        "--path", metavar="RUN_DIR", help="where the job keeps its files (default: ./ and its name)"
    )
    parser.add_argument("--server", metavar="PATH", help="the server program to start")
    parser.add_argument(
        "-o", dest="file", metavar="FILE", help="write the script there, with mode 0700"
    )
    parser.add_argument("--json", action="store_true", help="print the script in a JSON object")


def _explain_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--explain-pinning", action="store_true", help="show who would sit on which CPU instead"
    )
    parser.add_argument(
        "--job-cpus", metavar="LIST", help="for a job with these CPUs of a node (default: as here)"
    )


def _model_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the program in this experiment")
    parser.add_argument(
        "--colocate", choices=("tcp", "uds"), help="put a database beside it, reached that way"
    )
    parser.add_argument("--db-cpus", type=int, metavar="N", help="CPUs of that database")
    parser.add_argument("--per", choices=COLOCATED_PER, help="there is one of it (default: node)")
    parser.add_argument(
        "--pin", metavar="LIST", help="which CPUs, such as 0,2,5-7, counted inside the job's own"
    )
    _use_argument(parser)


def _use_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--use",
        action="append",
        default=[],
        metavar="DIR[:ID]",
        help="run directory of a database to connect to; may be repeated",
    )


def _ensemble_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the ensemble in this experiment")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE[,VALUE...]",
        help="a parameter and its values; may be repeated",
    )
    parser.add_argument("--replicas", type=int, metavar="N", help="members of each combination")
    parser.add_argument("--strategy", default="all_perm", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--members", type=int, default=0, metavar="N", help="how many the strategy random draws"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the strategy random")
    parser.add_argument("--max-running", type=int, metavar="N", help="members at once")
    _use_argument(parser)


def run(args: Namespace) -> int:
    """Render and print."""
    if args.what is None:
        raise InputError("render what?", "hpcorch render database, or hpcorch render model NAME")
    built = {"database": _database, "model": _model, "ensemble": _ensemble}[args.what](args)
    for warning in built.job.warnings:
        output.remark(warning, "warning")
    if args.explain_pinning:
        return _explain(args, built)
    if args.file is not None:
        _write(built, Path(args.file))
    if args.json:
        output.print_json(
            kind=built.job.kind,
            name=built.job.name,
            run_dir=built.job.run_dir,
            elements=built.job.elements,
            sha256=built.script.sha256,
            warnings=list(built.job.warnings),
            file=None if args.file is None else str(Path(args.file).absolute()),
            script=built.script.text,
        )
    elif args.file is None:
        output.print_exactly(report.preview(built))
    else:
        words = built.job.by_hand.replace("THIS_FILE", "").split()
        for part in range(len(built.scripts)):
            file = rundir.script_file(Path(args.file), part)
            submit = output.command(*words, str(file))
            output.remark(f"{file} is written; to run it: {submit}")
    return 0


def _write(built: Built, first: Path) -> None:
    rundir.write_scripts(first, [script.text for script in built.scripts])
    if built.plan.table:
        run_dir = Path(built.job.run_dir)
        rundir.make_private(run_dir)
        rundir.write_table(run_dir, built.plan.table, built.plan.names)


def _explain(args: Namespace, built: Built) -> int:
    """Print who sits where; nothing is written."""
    allowed = _cpus_here() if args.job_cpus is None else cpus.parse_list(args.job_cpus)
    found = seats(built.job, allowed, _numa_domains())
    if args.json:
        output.print_json(
            name=built.job.name,
            seats=[{"title": it.title, "cpus": it.cpus, "places": dict(it.places)} for it in found],
        )
    else:
        output.print_exactly(picture(found))
    return 0


def _cpus_here() -> tuple[int, ...]:
    if sys.platform == "darwin":
        return tuple(range(os.cpu_count() or 1))
    return tuple(sorted(os.sched_getaffinity(0)))


def _numa_domains() -> dict[int, tuple[int, ...]]:
    """Read the domains of this machine, or of the one that HPCORCH_TOPOLOGY describes."""
    root = Path(os.environ.get("HPCORCH_TOPOLOGY") or "/sys/devices/system/node")
    files = {int(path.parent.name[4:]): path for path in root.glob("node[0-9]*/cpulist")}
    return {number: cpus.parse_list(files[number].read_text()) for number in sorted(files)}


def _builder(args: Namespace) -> Builder:
    environ = dict(os.environ)
    if args.server is not None:
        if shutil.which(args.server) is None:
            raise InputError(f"--server is {args.server!r}: there is no such program")
        environ["REDIS_PATH"] = args.server
    site = load_site(environ)
    scheduler, _ = choose_scheduler(args.scheduler, site, os.environ)
    return Builder(site, scheduler, environ)


def _run_dir(args: Namespace, name: str) -> Path:
    return Path(args.path or name).absolute()


def _database(args: Namespace) -> Built:
    database = render_database.described(args)
    builder = _builder(args)
    return builder.finish(builder.database(database, _run_dir(args, database.name)))


def _settings(args: Namespace) -> RunSettings:
    if not args.program:
        what = f"{args.what} {args.name}"
        raise InputError(
            f"the program of {args.name} is missing",
            f"name it after --, as in: hpcorch render {what} -- ./program --option",
        )
    exe, *exe_args = args.program
    return RunSettings(exe, exe_args)


def _ensemble(args: Namespace) -> Built:
    params: dict[str, list[str]] = {}
    for word in args.param:
        name, sign, values = word.partition("=")
        if not sign or name in params:
            raise InputError(f"--param is {word!r}: it must be a new NAME=VALUE[,VALUE...]")
        params[name] = values.split(",")
    ensemble = Ensemble(
        args.name,
        params,
        run_settings=_settings(args),
        replicas=args.replicas,
        perm_strategy=args.strategy,
        path=args.path,
        params_as_args=list(params),
        n_models=args.members,
        seed=args.seed,
        max_running=args.max_running,
    )
    builder = _builder(args)
    plan = builder.ensemble(ensemble, _uses(args.use), _run_dir(args, ensemble.name))
    return builder.finish(plan)


def _model(args: Namespace) -> Built:
    model = Model(args.name, _settings(args), path=args.path)
    _colocate(args, model)
    builder = _builder(args)
    return builder.finish(builder.model(model, _uses(args.use), _run_dir(args, model.name)))


def _colocate(args: Namespace, model: Model) -> None:
    if args.colocate is None:
        options = {"--db-cpus": args.db_cpus, "--pin": args.pin, "--per": args.per}
        for option, value in options.items():
            if value is not None:
                raise InputError(f"{option} is for a database beside the program", "add --colocate")
        return
    pinning = None if args.pin is None else cpus.parse_list(args.pin)
    db_cpus = args.db_cpus if args.db_cpus is not None else len(pinning or (0,))
    place = model.colocate_db_tcp if args.colocate == "tcp" else model.colocate_db_uds
    place(db_cpus=db_cpus, custom_pinning=pinning, per=args.per or COLOCATED_PER[0])


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
