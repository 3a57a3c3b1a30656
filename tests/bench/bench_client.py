"""How long arrays take into a database and out of it, for several clients side by side.

The clients are hpcorch, SmartRedis, redis-py with hiredis and a bare socket. All talk to tuned
servers of one kind (those that hpcorch ships, or REDIS_PATH), in turn, each from a process of its
own on one CPU with the servers on the others. SmartRedis is the published wheel, in an environment
that is made here once. It needs servers with hpcorch's module; hpcorch is measured on those too,
where it sends AI.TENSORSET and AI.TENSORGET instead of SET and GET. What cannot be measured is said
and left out. Arguments name the clients to put beside ours.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcorch.module.library import find_module
from hpcorch.server import Server, allocator_environment, find_server
from tests.bench.transfer_worker import serve_raw
from tests.helpers import free_port, until
from tests.redis.conftest import RunningServer, answers, nodes_conf, settled

HERE = Path(__file__).parent
PEER = "smartredis==0.6.1"
KIB, MIB = 2**10, 2**20
# Bytes, and how often each client moves them in one turn.
SIZES = {KIB: 1000, 64 * KIB: 500, MIB: 60, 16 * MIB: 8, 128 * MIB: 3}
TURNS = 3

# Highest ratio wanted to SmartRedis, by size; plain redis-py is to be beaten at every size.
PEER_TARGETS = {KIB: 0.45, 64 * KIB: 0.45, MIB: 0.2, 16 * MIB: 0.27, 128 * MIB: 0.25}
RAW_TARGETS = {"put": 1.2, "get": 1.5}
CLUSTER_TARGET = 1.1
# The client on a server with the module, and the highest ratio wanted to itself on a plain one.
WITH_MODULE = "hpcorch with module"
MODULE_TARGETS = {128 * MIB: 1.3}


@dataclass(frozen=True)
class Cell:
    """One figure: which way, how many bytes, over what."""

    kind: str
    size: int
    endpoint: str


class Worker:
    """A client in its own process, on the first CPU."""

    def __init__(self, python: str, client: str, address: str) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / "transfer_worker.py"), client, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        )
        os.sched_setaffinity(self._process.pid, own_cpus()[:1])

    def times(self, cell: Cell, rounds: int) -> list[float]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{cell.kind} {cell.size} {rounds}\n")
        self._process.stdin.flush()
        found: list[float] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def own_cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def server_cpus() -> list[int]:
    return own_cpus()[1:] or own_cpus()


@contextmanager
def server(program: Server, directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [program.path, "--save", "", "--bind", "127.0.0.1", *options],
            cwd=directory,
            stdout=log,
            stderr=log,
            env={**os.environ, **allocator_environment(program)},
        )
    os.sched_setaffinity(process.pid, server_cpus())
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def start_databases(base: Path, module: Path | None, stack: ExitStack) -> dict[str, str]:
    """Start a single server and a cluster of three; return their addresses by kind."""
    # Without a PATH only REDIS_PATH and the wheels are left.
    program = find_server({**os.environ, "PATH": ""})
    version = ".".join(map(str, program.version))
    beside = f" with {module}" if module else ""
    print(f"server: {program.path} ({program.flavour} {version}){beside}")
    base.mkdir()
    more = ("--loadmodule", str(module)) if module else ()
    path, port = base / "redis.sock", free_port()
    where = ("--port", str(port), "--unixsocket", str(path))
    process = stack.enter_context(server(program, base / "single", *where, *more))
    single = RunningServer(process, base / "single", port)
    until(lambda: answers(single), "PING")
    ports, buses = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    nodes = []
    for me in range(3):
        directory = base / f"node{me}"
        directory.mkdir()
        (directory / "nodes.conf").write_text(nodes_conf(me, ports, buses))
        options = ("--port", str(ports[me]), "--cluster-enabled", "yes")
        bus = ("--cluster-port", str(buses[me]))
        process = stack.enter_context(server(program, directory, *options, *bus, *more))
        nodes.append(RunningServer(process, directory, ports[me]))
    until(lambda: settled(nodes), "cluster_state:ok")
    return {
        "TCP": single.ssdb,
        "UDS": f"unix://{path}",
        "cluster": ",".join(node.ssdb for node in nodes),
    }


def start_raw(base: Path, stack: ExitStack) -> dict[str, str]:
    """Start the other ends of the raw sockets; return their addresses by kind."""
    tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    local = stack.enter_context(socket.socket(socket.AF_UNIX))
    path = str(base / "raw.sock")
    local.bind(path)
    local.listen()
    for listener in (tcp, local):
        process = multiprocessing.get_context("fork").Process(target=serve_raw, args=(listener,))
        process.start()
        os.sched_setaffinity(process.pid or 0, server_cpus())
        stack.callback(process.join)
        stack.callback(process.terminate)
    return {"TCP": f"127.0.0.1:{tcp.getsockname()[1]}", "UDS": f"unix://{path}"}


def peer_python() -> str | None:
    """Return the Python of an environment with SmartRedis, redis-py and hiredis, None without."""
    home = Path(sys.prefix, "bench-peers")
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return str(python)
    if sys.version_info >= (3, 12):
        print(f"SKIPPED smartredis, redis-py: {PEER} has no wheel for Python 3.12 and newer")
        return None
    try:
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        packages = [PEER, "numpy<2", "redis", "hiredis"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    except subprocess.CalledProcessError as error:
        print(f"SKIPPED smartredis, redis-py: {PEER} cannot be installed: {error}")
        return None
    (home / "complete").touch()
    return str(python)


def measure_all(
    addresses: Mapping[str, Mapping[str, str]], pythons: Mapping[str, str]
) -> Iterator[tuple[Cell, dict[str, float]]]:
    """Yield each cell with the median seconds of the clients; `addresses` by client, endpoint."""
    for endpoint in ("TCP", "UDS", "cluster"):
        present = [client for client in addresses if endpoint in addresses[client]]
        workers = {c: Worker(pythons[c], c, addresses[c][endpoint]) for c in present}
        for size, rounds in SIZES.items():
            for kind in ("put", "get"):
                cell = Cell(kind, size, endpoint)
                times: dict[str, list[float]] = {client: [] for client in present}
                for _ in range(TURNS):
                    for client in present:
                        times[client] += workers[client].times(cell, rounds)
                yield cell, {client: statistics.median(taken) for client, taken in times.items()}
        for worker in workers.values():
            worker.close()


def show(cell: Cell, found: Mapping[str, float], single: float) -> None:
    """Print medians in microseconds, ratios, and the ratios that are wanted.

    `single` is how long hpcorch takes with a single server over TCP.
    """
    ours = found["hpcorch"]
    name = f"{cell.kind} {size_name(cell.size)} {cell.endpoint}"
    parts = [f"{name:<20} {ours * 1e6:>9.0f} us"]
    for client, wanted in targets(cell).items():
        if client in found:
            parts.append(judged(client, ours, found[client], wanted))
    if {"smartredis", "raw socket"} <= set(found):
        # No client can be quicker than the bytes, however quick the peer is on this server.
        parts[1] += f", a bare socket {found['raw socket'] / found['smartredis']:.2f}"
    if cell.endpoint == "cluster":
        parts.append(judged("single server", ours, single, CLUSTER_TARGET))
    if WITH_MODULE in found:
        mine, wanted = found[WITH_MODULE], MODULE_TARGETS.get(cell.size)
        parts.append(f"| {WITH_MODULE} {mine * 1e6:.0f} us, {ratio(mine, ours, wanted)}")
    print("  ".join(parts), flush=True)


def targets(cell: Cell) -> dict[str, float | None]:
    raw = RAW_TARGETS[cell.kind] if cell.size >= 16 * MIB else None
    return {"smartredis": PEER_TARGETS[cell.size], "redis-py": 1.0, "raw socket": raw}


def judged(client: str, ours: float, theirs: float, wanted: float | None) -> str:
    return f"| {client} {theirs * 1e6:.0f} us, {ratio(ours, theirs, wanted)}"


def ratio(time: float, reference: float, wanted: float | None) -> str:
    found = time / reference
    goal = "" if wanted is None else f" wanted {wanted:g}{' MISSED' * (found > wanted)}"
    return f"ratio {found:.2f}{goal}"


def size_name(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def main(wanted: Sequence[str]) -> None:
    with ExitStack() as stack:
        load, cpus = os.getloadavg()[0], len(own_cpus())
        if load > cpus / 2:
            print(f"BUSY: the load is {load:.0f} on {cpus} CPUs, so the figures are worth little")
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-client-")))
        peers, raw = peer_python(), start_raw(base, stack)
        plain = start_databases(base / "plain", None, stack)
        addresses: dict[str, Mapping[str, str]] = {"hpcorch": plain, "raw socket": raw}
        pythons = {"hpcorch": sys.executable, "raw socket": sys.executable}
        if peers:
            addresses["redis-py"], pythons["redis-py"] = plain, peers
        module = find_module(os.environ)
        if module is None:
            print("SKIPPED smartredis, hpcorch with module: see hpcorch module build")
        else:
            extended = start_databases(base / "module", module, stack)
            addresses[WITH_MODULE], pythons[WITH_MODULE] = extended, sys.executable
            if peers:
                addresses["smartredis"], pythons["smartredis"] = extended, peers
        if wanted:
            addresses = {c: addresses[c] for c in ("hpcorch", *wanted) if c in addresses}
        single: dict[tuple[str, int], float] = {}
        for cell, found in measure_all(addresses, pythons):
            single.setdefault((cell.kind, cell.size), found["hpcorch"])
            show(cell, found, single[cell.kind, cell.size])


if __name__ == "__main__":
    main(sys.argv[1:])
