"""Real servers for tests: one TCP, one Unix socket, one with a password, one with TLS, a cluster.

Ports are free ones on 127.0.0.1; every server has its own directory and is stopped at the end.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.helpers import DEADLINE, free_port, until

SLOT_RANGES = ("0-5460", "5461-10922", "10923-16383")


@dataclass
class RunningServer:
    """A server process; `port` 0 means that it listens on the Unix socket `path` only."""

    process: subprocess.Popen[bytes]
    directory: Path
    port: int = 0
    path: str = ""
    login: dict[str, Any] = field(default_factory=dict)
    credentials: Path | None = None

    @property
    def ssdb(self) -> str:
        return f"unix://{self.path}" if self.path else f"127.0.0.1:{self.port}"

    def admin(self) -> Any:
        where = {"unix_socket_path": self.path} if self.path else {"port": self.port}
        return redis.Redis(**where, **self.login, socket_timeout=DEADLINE)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def spawn(directory: Path, *options: str) -> subprocess.Popen[bytes]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("redis-server is missing: install the package redis-server")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "server.log").open("ab") as log:
        return subprocess.Popen(
            [program, "--save", "", "--dir", str(directory), "--bind", "127.0.0.1", *options],
            stdout=log,
            stderr=log,
            cwd=directory,
        )


def answers(server: RunningServer) -> bool:
    try:
        return bool(server.admin().ping())
    except redis.RedisError:
        return False


@contextmanager
def running(
    directory: Path, *options: str, port_option: str = "--port", **facts: Any
) -> Iterator[RunningServer]:
    """Run a server until the block ends; takes another port when one is lost to somebody else."""
    for _ in range(5):
        facts_now = dict(facts) if facts.get("path") else {**facts, "port": free_port()}
        port = facts_now.get("port", 0)
        process = spawn(directory, port_option, str(port), *options)
        server = RunningServer(process, directory, **facts_now)
        try:
            until(lambda s=server: s.process.poll() is not None or answers(s), "PING")  # type: ignore[misc]
            if process.poll() is None:
                yield server
                return
        finally:
            server.stop()
    pytest.fail(f"the server does not start, see {directory}/server.log")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in ("SSDB", "SR_DB_TYPE", "HPCORCH_CREDENTIALS", "SR_LOG_FILE", "SR_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # Less than for users, and enough on a busy machine; a test that must see a failure says less.
    monkeypatch.setenv("SR_CONN_TIMEOUT", "30")
    monkeypatch.setenv("SR_CMD_TIMEOUT", "30")


@pytest.fixture(scope="session")
def tcp_server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("tcp")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may ruin."""
    with running(tmp_path / "own") as server:
        yield server


@pytest.fixture(scope="session")
def uds_server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uds")
    path = str(directory / "redis.sock")
    with running(directory, "--unixsocket", path, path=path) as server:
        yield server


@pytest.fixture(scope="session")
def password_server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("password")
    acl = directory / "users.acl"
    acl.write_text("user default off\nuser app on >s3=cr#t ~* &* +@all -@admin -@dangerous\n")
    credentials = private(directory / "credentials", "user=app\npassword=s3=cr#t\n")
    login = {"username": "app", "password": "s3=cr#t"}
    with running(directory, "--aclfile", str(acl), login=login, credentials=credentials) as server:
        yield server


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    make_certificates(directory)
    ca, cert, key = (str(directory / name) for name in ("ca.crt", "node.crt", "node.key"))
    credentials = private(
        directory / "credentials", "tls_ca=ca.crt\ntls_cert=node.crt\ntls_key=node.key\n"
    )
    login = {"ssl": True, "ssl_ca_certs": ca, "ssl_certfile": cert, "ssl_keyfile": key}
    login["ssl_check_hostname"] = False
    options = ("--port", "0", "--tls-ca-cert-file", ca, "--tls-cert-file", cert)
    with running(
        directory,
        *options,
        "--tls-key-file",
        key,
        port_option="--tls-port",
        login=login,
        credentials=credentials,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Three masters with all slots, by nodes.conf files written beforehand."""
    for _ in range(5):
        with ExitStack() as stack:
            nodes = start_nodes(tmp_path_factory.mktemp("cluster"), stack)
            until(lambda n=nodes: settled(n), "cluster_state:ok")  # type: ignore[misc]
            if all(node.process.poll() is None for node in nodes):
                yield nodes
                return
    pytest.fail("no cluster starts: another program takes its ports every time")


def start_nodes(base: Path, stack: ExitStack) -> list[RunningServer]:
    ports, buses = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    nodes = []
    for me, (port, bus) in enumerate(zip(ports, buses, strict=True)):
        directory = base / str(me)
        directory.mkdir()
        (directory / "nodes.conf").write_text(nodes_conf(me, ports, buses))
        options = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
        process = spawn(directory, "--port", str(port), *options)
        nodes.append(RunningServer(process, directory, port))
        stack.callback(nodes[-1].stop)
    return nodes


def settled(nodes: list[RunningServer]) -> bool:
    """True when the cluster is complete, or when it never will be since a node has ended."""
    if any(node.process.poll() is not None for node in nodes):
        return True
    return all(answers(node) and is_whole(node) for node in nodes)


def nodes_conf(me: int, ports: list[int], buses: list[int]) -> str:
    lines = [
        f"{str(i + 1) * 40} 127.0.0.1:{ports[i]}@{buses[i]} {'myself,' * (i == me)}master - 0 0 "
        f"{i + 1} connected {SLOT_RANGES[i]}\n"
        for i in range(3)
    ]
    return "".join(lines) + "vars currentEpoch 3 lastVoteEpoch 0\n"


def is_whole(node: RunningServer) -> bool:
    facts = node.admin().execute_command("CLUSTER INFO")
    text = facts.decode() if isinstance(facts, bytes) else str(facts)
    return "cluster_state:ok" in text or "'cluster_state': 'ok'" in text


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def make_certificates(directory: Path) -> None:
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj")
    sign = ("-CA", "ca.crt", "-CAkey", "ca.key")
    for arguments in (
        (*new, "/CN=hpcorch test CA", "-keyout", "ca.key", "-out", "ca.crt"),
        (*new, "/CN=node", "-keyout", "node.key", "-out", "node.crt", *sign),
    ):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)
