"""`hpcorch module`: finds, compiles and tries the server module for SmartRedis programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import Experiment, rundir
from hpcorch.cli import output
from hpcorch.errors import InputError, StartFailed
from hpcorch.module.library import build_module, find_module, user_module

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch module build
  redis-server --loadmodule $(hpcorch module path)
"""
_MISSING = "the server module was not compiled at installation"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.set_defaults(what=None)
    actions = parser.add_subparsers(dest="what", metavar="ACTION", title="actions")
    actions.add_parser("path", help="print where the compiled module is")
    build = actions.add_parser("build", help="compile it with a C compiler")
    build.add_argument("-o", dest="file", metavar="FILE", help="default: in your cache directory")
    check = actions.add_parser("check", help="load it into the server and use it")
    check.add_argument("--server", metavar="PATH", help="the server program")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print a JSON object")


def run(args: Namespace) -> int:
    """Find, compile or try the module."""
    if args.what is None:
        raise InputError("module what?", "hpcorch module check")
    if args.what == "build":
        found = Path(args.file).absolute() if args.file else user_module(os.environ)
        build_module(found, os.environ)
    elif (known := find_module(os.environ)) is None:
        raise InputError(_MISSING, "hpcorch module build")
    else:
        found = known
    if not args.json:
        print(found)
    address = _check(args.server) if args.what == "check" else None
    if args.json:
        output.print_json(path=str(found), address=address)
    elif address:
        output.remark(f"the server at {address} has loaded it; a tensor came back unchanged")
    return 0


def _check(server: str | None) -> str:
    """Start a database with the module here, send a tensor through it, and return its address."""
    import numpy as np

    if server is not None:
        os.environ["REDIS_PATH"] = server
    folder = Path(tempfile.mkdtemp(prefix="hpcorch-module-"))
    output.messages_aside("module_check")
    experiment = Experiment("module_check", exp_path=folder, launcher="local")
    database = experiment.create_database(ai_commands=True)
    try:
        experiment.start(database)
        facts = database.health()[0]
        client = database.client()
        tensor = np.arange(6.0).reshape(2, 3)
        client.put_tensor("check", tensor)
        if not np.array_equal(client.get_tensor("check"), tensor):
            raise StartFailed("a tensor came back changed")
    finally:
        experiment.stop()
        rundir.remove_all(folder)
    return str(facts["address"])
