"""The services of the login node."""

from __future__ import annotations

import socket
import subprocess

from tests.testbed.children import Children
from tests.testbed.config import CLUSTER_NAME, CONTROLLER_PORT, DATABASE_PORT, DBD_PORT
from tests.testbed.errors import ClusterError
from tests.testbed.layout import LOGIN, Layout, address
from tests.testbed.packages import program

_DATABASE_SETUP = """\
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';
"""


class Daemons:
    """Starts each service and waits until it answers."""

    def __init__(self, layout: Layout, children: Children, env: dict[str, str]) -> None:
        self._layout = layout
        self._children = children
        self._env = env

    def start_munged(self) -> None:
        folder = self._layout / "munge"
        self._children.start(
            "munged",
            program("munged"),
            "--foreground",
            "--force",
            f"--key-file={folder / 'key'}",
            f"--socket={self._layout.munge_socket}",
            f"--pid-file={folder / 'pid'}",
            f"--seed-file={folder / 'seed'}",
            f"--log-file={folder / 'log'}",
        )
        self._children.wait_ready("munged", self._layout.munge_socket.exists)

    def start_mariadbd(self) -> None:
        data, setup = self._layout / "mariadb", self._layout / "mariadb.sql"
        setup.write_text(_DATABASE_SETUP)
        self.command(
            "mariadb-install-db",
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--skip-test-db",
        )
        self._children.start(
            "mariadbd",
            program("mariadbd"),
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            f"--socket={self._layout / 'mariadb.sock'}",
            f"--pid-file={self._layout / 'pid/mariadbd'}",
            f"--init-file={setup}",
            "--bind-address=127.0.0.1",
            f"--port={DATABASE_PORT}",
            "--skip-name-resolve",
            "--skip-log-bin",
            # Small and fast; what it stores is thrown away.
            "--performance-schema=off",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-lock-wait-timeout=900",
        )
        self._wait_listening("mariadbd", "127.0.0.1", DATABASE_PORT)

    def start_slurmdbd(self) -> None:
        self._children.start("slurmdbd", program("slurmdbd"), "-D")
        self._wait_listening("slurmdbd", address(LOGIN), DBD_PORT)

    def start_slurmctld(self) -> None:
        self._children.start("slurmctld", program("slurmctld"), "-D")
        self._wait_listening("slurmctld", address(LOGIN), CONTROLLER_PORT)

    def registered(self) -> bool:
        """Whether the controller is known to slurmdbd: it makes itself known by and by."""
        return CLUSTER_NAME in self.command("sacctmgr", "-nP", "show", "cluster", check=False)

    def node_states(self) -> dict[str, str]:
        answer = self.command("sinfo", "-h", "-N", "-p", "debug", "-o", "%N %T", check=False)
        return dict(line.split()[:2] for line in answer.splitlines() if len(line.split()) == 2)

    def command(self, name: str, *arguments: str, check: bool = True) -> str:
        result = subprocess.run(
            [program(name), *arguments],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode:
            raise ClusterError(f"{name} failed: {(result.stdout + result.stderr).strip()}")
        return result.stdout

    def _wait_listening(self, name: str, host: str, port: int) -> None:
        self._children.wait_ready(name, lambda: _listening(host, port))


def _listening(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
