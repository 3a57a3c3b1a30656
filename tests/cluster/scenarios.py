"""What tests of databases and programs on a Slurm cluster share: drivers and looks from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.client.credentials import read_credentials
from tests.helpers import tool, until
from tests.testbed.cluster import Cluster

# Every driver begins with this; `tell` hands values over to the test.
_PREAMBLE = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from hpcorch import Client, ConfigOptions, Experiment
from hpcorch.errors import HpcorchError

def tell(**values):
    print("told " + json.dumps(values), flush=True)

def python_model(name, code, *args, **options):
    settings = exp.create_run_settings(sys.executable, ["-c", code, *args], **options)
    return exp.create_model(name, settings)

def output(model, ending="out"):
    return Path(exp.exp_path, model.name, f"{model.name}.{ending}").read_text()
"""
NEW = _PREAMBLE + 'exp = Experiment("lab", exp_path="lab")\n'
ATTACHED = _PREAMBLE + 'exp = Experiment.attach("lab")\n'

# A program that reads what a driver has put, and says where it was: its argument is the suffix.
READER = """
import socket, sys
from hpcorch import Client, ConfigOptions
client = Client(ConfigOptions.create_from_environment(sys.argv[1]))
assert client.poll_tensor("x", 50, 2400)
print(socket.gethostname(), client.get_tensor("x").sum())
"""
# A program that says that it runs, and ends when the file is there.
WAITER = """
import sys, time
from pathlib import Path
print("waiting", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Told:
    """What a driver has handed over, and all that it has printed."""

    values: Mapping[str, Any]
    text: str

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True)
class Lab:
    """A directory that all nodes of a cluster see; drivers run there, their experiment is `lab`."""

    cluster: Cluster
    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / "lab" / name

    def driver(
        self,
        code: str,
        *args: object,
        start: str = NEW,
        inside: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> Told:
        """Run a driver on the login node; it must succeed. `inside` is a command before it."""
        argv = [*inside, *_python(start, code, args)]
        done = self.cluster.run(argv, cwd=self.path, env=env, timeout=timeout, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return told(done.stdout + done.stderr)

    @contextmanager
    def running_driver(self, code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
        """A driver in the background, which is killed in the end; its output is read by nobody."""
        with (self.path / "driver.log").open("w") as log:
            process = self.cluster.popen(
                _python(NEW, code, args), cwd=self.path, stdout=log, stderr=log, text=True
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait(30)

    def database(self, env: Mapping[str, str] | None = None, **options: object) -> list[str]:
        """Start a database by a driver that ends then; return its addresses."""
        code = """
        database = exp.create_database(**json.loads(sys.argv[1]))
        exp.start(database)
        tell(addresses=database.get_address())
        """
        addresses: list[str] = self.driver(code, json.dumps(options), env=env)["addresses"]
        return addresses

    def cli(self, *args: object, check: bool = True, stdin: str | None = None) -> str:
        """Run `hpcorch` on the login node and return what it has printed."""
        words = [tool("hpcorch"), *map(str, args)]
        done = self.cluster.run(words, cwd=self.path, check=check, stdin=stdin)
        return done.stdout if check else done.stdout + done.stderr

    def redis(
        self, address: str, *words: str, credentials: Path | None = None, check: bool = True
    ) -> str:
        """Ask one server by redis-cli, as the user whose credentials file is given."""
        host, _, port = address.rpartition(":")
        command, env = ["redis-cli", "-h", host, "-p", port, "--no-auth-warning"], {}
        if credentials is not None:
            secrets = read_credentials(credentials)
            command += ["--user", secrets.user]
            env = {"REDISCLI_AUTH": secrets.password}
        return self.cluster.run([*command, *words], env=env, check=check).stdout.strip()

    def fill(self, *options: str) -> str:
        """Submit a job that keeps whole nodes until it is cancelled; return its id when it runs."""
        words = ["--parsable", "--output=/dev/null", "--exclusive", *options]
        job = self.cluster.run(["sbatch", *words, "--wrap=sleep 300"]).stdout.strip()
        until(lambda: self.cluster.job_states(job) == ["RUNNING"], "the start of what fills nodes")
        return job

    def jobs(self, *options: str) -> list[str]:
        """The ids of the jobs in the queue, one for each element."""
        return self.cluster.queue("-r", "-o", "%i", *options)

    def await_database(self, name: str = "orchestrator") -> None:
        until((self / name / "address.env").exists, f"the address of {name}")

    def has_printed(self, name: str, text: str) -> bool:
        """Whether that program's output holds the text by now."""
        path = self / name / f"{name}.out"
        return path.exists() and text in path.read_text()

    def nothing_runs(self, nodes: Sequence[str] | None = None) -> bool:
        """Whether no process is left on any of the nodes."""
        return not any(map(self.cluster.node_processes, nodes or self.cluster.nodes))


def _python(start: str, code: str, args: Sequence[object]) -> list[str]:
    lines = code.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    text = "\n".join(line[indent:] for line in lines)
    return [sys.executable, "-c", start + text, *map(str, args)]


def told(text: str) -> Told:
    """Collect what a driver told, from all that it has printed."""
    values: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("told "):
            values |= json.loads(line.removeprefix("told "))
    return Told(values, text)


def table(text: str) -> dict[str, dict[str, str]]:
    """The rows of a summary, by name and column."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|--")
    ]
    return {cells[1]: dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]}
