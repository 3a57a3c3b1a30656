"""Jobs of two users on one node at the same time: nobody reaches the other's database."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcorch.build import Builder, choose_scheduler
from hpcorch.client.credentials import read_credentials
from hpcorch.describe.model import Model
from hpcorch.describe.settings import RunSettings
from hpcorch.sites import load_site
from tests.helpers import DEADLINE, DEBIAN_SERVER, free_port, until

pytestmark = pytest.mark.redis

# Tells where its database is, and waits for the end.
PROGRAM = """
printf '%s\\n' "$SSDB" "$HPCORCH_CREDENTIALS" "$(id -u)"
until [[ -e $1 ]]; do sleep 0.1; done
"""


@dataclass(frozen=True)
class User:
    """An account of the system with a directory of its own, and the job that it runs."""

    uid: int
    gid: int
    home: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command as this user, who has no variable and no group of anybody else's."""
        become = ("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups")
        own = ("env", "-i", f"PATH={os.environ['PATH']}", f"TMPDIR={self.home.parent}")
        return subprocess.Popen(
            [*become, *own, *words],
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def says(self, *words: str) -> str:
        """Run a command to its end; return what it printed, whatever its exit code."""
        said, _ = self.start(*words).communicate(timeout=DEADLINE)
        return said.strip()

    def told(self) -> list[str]:
        """What the program has told by now: address, credentials and user id."""
        path = self.home / "sim/logs/sim.0.out"
        return path.read_text().splitlines() if path.exists() else []

    def ask(self, told: list[str], *words: str) -> str:
        """Ask the server that a program has told of, with the rights of this user."""
        host, _, port = told[0].rpartition(":")
        where = ("-s", port.removeprefix("//")) if host == "unix" else ("-h", host, "-p", port)
        return self.says("redis-cli", *where, "--no-auth-warning", *words)


@pytest.fixture
def users(node_dir: Path) -> list[User]:
    """Two accounts that every Linux has; the node's temporary directory is everybody's."""
    if os.geteuid() != 0:
        pytest.skip("only root can run jobs of other users")
    node_dir.chmod(0o1777)
    found = []
    for name in ("daemon", "bin"):
        account = pwd.getpwnam(name)
        home = node_dir / name
        home.mkdir()
        os.chown(home, account.pw_uid, account.pw_gid)
        found.append(User(account.pw_uid, account.pw_gid, home))
    return found


def job_script(user: User, transport: str, port: int, gate: Path) -> str:
    """Return a job script as somebody would have rendered it for this user."""
    model = Model("sim", RunSettings("/bin/bash", ["-c", PROGRAM, "_", str(gate)]))
    if transport == "uds":
        model.colocate_db_uds(custom_pinning=[])
    else:
        model.colocate_db_tcp(port=port, custom_pinning=[])
    environ = {**os.environ, "REDIS_PATH": DEBIAN_SERVER}
    site = load_site(environ)
    builder = Builder(site, choose_scheduler("local", site, environ)[0], environ)
    return builder.finish(builder.model(model, [], user.home / "sim")).script.text


@pytest.mark.parametrize("transport", ["tcp", "uds"])
def test_two_users_of_a_node_do_not_meet(users, node_dir, transport):
    gate, port = node_dir / "gate", free_port()
    for user in users:
        (user.home / "job.sh").write_text(job_script(user, transport, port, gate))
    jobs = [user.start("bash", "job.sh") for user in users]
    try:
        until(lambda: all(len(user.told()) == 3 for user in users), "the start of both programs")
        told = [user.told() for user in users]
        assert [lines[2] for lines in told] == [str(user.uid) for user in users]
        # Both have asked for the same port, or for a socket in the same directory.
        assert told[0][0] != told[1][0]
        for me, mine, theirs in ((users[0], *told), (users[1], *reversed(told))):
            credentials = Path(mine[1])
            facts = [path.stat() for path in (credentials.parent, credentials)]
            assert [stat.S_IMODE(it.st_mode) for it in facts] == [0o700, 0o600]
            assert {it.st_uid for it in facts} == {me.uid}
            assert "Permission denied" in me.says("cat", theirs[1])
            assert "Permission denied" in me.says("ls", str(Path(theirs[1]).parent))
            login = ("--user", "app", "--pass", read_credentials(credentials).password)
            assert me.ask(mine, *login, "SET", "key", str(me.uid)) == "OK"
            locked = ("Permission denied",) * 2 if transport == "uds" else ("NOAUTH", "WRONGPASS")
            assert locked[0] in me.ask(theirs, "GET", "key")
            assert locked[1] in me.ask(theirs, *login, "GET", "key")
    finally:
        gate.touch()
        ends = [job.communicate(timeout=DEADLINE) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], ends
    assert list(node_dir.glob("hpcorch.*")) == []
