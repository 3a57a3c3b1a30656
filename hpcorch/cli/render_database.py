"""What `hpcorch render database` takes, and the description that it makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcorch.cli import render_settings, render_workers
from hpcorch.cli.words import pairs, repeated, settled
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
    from argparse import ArgumentParser, Namespace, _ActionsContainer

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
    _server_arguments(parser.add_argument_group("the servers"))
    _pinning_arguments(parser.add_argument_group("their CPUs"))
    _batch_arguments(parser.add_argument_group("what the batch system is asked for"))
    _checkpoint_arguments(parser.add_argument_group("saving the data"))
    render_workers.arguments(parser, "beside each shard")
    render_workers.attachment_arguments(parser)


def _server_arguments(group: _ActionsContainer) -> None:
    group.add_argument(
        "--identifier", default=DEFAULT_IDENTIFIER, metavar="ID", help="default: %(default)s"
    )
    group.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="shards (default: %(default)d)"
    )
    group.add_argument(
        "--port", type=int, default=6379, metavar="P", help="first to try (default: %(default)d)"
    )
    group.add_argument(
        "--interface", action="append", metavar="IF", help="network to listen on; may be repeated"
    )
    group.add_argument(
        "--security", default="password", metavar="TIER", help=" or ".join(SECURITY_TIERS)
    )
    repeated(group, "--module", "PATH", "a server module to load")
    group.add_argument(
        "--ai-commands",
        choices=("yes", "no"),
        help="load hpcorch's own module (default: with --security smartredis)",
    )
    group.add_argument("--maxmemory", metavar="SIZE", help="of each shard, such as 3gb")
    group.add_argument("--threads", type=int, default=1, metavar="N", help="I/O threads")
    repeated(group, "--conf", "KEY=VALUE", "a directive of redis.conf")


def _pinning_arguments(group: _ActionsContainer) -> None:
    group.add_argument("--db-cpus", type=int, metavar="N", help="CPUs that each shard is pinned to")
    group.add_argument(
        "--pin", metavar="LIST", help="a host's CPUs for its shards, counted inside the job's own"
    )
    group.add_argument(
        "--shards-per-host",
        type=int,
        default=1,
        metavar="N",
        help="shards that share a node of a batch system (default: %(default)d)",
    )


def _batch_arguments(group: _ActionsContainer) -> None:
    group.add_argument(
        "--layout",
        default=LAYOUTS[0],
        metavar="LAYOUT",
        help="array: an element for each node (default); gang: one job of all nodes",
    )
    render_settings.batch_arguments(group)
    render_settings.node_arguments(group)
    group.add_argument("--cpus", type=int, metavar="N", help="CPUs of each shard")
    group.add_argument(
        "--run-command", default="auto", metavar="NAME", help="what starts the shards of a gang"
    )
    repeated(group, "--run-arg", "KEY[=VALUE]", "an option of srun where it starts the shards")


def _checkpoint_arguments(group: _ActionsContainer) -> None:
    group.add_argument("--checkpoint", action="store_true", help="save the data at the end")
    group.add_argument(
        "--checkpoint-every", type=int, metavar="SECONDS", help="save them meanwhile too"
    )
    group.add_argument(
        "--restore", metavar="DIR", help="start with what the database there has saved last"
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
        module_paths=args.module,
        ai_commands=None if args.ai_commands is None else args.ai_commands == "yes",
        layout=args.layout,
        batch_settings=_batch(args),
        shards_per_host=args.shards_per_host,
        db_cpus=args.db_cpus,
        custom_pinning=None if args.pin is None else cpus.parse_list(args.pin),
        checkpoint=args.checkpoint,
        restore=args.restore,
        workers=render_workers.workers(args),
        run_command=args.run_command,
    )
    if args.cpus is not None:
        database.set_cpus(args.cpus)
    for key, value in pairs(args.run_arg):
        database.set_run_arg(key, value)
    for key, value in settled("--conf", args.conf).items():
        database.set_db_conf(key, value)
    if args.checkpoint_every is not None:
        database.enable_checkpoints(args.checkpoint_every)
    render_workers.attach(args, database)
    return database


def _batch(args: Namespace) -> BatchSettings:
    batch = render_settings.batch_settings(args)
    if args.host:
        batch.set_hostlist(args.host)
    if args.exclude_host:
        batch.set_excluded_hosts(args.exclude_host)
    if args.feature:
        batch.set_node_feature(args.feature)
    if args.memory_per_node is not None:
        batch.set_memory_per_node(args.memory_per_node)
    return batch
