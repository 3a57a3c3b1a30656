"""`hpcorch render`: prints a job script; nothing is started, nothing else is needed to run it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import rundir
from hpcorch.build import Builder, Built, choose_scheduler
from hpcorch.cli import output
from hpcorch.describe import cpus
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import DEFAULT_IDENTIFIER, SECURITY_TIERS, Orchestrator
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import InputError
from hpcorch.plan import DatabaseUse, suffix
from hpcorch.sites import load_site

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch render database --nodes 3 > db.sh
  hpcorch render model sim --use ./orchestrator -- ./sim --steps 100 > sim.sh
"""
_DATABASE_EPILOG = """\
example: hpcorch render database --nodes 3 --port 7000 -o db.sh && bash db.sh &

Programs find the database after: source RUN_DIR/address.env
"""
_MODEL_EPILOG = """\
example: hpcorch render model sim --colocate uds --use ./orchestrator -- ./sim --steps 100

Everything after -- is the program's own and reaches it byte for byte.
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.set_defaults(what=None)
    kinds = parser.add_subparsers(dest="what", metavar="KIND", title="kinds")
    database = kinds.add_parser("database", help="a database", description="Print its job script.")
    database.epilog = _DATABASE_EPILOG
    _database_arguments(database)
    model = kinds.add_parser("model", help="a program", description="Print its job script.")
    model.epilog = _MODEL_EPILOG
    _model_arguments(model)
    for kind in (database, model):
        _common_arguments(kind)


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


def _database_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--identifier", default=DEFAULT_IDENTIFIER, metavar="ID", help="default: %(default)s"
    )
    parser.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="shards (default: %(default)d)"
    )
    parser.add_argument(
        "--port", type=int, default=6379, metavar="P", help="first to try (default: %(default)d)"
    )
    parser.add_argument(
        "--interface", action="append", metavar="IF", help="network to listen on; may be repeated"
    )
    parser.add_argument(
        "--security", default="password", metavar="TIER", help=" or ".join(SECURITY_TIERS)
    )
    parser.add_argument(
        "--module", action="append", default=[], metavar="PATH", help="server module to load"
    )
    parser.add_argument("--maxmemory", metavar="SIZE", help="of each shard, such as 3gb")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="I/O threads")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="AI model workers beside each shard"
    )


def _model_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the program in this experiment")
    parser.add_argument(
        "--colocate", choices=("tcp", "uds"), help="put a database beside it, reached that way"
    )
    parser.add_argument("--db-cpus", type=int, metavar="N", help="CPUs of that database")
    parser.add_argument(
        "--pin", metavar="LIST", help="which CPUs, such as 0,2,5-7, counted inside the job's own"
    )
    parser.add_argument(
        "--use",
        action="append",
        default=[],
        metavar="DIR[:ID]",
        help="run directory of a database to connect to; may be repeated",
    )


def run(args: Namespace) -> int:
    """Render and print."""
    if args.what is None:
        raise InputError("render what?", "hpcorch render database, or hpcorch render model NAME")
    built = _database(args) if args.what == "database" else _model(args)
    for warning in built.job.warnings:
        output.remark(warning, "warning")
    if args.file is not None:
        rundir.write_whole(Path(args.file), built.script.text, 0o700)
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
        output.print_exactly(built.script.text)
    else:
        submit = output.command(*built.job.by_hand.replace("THIS_FILE", "").split(), args.file)
        output.remark(f"{args.file} is written; to run it: {submit}")
    return 0


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
    if args.program:
        raise InputError(f"a database takes no program: {' '.join(args.program)!r} follows --")
    database = Orchestrator(
        db_identifier=args.identifier,
        db_nodes=args.nodes,
        port=args.port,
        interface=args.interface,
        path=args.path,
        security=args.security,
        threads=args.threads,
        workers=args.workers,
        maxmemory=args.maxmemory,
        module_paths=[str(Path(item).absolute()) for item in args.module],
    )
    return _builder(args).database(database, _run_dir(args, database.name))


def _model(args: Namespace) -> Built:
    if not args.program:
        raise InputError(
            f"the program of {args.name} is missing",
            f"name it after --, as in: hpcorch render model {args.name} -- ./program --option",
        )
    exe, *exe_args = args.program
    model = Model(args.name, RunSettings(exe, exe_args), path=args.path)
    _colocate(args, model)
    return _builder(args).model(model, _uses(args.use), _run_dir(args, model.name))


def _colocate(args: Namespace, model: Model) -> None:
    if args.colocate is None:
        for option, value in (("--db-cpus", args.db_cpus), ("--pin", args.pin)):
            if value is not None:
                raise InputError(f"{option} is for a database beside the program", "add --colocate")
        return
    pinning = None if args.pin is None else cpus.parse_list(args.pin)
    db_cpus = args.db_cpus if args.db_cpus is not None else len(pinning or (0,))
    place = model.colocate_db_tcp if args.colocate == "tcp" else model.colocate_db_uds
    place(db_cpus=db_cpus, custom_pinning=pinning)


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
