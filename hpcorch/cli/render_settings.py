"""What `hpcorch render model` and `ensemble` take of a launch, the batch system and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcorch.cli.words import pairs, refuse_alone, repeated, settled
from hpcorch.describe import cpus
from hpcorch.describe.container import RUNTIMES, Container
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.settings import RUN_COMMANDS, BatchSettings, RunSettings
from hpcorch.errors import InputError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _ActionsContainer

_OF_CONTAINERS = ("--container-arg", "--mount", "--container-runtime")


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    _launch_arguments(parser.add_argument_group("how the program is launched"))
    _host_arguments(parser.add_argument_group("where it runs"))
    batch_arguments(parser.add_argument_group("what the batch system is asked for"))
    _container_arguments(parser.add_argument_group("in a container"))
    _file_arguments(parser.add_argument_group("files in its run directory"))


def _launch_arguments(group: _ActionsContainer) -> None:
    group.add_argument(
        "--run-command", default="auto", metavar="NAME", help=" or ".join(RUN_COMMANDS)
    )
    repeated(group, "--run-arg", "KEY[=VALUE]", "an option of the launch command")
    repeated(group, "--env", "NAME=VALUE", "a variable of the program")
    group.add_argument("--tasks", type=int, metavar="N", help="processes in all")
    group.add_argument("--tasks-per-node", type=int, metavar="N", help="processes on each node")
    group.add_argument("--cpus-per-task", type=int, metavar="N", help="CPUs of each process")
    group.add_argument("--task-map", metavar="WORD", help="how processes are spread")
    group.add_argument("--bind", metavar="LIST", help="CPUs of a node's processes, by rank")
    group.add_argument("--verbose-launch", action="store_true", help="let it tell more")
    group.add_argument("--quiet-launch", action="store_true", help="let it tell less")
    group.add_argument(
        "--broadcast", nargs="?", const="", metavar="PATH", help="copy the program to the nodes"
    )


def _host_arguments(group: _ActionsContainer) -> None:
    group.add_argument("--nodes", type=int, metavar="N", help="how many")
    group.add_argument("--host-file", metavar="FILE", help="a list of them for the launch command")
    node_arguments(group)


def node_arguments(group: _ActionsContainer) -> None:
    """Declare which nodes a job of any kind wants."""
    repeated(group, "--host", "NODE", "a node to run on")
    repeated(group, "--exclude-host", "NODE", "a node not to run on")
    repeated(group, "--feature", "NAME", "what the nodes must have")
    group.add_argument("--memory-per-node", type=int, metavar="MB", help="in megabytes")


def batch_arguments(group: _ActionsContainer) -> None:
    """Declare what a job of any kind asks a batch system for."""
    group.add_argument("--time", metavar="HH:MM:SS", help="walltime")
    group.add_argument("--queue", metavar="NAME", help="queue or partition")
    group.add_argument("--account", metavar="NAME", help="who pays")
    group.add_argument("--exclusive", action="store_true", help="whole nodes")
    repeated(group, "--batch-arg", "KEY[=VALUE]", "a further option")
    repeated(group, "--preamble", "LINE", "a line of bash that the job runs first")


def _container_arguments(group: _ActionsContainer) -> None:
    group.add_argument("--container", metavar="IMAGE", help="the image that the program is in")
    repeated(group, "--container-arg", "WORD", "an option of what enters it")
    repeated(group, "--mount", "HOST[:INSIDE]", "a directory to make visible in it")
    group.add_argument(
        "--container-runtime",
        metavar="NAME",
        help=" or ".join(RUNTIMES) + f" (default: {RUNTIMES[0]})",
    )


def _file_arguments(group: _ActionsContainer) -> None:
    repeated(group, "--copy", "PATH", "a file, or what is in a directory, copied there")
    repeated(group, "--link", "PATH", "linked to")
    repeated(group, "--configure", "PATH", "copied with its markers replaced by parameters")
    group.add_argument("--marker", metavar="TEXT", help="on both sides of markers (default: ;)")


def run_settings(args: Namespace) -> RunSettings:
    """Return how the program after -- is run; raises InputError."""
    if not args.program:
        what = f"{args.what} {args.name}"
        raise InputError(
            f"the program of {args.name} is missing",
            f"name it after --, as in: hpcorch render {what} -- ./program --option",
        )
    exe, *exe_args = args.program
    settings = RunSettings(
        exe,
        exe_args,
        args.run_command,
        dict(pairs(args.run_arg)),
        settled("--env", args.env),
        _container(args),
    )
    _set_numbers(args, settings)
    _set_hosts(args, settings)
    if args.task_map is not None:
        settings.set_task_map(args.task_map)
    if args.bind is not None:
        settings.set_cpu_bindings(list(cpus.parse_list(args.bind)))
    settings.set_verbose_launch(args.verbose_launch)
    settings.set_quiet_launch(args.quiet_launch)
    if args.broadcast is not None:
        settings.set_broadcast(args.broadcast or None)
    return settings


def _set_numbers(args: Namespace, settings: RunSettings) -> None:
    for value, setter in (
        (args.nodes, settings.set_nodes),
        (args.tasks, settings.set_tasks),
        (args.tasks_per_node, settings.set_tasks_per_node),
        (args.cpus_per_task, settings.set_cpus_per_task),
        (args.memory_per_node, settings.set_memory_per_node),
    ):
        if value is not None:
            setter(value)


def _set_hosts(args: Namespace, settings: RunSettings) -> None:
    if args.host:
        settings.set_hostlist(args.host)
    if args.host_file is not None:
        settings.set_hostlist_from_file(args.host_file)
    if args.exclude_host:
        settings.set_excluded_hosts(args.exclude_host)
    if args.feature:
        settings.set_node_feature(args.feature)


def _container(args: Namespace) -> Container | None:
    refuse_alone(args, _OF_CONTAINERS, "a container", "--container")
    if args.container is None:
        return None
    runtime = args.container_runtime or RUNTIMES[0]
    return Container(args.container, args.container_arg, args.mount, runtime=runtime)


def batch_settings(args: Namespace) -> BatchSettings:
    """Return what the batch system is asked for; raises InputError."""
    settings = BatchSettings(
        time=args.time,
        queue=args.queue,
        account=args.account,
        batch_args=dict(pairs(args.batch_arg)),
    )
    settings.set_exclusive(args.exclusive)
    settings.add_preamble(args.preamble)
    return settings


def attach_files(args: Namespace, entity: Model | Ensemble) -> None:
    """Say which files the program finds in its run directory; raises InputError.

    Members of an ensemble put theirs in place themselves, when they start.
    """
    refuse_alone(args, ["--marker"], "files with parameters", "--configure")
    if isinstance(entity, Ensemble):
        entity.attach_generator_files(args.copy, args.link, args.configure, on_node=True)
    else:
        entity.attach_generator_files(args.copy, args.link, args.configure)
