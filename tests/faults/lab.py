"""What tests of faults do all the time: run drivers, ask about an experiment, look at its files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import pytest

from tests.helpers import kill, server_program, until
from tests.testbed.cluster import Cluster

# Every driver begins with it. Slurm is asked more often than a real one may be, and records cannot
# be late: all nodes have the same file system.
QUICK = """
import os, sys
from hpcorch import Experiment
from hpcorch.schedulers.slurm import SlurmScheduler
os.environ["HPCORCH_POLL_SECONDS"] = "1"
SlurmScheduler.record_grace = 0.0
"""
NEW = QUICK + 'exp = Experiment("lab", exp_path=sys.argv[1], launcher="slurm")\n'
ATTACHED = QUICK + "exp = Experiment.attach(sys.argv[1])\n"
CLI = QUICK + "from hpcorch.cli.main import main\nsys.exit(main(sys.argv[2:]))\n"
# What tests of databases start: three shards.
DATABASE = NEW + "database = exp.create_database(db_nodes=3)\n"
START = DATABASE + "exp.start(database)\n"


@dataclass(frozen=True)
class Ended:
    """How a driver has ended, and all that it said."""

    code: int
    said: str


class Driver:
    """A process on the login node; its output is in a file."""

    def __init__(self, process: subprocess.Popen[Any], log: Path) -> None:
        self.process = process
        self._log = log

    def said(self) -> str:
        return self._log.read_text()

    def says(self, words: str, seconds: float = 60) -> None:
        """Wait until it has said `words`."""

        def heard() -> bool:
            ended = self.process.poll() is not None
            if words in self.said():
                return True
            if ended:
                pytest.fail(f"the driver ended before it said {words!r}:\n{self.said()}")
            return False

        until(heard, f"the words {words!r}", seconds)

    def end(self, seconds: float = 90) -> Ended:
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the driver did not end within {seconds:g} s:\n{self.said()}")
        return Ended(code, self.said())

    def kill(self) -> None:
        kill(self.process.pid)
        self.process.wait()


class Lab:
    """The experiment "lab" in a directory that all nodes see."""

    def __init__(self, cluster: Cluster, shared: Path) -> None:
        self.cluster = cluster
        self.shared = shared
        self.path = shared / "lab"
        self._drivers: list[Driver] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for driver in self._drivers:
            driver.kill()

    # Drivers

    def begin(
        self,
        code: str,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Driver:
        """Start a driver; its first argument is the experiment's directory."""
        log = self.shared / f"driver{len(self._drivers)}.log"
        with log.open("wb") as stream:
            process = self.cluster.popen(
                [sys.executable, "-u", "-c", code, self.path, *args],
                env={"XDG_STATE_HOME": str(self.shared / "state"), **(env or {})},
                cwd=self.shared,
                user=user,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        self._drivers.append(Driver(process, log))
        return self._drivers[-1]

    def drive(
        self,
        code: str,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        seconds: float = 90,
        succeeds: bool = True,
    ) -> Ended:
        """Run a driver to its end."""
        ended = self.begin(code, *args, env=env, user=user).end(seconds)
        if succeeds:
            assert ended.code == 0, ended.said
        return ended

    def start(self) -> None:
        """Start the database of three shards and have the driver end."""
        self.drive(START)

    def stop(self) -> str:
        """Stop everything as another process would; return what was said."""
        return self.drive(CLI, "stop", self.path).said

    # What others see

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return what `hpcorch status` says of each entity now."""
        command: list[str | Path] = [
            sys.executable,
            "-c",
            CLI,
            self.path,
            "status",
            "--json",
            self.path,
        ]
        done = self.cluster.run(command, cwd=self.shared)
        return {run["entity"]: run for run in json.loads(done.stdout)["runs"]}

    def states(self, entity: str = "orchestrator") -> list[str]:
        """Return the state of each of its tasks."""
        return [task["state"] for task in self.runs()[entity]["tasks"]]

    def journal(self) -> list[dict[str, Any]]:
        text = (self.path / ".hpcorch" / "journal.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def job(self, entity: str = "orchestrator") -> str:
        """Return the id of the last job that was submitted for the entity."""
        tokens = [event["token"] for event in self.journal() if event.get("entity") == entity]
        found = [
            event["job"]
            for event in self.journal()
            if event["event"] == "submitted" and event["token"] in tokens
        ]
        assert found, self.journal()
        return cast(str, found[-1])

    def jobs(self) -> list[str]:
        """Return the jobs of this experiment that Slurm knows, ended ones too."""
        tokens = {event["token"] for event in self.journal() if event["event"] == "intent"}
        lines = self.cluster.queue("-t", "all", "-o", "%F|%k")
        pairs = (line.split("|", 1) for line in lines)
        return sorted({job for job, note in pairs if note.removeprefix("hpcorch:") in tokens})

    def record(self, index: int, entity: str = "orchestrator") -> dict[str, Any]:
        """Return the exit record of one task, once it is there."""
        path = self.path / entity / "exit" / str(index)
        until(path.exists, f"the record {path}")
        return cast(dict[str, Any], json.loads(path.read_text()))

    def published(self) -> bool:
        folder = self.path / "orchestrator"
        return (folder / "address.env").exists() and (folder / "address.json").exists()

    def addresses(self) -> list[str]:
        found = json.loads((self.path / "orchestrator" / "address.json").read_text())
        return cast(list[str], found["addresses"])

    def answers(self) -> bool:
        """Whether others see a whole database."""
        found = self.runs()["orchestrator"]["database"]
        return bool(found and found["answers"])

    def generation(self, index: int) -> int | None:
        """Return the number of the shard's life, None while it has not said where it listens."""
        try:
            text = (self.path / "orchestrator" / "shards" / f"{index}.json").read_text()
        except FileNotFoundError:
            return None
        return cast(int, json.loads(text)["generation"])

    # What happens on nodes

    def second_life(self, index: int) -> None:
        """Wait until a shard that was put back into the queue has begun again.

        Slurm waits until the credentials of its first life have expired.
        """
        until(lambda: self.generation(index) == 1, f"the second life of shard {index}", 120)

    def queue(self) -> list[str]:
        return self.cluster.queue("-o", "%j")

    def queue_of(self, name: str) -> list[str]:
        """Return the ids of the jobs of that name in the queue."""
        return self.cluster.queue("-o", "%i", "-n", name)

    def node(self, index: int) -> str:
        """Return the node that a shard runs on."""
        path = self.path / "orchestrator" / "shards" / f"{index}.json"
        return cast(str, json.loads(path.read_text())["host"])

    def servers(self, node: str) -> list[int]:
        """Return the server processes on a node."""
        return [pid for pid, words in self.cluster.node_processes(node) if _SERVER.match(words)]

    def kill_server(self, node: str) -> None:
        for pid in until(lambda: self.servers(node), f"a server on {node}"):
            kill(pid)

    def occupy(self, count: int) -> None:
        """Have somebody else's job take `count` whole nodes."""
        words = ["sbatch", "--parsable", "--exclusive", f"--nodes={count}", "--output=/dev/null"]
        job = self.cluster.run([*words, "--job-name=other", "--wrap=sleep 600"]).stdout.strip()
        until(lambda: self.cluster.job_states(job) == ["RUNNING"], "the start of the other job")

    def drain(self) -> None:
        """Keep all jobs pending until `resume`."""
        self._nodes("state=drain", "reason=test")

    def resume(self) -> None:
        self._nodes("state=resume")

    def _nodes(self, *change: str) -> None:
        nodes = ",".join(self.cluster.nodes)
        self.cluster.run(["scontrol", "update", f"nodename={nodes}", *change])

    def program(self, name: str, text: str) -> Path:
        """Write a bash script that others on the cluster can run; return its path."""
        path = self.shared / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
        return path

    def recorded(self, *names: str) -> Callable[[], list[str]]:
        """Have calls of these programs written down (first_in_path); return what reads them."""
        record = self.shared / "asked"
        record.touch()
        record.chmod(0o666)
        for name in names:
            real = self.cluster.run(["sh", "-c", f"command -v {name}"]).stdout.strip()
            self.program(name, f'echo "{name} $*" >>{record}\nexec {real} "$@"')
        return lambda: record.read_text().splitlines()

    def first_in_path(self) -> dict[str, str]:
        """Return the environment of a driver that finds our programs before the real ones."""
        return {"PATH": f"{self.shared / 'bin'}:{os.environ['PATH']}"}

    def stuck_shard(self, index: int) -> dict[str, str]:
        """Return the environment of a driver whose database has a shard that never answers."""
        real = server_program("debian")
        text = f"""
if [[ $1 == - && ${{HPCORCH_INDEX-}} == {index} ]]; then exec sleep 77777; fi
exec {real} "$@"
"""
        return {"HPCORCH_SERVER": str(self.program("redis-server", text))}

    def late_shard(self, index: int, go: Path) -> dict[str, str]:
        """Return the environment of a driver whose database has a shard that waits for a file."""
        real = server_program("debian")
        text = f"""
if [[ $1 != -* && ${{HPCORCH_INDEX-}} == {index} ]]; then
  until [[ -e {go} ]]; do sleep 0.05; done
fi
exec {real} "$@"
"""
        return {"HPCORCH_SERVER": str(self.program("redis-server", text))}

    def started_on(self, index: int) -> str:
        """Return the node that a shard has begun on, empty until it has said so."""
        path = self.path / "orchestrator" / "shards" / f"{index}.json"
        return self.node(index) if path.exists() else ""

    def stuck_server(self) -> tuple[str, int]:
        """Return the node and process of the server that never answers, once it is there."""

        def found() -> list[tuple[str, int]]:
            return [
                (node, pid)
                for node in self.cluster.nodes
                for pid, words in self.cluster.node_processes(node)
                if words == "sleep 77777"
            ]

        return until(found, "the server that never answers")[0]

    def reach(
        self, wanted: Sequence[str], entity: str = "orchestrator", seconds: float = 30
    ) -> None:
        """Wait until other processes see the entity's tasks in these states."""
        found: list[str] = []

        def reached() -> bool:
            found[:] = self.states(entity)
            return found == list(wanted)

        try:
            until(reached, f"{entity} being {list(wanted)}", seconds)
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}: it is {found}")

    def nothing_runs(self) -> None:
        """Wait until neither Slurm nor any node has anything of ours."""

        def left() -> list[str]:
            return [job for job in self.queue() if job != "other"]

        until(lambda: not left(), "an empty queue")
        if not self.queue():
            nodes = self.cluster.nodes
            until(
                lambda: not any(self.cluster.node_processes(node) for node in nodes),
                "the end of all processes on the nodes",
            )


_SERVER = re.compile(r"\S*(redis|valkey)-server\b")
