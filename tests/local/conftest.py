"""Jobs of these tests keep their node-local files in a short directory of the test's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import server_program


@pytest.fixture(autouse=True)
def node_dir(own_surroundings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """TMPDIR; short, because the path of a Unix socket has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="hp", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def impatient_clients(own_surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that must see a failure need not wait as long as a user would."""
    monkeypatch.setenv("SR_CONN_TIMEOUT", "10")
    monkeypatch.setenv("SR_CMD_TIMEOUT", "10")


@pytest.fixture(autouse=True)
def debian_server(own_surroundings: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Redis 7.0 of Debian, which has TLS; tests of other servers set REDIS_PATH again."""
    program = server_program("debian")
    monkeypatch.setenv("REDIS_PATH", program)
    return program
