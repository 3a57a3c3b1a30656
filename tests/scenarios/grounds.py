"""Where the scenarios take place: this machine, a live Slurm, the pretended PBS, all alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tests.cluster.scenarios import Lab
from tests.fakebin.pbs import FakePbs
from tests.helpers import DEBIAN_SERVER, kill, processes, until
from tests.testbed.cluster import Cluster


class Here:
    """This machine with the methods of a Cluster that run commands on its login node."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def popen(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        return subprocess.Popen(
            list(map(str, argv)), env={**os.environ, **self._env, **(env or {})}, **options
        )

    def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        check: bool = True,
        stdin: str | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, argv)),
            env={**os.environ, **self._env, **(env or {})},
            timeout=timeout,
            check=check,
            input=stdin or "",
            capture_output=True,
            text=True,
            **options,
        )


class Ground(ABC):
    """One batch system, or none; the experiment is in `path`, and is called `lab`."""

    launcher: str
    # Of a job array of three tasks.
    label: str

    def __init__(self, host: Here | Cluster, path: Path) -> None:
        self.path = path
        # All that a Lab wants of a cluster here is to run commands.
        self.lab = Lab(cast(Cluster, host), path)
        self.host = host

    @abstractmethod
    def submit(self, script: str) -> None:
        """Submit a script by hand."""

    @abstractmethod
    def queue(self) -> list[str]:
        """What the batch system has of ours."""

    @abstractmethod
    def fill(self, nodes: int) -> Callable[[], object]:
        """Have somebody else take whole nodes; what is returned gives them back."""

    @abstractmethod
    def kill_server(self, index: int) -> None:
        """Kill the server of one shard."""

    def server_log(self, index: int) -> Path:
        return self.lab / f"orchestrator/logs/orchestrator.{index}.log"

    def runs(self) -> dict[str, dict[str, Any]]:
        """What another process sees of each entity now."""
        found = json.loads(self.lab.cli("status", "lab", "--json"))["runs"]
        return {run["entity"]: run for run in found}

    def states(self, entity: str = "orchestrator") -> list[str]:
        return [task["state"] for task in self.runs()[entity]["tasks"]]

    def stop(self) -> dict[str, tuple[str, str]]:
        """Stop everything twice; return each entity's state and exit code as both summaries say."""
        for _ in range(2):
            self.lab.cli("stop", "lab")
        until(lambda: not self.queue(), "an empty queue")
        return {name: (run["state"], str(run["code"])) for name, run in self.runs().items()}


class Local(Ground):
    """No batch system at all."""

    launcher = "local"
    label = r"\d+_\[0-2\]"

    def __init__(self, path: Path) -> None:
        super().__init__(Here({"REDIS_PATH": DEBIAN_SERVER, "HPCORCH_SCHEDULER": "local"}), path)

    def submit(self, script: str) -> None:
        with (self.path / "by-hand.log").open("w") as log:
            self._by_hand = self.host.popen(
                ["bash", script], cwd=self.path, stdout=log, stderr=log, start_new_session=True
            )

    def queue(self) -> list[str]:
        return list(processes(self.path / "lab").values())

    def fill(self, nodes: int) -> Callable[[], object]:
        raise NotImplementedError("nothing queues here")

    def kill_server(self, index: int) -> None:
        _kill_writer_of(self.server_log(index))


class Slurm(Ground):
    """A live cluster of five nodes."""

    launcher = "slurm"
    label = r"\d+_\[0-2\]"

    def __init__(self, cluster: Cluster, path: Path) -> None:
        super().__init__(cluster, path)
        self.cluster = cluster
        self._fillers: list[str] = []

    def submit(self, script: str) -> None:
        self.cluster.run([shutil.which("sbatch") or "sbatch", script], cwd=self.path)

    def queue(self) -> list[str]:
        return [job for job in self.lab.jobs() if job not in self._fillers]

    def fill(self, nodes: int) -> Callable[[], object]:
        job = self.lab.fill(f"-N{nodes}")
        self._fillers.append(job)
        return lambda: self.cluster.run(["scancel", job])

    def kill_server(self, index: int) -> None:
        mark = self.lab / f"orchestrator/shards/{index}.json"
        node = json.loads(mark.read_text())["host"]
        for pid, words in self.cluster.node_processes(node):
            if re.match(r"\S*(redis|valkey)-server\b", words):
                kill(pid)


class Pbs(Ground):
    """The pretended PBS: five nodes, all of them this machine."""

    launcher = "pbs"
    label = r"\d+\[0-2\]\.head"

    def __init__(self, pbs: FakePbs, path: Path) -> None:
        super().__init__(
            Here({**pbs.env, "REDIS_PATH": DEBIAN_SERVER, "HPCORCH_INTERFACE": "lo"}), path
        )
        self.pbs = pbs
        self._fillers: list[str] = []

    def submit(self, script: str) -> None:
        self.host.run(["qsub", script], cwd=self.path)

    def queue(self) -> list[str]:
        return [job for job in self.pbs.queued() if job not in self._fillers]

    def fill(self, nodes: int) -> Callable[[], object]:
        (self.pbs.root / "fill.sh").write_text("#!/bin/bash\nexec sleep 300\n")
        wanted = ("-l", f"select={nodes}:ncpus=1", "-l", "place=scatter:excl")
        job = self.pbs.run("qsub", *wanted, "-j", "oe", "-o", "/dev/null", "fill.sh").stdout.strip()
        self._fillers.append(job)
        until(lambda: self.pbs.states(job) == "R", "the start of what fills nodes")
        return lambda: self.pbs.run("qdel", job)

    def kill_server(self, index: int) -> None:
        _kill_writer_of(self.server_log(index))


def _kill_writer_of(log: Path) -> None:
    for pid in until(lambda: processes(log), f"the server that writes {log}"):
        kill(pid)
