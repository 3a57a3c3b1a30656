"""Real workers beside real servers. Their files lie in short directories, as Unix sockets need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcorch.client import Client
from tests.helpers import until
from tests.redis.conftest import (
    RunningServer,
    clean_environment,
    cluster,
    own_server,
    password_server,
    tcp_server,
    tls_server,
    uds_server,
)

__all__ = [
    "clean_environment",
    "cluster",
    "own_server",
    "password_server",
    "tcp_server",
    "tls_server",
    "uds_server",
]

# Old ONNX Runtimes and LiteRT take their time on a busy machine.
RUN_MS = "60000"


class Lab:
    """Workers of one database; `environment` is what programs of it get."""

    def __init__(self, nodes: list[RunningServer]) -> None:
        self.nodes = nodes
        self.directory = Path(tempfile.mkdtemp(prefix="hpai", dir="/tmp"))
        self.environment = {
            "SSDB": ",".join(node.ssdb for node in nodes),
            "SR_DB_TYPE": "Clustered" if len(nodes) > 1 else "Standalone",
            "SR_MODEL_TIMEOUT": RUN_MS,
        }
        if nodes[0].credentials is not None:
            self.environment["HPCORCH_CREDENTIALS"] = str(nodes[0].credentials)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, name: str = "w0", *options: str, shard: int = 0) -> subprocess.Popen[bytes]:
        """Start a worker, without waiting for it."""
        ready = self.directory / f"{name}.ready"
        ready.unlink(missing_ok=True)
        words = [sys.executable, "-m", "hpcorch.inference", "serve", "--name", name]
        words += ["--shard", self.nodes[shard].ssdb, "--ready", str(ready), "--threads", "1"]
        if "--socket" not in options:
            words += ["--socket", str(self.directory / f"{name}.sock")]
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*words, *options],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )
        self.workers[name] = process
        return process

    def start(self, name: str = "w0", *options: str, shard: int = 0) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it is ready."""
        process = self.begin(name, *options, shard=shard)
        until((self.directory / f"{name}.ready").exists, f"worker {name} being ready")
        return process

    def log(self, name: str = "w0") -> str:
        return (self.directory / f"{name}.log").read_text()

    def close(self) -> None:
        for process in self.workers.values():
            process.kill()
            process.wait()
        shutil.rmtree(self.directory)


@pytest.fixture(scope="session")
def uds_lab(uds_server: RunningServer) -> Iterator[Lab]:
    """One worker beside a server that is reached by a Unix socket."""
    lab = Lab([uds_server])
    lab.start()
    yield lab
    lab.close()


@pytest.fixture
def own_lab(own_server: RunningServer) -> Iterator[Lab]:
    """A server without workers yet, all of which the test may ruin."""
    lab = Lab([own_server])
    yield lab
    lab.close()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Client]]:
    """Make clients of a lab, closed when the test ends."""
    made: list[Client] = []

    def connect_to(lab: Lab, **environment: str) -> Client:
        for name, value in {**lab.environment, **environment}.items():
            monkeypatch.setenv(name, value)
        made.append(Client())
        return made[-1]

    yield connect_to
    for client in made:
        client.close()


@pytest.fixture
def client(uds_lab: Lab, connect: Any) -> Client:
    """A client of `uds_lab`."""
    found: Client = connect(uds_lab)
    return found
