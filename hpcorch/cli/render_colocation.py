"""What `hpcorch render model` and `ensemble` take of a database beside the program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hpcorch.cli import render_workers
from hpcorch.cli.words import given, refuse_alone, repeated
from hpcorch.describe import cpus
from hpcorch.describe.model import COLOCATED_PER, COLOCATED_SECURITY, Model
from hpcorch.errors import InputError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

# Options that say something of that database only.
_ITS_OWN = (
    *("--db-cpus", "--pin", "--per", "--db-identifier", "--db-port", "--ifname", "--socket"),
    *("--socket-permissions", "--share-cpus", "--db-debug", "--db-maxmemory", "--db-security"),
    *render_workers.OPTIONS,
)


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("a database beside it")
    group.add_argument(
        "--colocate", choices=("tcp", "uds"), help="put one beside it, reached that way"
    )
    group.add_argument("--db-cpus", type=int, metavar="N", help="CPUs of that database")
    group.add_argument("--per", choices=COLOCATED_PER, help="there is one of it (default: node)")
    group.add_argument(
        "--pin", metavar="LIST", help="which CPUs, such as 0,2,5-7, counted inside the job's own"
    )
    group.add_argument("--share-cpus", action="store_true", help="let the program use them too")
    group.add_argument("--db-identifier", metavar="ID", help="default: none")
    group.add_argument("--db-port", type=int, metavar="P", help="first to try (default: 6379)")
    repeated(group, "--ifname", "IF", "a network that it listens on (tcp: lo)")
    group.add_argument(
        "--socket", metavar="PATH", help="with uds (default: in a private directory)"
    )
    group.add_argument("--socket-permissions", metavar="OCTAL", help="with uds (default: 700)")
    group.add_argument("--db-maxmemory", metavar="SIZE", help="such as 3gb")
    group.add_argument("--db-security", metavar="TIER", help=" or ".join(COLOCATED_SECURITY))
    group.add_argument("--db-debug", action="store_true", help="keep a verbose log of the server")
    render_workers.arguments(group, "on each node")


def colocate(args: Namespace, programs: Iterable[Model]) -> None:
    """Put the database that was asked for beside the programs; raises InputError."""
    refuse_alone(args, _ITS_OWN, "a database beside the program", "--colocate")
    if args.colocate is not None:
        for program in programs:
            (_beside_tcp if args.colocate == "tcp" else _beside_uds)(args, program)


def _beside_tcp(args: Namespace, model: Model) -> None:
    for option in ("--socket", "--socket-permissions"):
        if given(args, option):
            raise InputError(f"{option} is for a Unix socket", "say --colocate uds")
    model.colocate_db_tcp(
        port=_port(args),
        ifname=args.ifname or "lo",
        db_cpus=args.db_cpus,
        custom_pinning=_pinning(args),
        debug=args.db_debug,
        db_identifier=args.db_identifier or "",
        limit_app_cpus=not args.share_cpus,
        maxmemory=args.db_maxmemory,
        security=args.db_security or COLOCATED_SECURITY[0],
        workers=render_workers.workers(args),
        per=args.per or COLOCATED_PER[0],
    )


def _beside_uds(args: Namespace, model: Model) -> None:
    model.colocate_db_uds(
        unix_socket=args.socket,
        socket_permissions=_permissions(args.socket_permissions),
        db_cpus=args.db_cpus,
        custom_pinning=_pinning(args),
        debug=args.db_debug,
        db_identifier=args.db_identifier or "",
        limit_app_cpus=not args.share_cpus,
        ifname=args.ifname or None,
        port=_port(args),
        maxmemory=args.db_maxmemory,
        security=args.db_security or COLOCATED_SECURITY[0],
        workers=render_workers.workers(args),
        per=args.per or COLOCATED_PER[0],
    )


def _port(args: Namespace) -> int:
    return 6379 if args.db_port is None else int(args.db_port)


def _pinning(args: Namespace) -> tuple[int, ...] | None:
    return None if args.pin is None else cpus.parse_list(args.pin)


def _permissions(word: str | None) -> int:
    try:
        return 0o700 if word is None else int(word, 8)
    except ValueError:
        raise InputError(
            f"--socket-permissions is {word!r}: it must be an octal number such as 770"
        ) from None
