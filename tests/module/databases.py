"""Databases with the module and model workers beside them, and programs of SmartRedis users."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.helpers import free_port, until
from tests.module.conftest import module_server
from tests.redis.conftest import nodes_conf

PROGRAMS = Path(__file__).parent


@contextmanager
def single(kind: str) -> Iterator[tuple[str, str]]:
    """A server; yields its addresses by TCP and by Unix socket."""
    with module_server(kind) as server:
        port = free_port()
        server.start("--port", str(port), "--bind", "127.0.0.1")
        yield f"127.0.0.1:{port}", f"unix://{server.socket}"


@contextmanager
def cluster(kind: str) -> Iterator[str]:
    """Three shards; yields their addresses."""
    first = free_port(3)
    ports = [first, first + 1, first + 2]
    text = [nodes_conf(me, ports, [port + 10000 for port in ports]) for me in range(3)]
    with ExitStack() as stack:
        shards: list[Any] = []
        for me, port in enumerate(ports):
            server = stack.enter_context(module_server(kind))
            (server.directory / "nodes.conf").write_text(text[me])
            where = ("--port", str(port), "--bind", "127.0.0.1")
            shards.append(server.start(*where, "--cluster-enabled", "yes"))
        until(lambda: all(is_whole(shard) for shard in shards), "cluster_state:ok")
        yield ",".join(f"127.0.0.1:{port}" for port in ports)


def is_whole(shard: Any) -> bool:
    return bool(shard.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


@contextmanager
def workers(address: str) -> Iterator[None]:
    """A model worker beside each shard."""
    # Short, because the path of a Unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="hpw", dir="/tmp"))
    shards = address.split(",")
    kind = "Clustered" if len(shards) > 1 else "Standalone"
    environment = {**os.environ, "SSDB": address, "SR_DB_TYPE": kind}
    started = []
    try:
        for index, shard in enumerate(shards):
            base = folder / f"w{index}"
            words = ["--name", f"w{index}", "--shard", shard, "--threads", "1"]
            words += ["--socket", f"{base}.sock", "--ready", f"{base}.ready"]
            with Path(f"{base}.log").open("ab") as log:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "hpcorch.inference", "serve", *words],
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            started.append((worker, Path(f"{base}.ready")))
        until(lambda: all(ready.exists() for _, ready in started), "the workers", seconds=120)
        yield
    finally:
        for worker, _ in started:
            worker.kill()
            worker.wait()
        shutil.rmtree(folder)


def run_program(peer: str, name: str, address: str, *arguments: str) -> None:
    """Run a program, which must find every result as it is wanted."""
    kind = "Clustered" if "," in address else "Standalone"
    patient = {"SR_SOCKET_TIMEOUT": "30000", "SR_LOG_LEVEL": "QUIET"}
    done = subprocess.run(
        [peer, str(PROGRAMS / name), *arguments],
        env={**os.environ, "SSDB": address, "SR_DB_TYPE": kind, **patient},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The client prints a debugging line of its own, before ours.
    differences = json.loads(done.stdout.splitlines()[-1])
    assert not differences, differences
