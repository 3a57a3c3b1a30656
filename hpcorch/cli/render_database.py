"""What `hpcorch render database` takes, and the description that it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.describe import cpus
from hpcorch.describe.orchestrator import (
    DEFAULT_IDENTIFIER,
    LAYOUTS,
    SECURITY_TIERS,
    Orchestrator,
)
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EPILOG = """\
examples:
  hpcorch render database --nodes 3 --port 7000 -o db.sh && bash db.sh &
  hpcorch render database --scheduler slurm --nodes 3 --time 04:00:00 --queue batch \\
      --checkpoint -o db.sbatch && sbatch db.sbatch

Programs find the database after: source RUN_DIR/address.env
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the kind takes."""
    parser.epilog = EPILOG
    _server_arguments(parser)
    _pinning_arguments(parser)
    _batch_arguments(parser)
    _checkpoint_arguments(parser)


def _server_arguments(parser: ArgumentParser) -> None:
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
    _repeated(parser, "--conf", "a directive of redis.conf")


def _pinning_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--db-cpus", type=int, metavar="N", help="CPUs that each shard is pinned to"
    )
    parser.add_argument(
        "--pin", metavar="LIST", help="a host's CPUs for its shards, counted inside the job's own"
    )
    parser.add_argument(
        "--shards-per-host", type=int, default=1, metavar="N", help="default: %(default)d"
    )


def _batch_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        default=LAYOUTS[0],
        metavar="LAYOUT",
        help="array: a job for each shard (default); gang: one job of all nodes",
    )
    parser.add_argument("--time", default="", metavar="HH:MM:SS", help="walltime")
    parser.add_argument("--queue", default="", metavar="NAME", help="queue or partition")
    parser.add_argument("--account", default="", metavar="NAME", help="who pays")
    parser.add_argument("--host", action="append", metavar="NODE", help="node to run on")
    parser.add_argument("--cpus", type=int, metavar="N", help="CPUs of each shard")
    _repeated(parser, "--batch-arg", "a further option of the batch system")
    _repeated(parser, "--run-arg", "an option of srun where it starts the shards")


def _checkpoint_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--checkpoint", action="store_true", help="save the data at the end")
    parser.add_argument(
        "--checkpoint-every", type=int, metavar="SECONDS", help="save them meanwhile too"
    )
    parser.add_argument(
        "--restore", metavar="DIR", help="start with what the database there has saved last"
    )


def _repeated(parser: ArgumentParser, option: str, what: str) -> None:
    parser.add_argument(
        option, action="append", default=[], metavar="KEY[=VALUE]", help=f"{what}; may be repeated"
    )


def described(args: Namespace) -> Orchestrator:
    """Return the database that was asked for; raises InputError."""
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
        maxmemory=args.maxmemory,
        module_paths=[str(Path(item).absolute()) for item in args.module],
        layout=args.layout,
        batch_settings=BatchSettings(time=args.time, queue=args.queue, account=args.account),
        shards_per_host=args.shards_per_host,
        db_cpus=args.db_cpus,
        custom_pinning=None if args.pin is None else cpus.parse_list(args.pin),
        checkpoint=args.checkpoint,
        restore=args.restore,
        workers=args.workers,
    )
    if args.host:
        database.set_hosts(args.host)
    if args.cpus is not None:
        database.set_cpus(args.cpus)
    for key, value in _pairs(args.batch_arg):
        database.set_batch_arg(key, value)
    for key, value in _pairs(args.run_arg):
        database.set_run_arg(key, value)
    for key, value in _pairs(args.conf):
        database.set_db_conf(key, value or "")
    if args.checkpoint_every is not None:
        database.enable_checkpoints(args.checkpoint_every)
    return database


def _pairs(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Read KEY=VALUE words; without '=' there is no value."""
    parts = [word.partition("=") for word in words]
    return [(key, value if mark else None) for key, mark, value in parts]
