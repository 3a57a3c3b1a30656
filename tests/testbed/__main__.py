"""The command line: `python -m tests.testbed --help`."""

# ruff: noqa: T201 - it prints

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import NoReturn

from tests.testbed import commands, control, packages
from tests.testbed.cleanup import remove_dead
from tests.testbed.cluster import Cluster
from tests.testbed.errors import ClusterError
from tests.testbed.layout import BASE, LOGIN, PREFIX, Layout, address

DEFAULT_DIRECTORY = BASE / PREFIX


def main() -> None:
    options = parser().parse_args()
    try:
        options.function(options)
    except ClusterError as error:
        sys.exit(f"testbed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="testbed", description="Slurm with several nodes on this machine."
    )
    top.add_argument("--dir", type=Path, default=None, help=argparse.SUPPRESS)
    commands_ = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: object, text: str) -> argparse.ArgumentParser:
        command = commands_.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        if name != "packages":
            command.add_argument("--dir", type=Path, default=None, help="the cluster's directory")
        return command

    _add_options(add("up", up, "bring a cluster up"))
    add("down", down, "take it down")
    add("status", status, "say whether it is up, and how its nodes are")
    command = add("run", run, "bring a cluster up, run CMD on its login node, take it down")
    _add_options(command)
    command.add_argument("cmd", nargs=argparse.REMAINDER, metavar="-- CMD")
    command = add("exec", execute, "run CMD on the login node, or on a node")
    command.add_argument("--node", default=LOGIN)
    command.add_argument("cmd", nargs=argparse.REMAINDER, metavar="-- CMD")
    add("env", env, 'for a shell outside: eval "$(... env)", and Slurm\'s commands work there')
    command = add("ctl", ctl, "make outages")
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    orders = control.NODE_ORDERS | control.SERVICE_ORDERS
    command.epilog = "\n".join(f"{name:16}{text}" for name, text in orders.items())
    command.add_argument("order", choices=list(orders), metavar="ORDER")
    command.add_argument("node", nargs="?", default="")
    command = add("packages", list_packages, "list the Debian packages that are needed")
    command.add_argument("--missing", action="store_true", help="only those not installed")
    return top


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--nodes", type=int, default=4, help="(default 4)")
    command.add_argument("--cpus", type=int, default=4, help="that each claims (default 4)")
    command.add_argument("--memory", type=int, default=4000, help="that each claims, MB")
    command.add_argument("--accounting", action="store_true", help="with slurmdbd: sacct works")
    command.add_argument("--cgroup", action="store_true", help="enforce memory, and CPUs if real")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of slurm.conf"
    )
    command.add_argument(
        "--shared", action="append", default=[], type=Path, help="below /tmp, for all nodes to see"
    )


def make_cluster(options: argparse.Namespace, directory: Path | None) -> Cluster:
    wrong = [item for item in options.set if "=" not in item]
    if wrong:
        raise ClusterError(f"--set wants KEY=VALUE, not {wrong[0]!r}")
    return Cluster(
        nodes=options.nodes,
        cpus=options.cpus,
        memory=options.memory,
        accounting=options.accounting,
        cgroup=options.cgroup,
        settings=dict(item.split("=", 1) for item in options.set),
        shared=options.shared,
        directory=directory,
    )


def directory_of(options: argparse.Namespace) -> Path:
    given = options.dir or os.environ.get("HPCORCH_TESTBED_DIR") or DEFAULT_DIRECTORY
    return Path(given).absolute()


def up(options: argparse.Namespace) -> None:
    cluster = make_cluster(options, directory_of(options))
    # Ended on its way, it is to take down what there is: as by Ctrl-C.
    signal.signal(signal.SIGTERM, _exit_by_signal)
    cluster.up(stay=True)
    me = f"{sys.executable} -m tests.testbed"
    where = f" --dir {shlex.quote(str(options.dir))}" if options.dir else ""
    print(f"{cluster.options.nodes} nodes are up, all share {cluster.shared}. Next:")
    print(f'  eval "$({me} env{where})"; sinfo; srun -N3 hostname')
    print(f"  {me} exec{where} --node node2 -- ip -br address")
    print(f"  {me} ctl{where} node-down node3")
    print(f"  {me} down{where}")


def down(options: argparse.Namespace) -> None:
    directory = directory_of(options)
    if remove_dead(Layout(directory)):
        print(f"removed what was left in {directory}")
        return
    Cluster.attach(directory).down()


def status(options: argparse.Namespace) -> None:
    cluster = Cluster.attach(directory_of(options))
    kind = "with" if cluster.options.accounting else "without"
    print(f"up in {cluster.layout.directory}, {kind} accounting; shared: {cluster.shared}")
    states = cluster.node_states()
    for node in cluster.nodes:
        print(f"{node}  {address(node)}  {states.get(node, 'unknown')}")


def run(options: argparse.Namespace) -> NoReturn:
    words = command_words(options)
    directory = options.dir.absolute() if options.dir else None
    signal.signal(signal.SIGTERM, _exit_by_signal)
    with make_cluster(options, directory) as cluster:
        process = cluster.popen(words, cwd=Path.cwd())
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    sys.exit(code if code >= 0 else 128 - code)


def execute(options: argparse.Namespace) -> NoReturn:
    layout = Cluster.attach(directory_of(options)).layout
    words = commands.enter(layout, options.node, command_words(options), str(Path.cwd()))
    os.execvpe(words[0], words, commands.environment(layout))


def env(options: argparse.Namespace) -> None:
    layout = Cluster.attach(directory_of(options)).layout
    wrappers = str(layout / "bin")
    path = [part for part in os.environ.get("PATH", "").split(":") if part != wrappers]
    for name, value in (layout.environment() | {"PATH": ":".join([wrappers, *path])}).items():
        print(f"export {name}={shlex.quote(value)}")


def ctl(options: argparse.Namespace) -> None:
    control.order(Layout(directory_of(options)), options.order, options.node)


def list_packages(options: argparse.Namespace) -> None:
    print(" ".join(packages.missing_packages() if options.missing else packages.all_packages()))


def command_words(options: argparse.Namespace) -> list[str]:
    words: list[str] = options.cmd[1:] if options.cmd[:1] == ["--"] else options.cmd
    if not words:
        raise ClusterError("which command? Give it after --")
    return words


def _exit_by_signal(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
