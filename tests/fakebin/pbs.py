"""The pretended PBS as tests see it: `with FakePbs() as pbs: ...`, then run things with pbs.env."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.fakebin.fakepbs.client import ask
from tests.helpers import DEADLINE, until

PROGRAMS = ("qsub", "qstat", "qdel", "qselect", "pbsnodes", "pbsdsh", "pbs_tmrsh")
_ROOT = Path(__file__).parents[2]
# Without site-packages Python starts much faster.
_PROGRAM = f"""\
#!{sys.executable} -IS
import sys
sys.path.insert(0, {str(_ROOT)!r})
from tests.fakebin.fakepbs.client import main
sys.exit(main())
"""


class FakePbs:
    """A PBS of five nodes, all of which are this machine; `settings` are those of its Cluster.

    It ends with the process that made it. The directory is short, since jobs make Unix sockets in
    it, and the name of one has 107 bytes at most.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def __enter__(self) -> FakePbs:
        self.root = Path(tempfile.mkdtemp(prefix="fp", dir="/tmp"))
        (self.root / "pbs.conf").write_text(f"PBS_SERVER=head\nPBS_HOME={self.root}\n")
        self._programs = self.root / "bin"
        self._programs.mkdir()
        for name in PROGRAMS:
            (self._programs / name).write_text(_PROGRAM)
            (self._programs / name).chmod(0o755)
        self._start()
        self.set(**self._settings)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.resume()
        self.end()
        shutil.rmtree(self.root, ignore_errors=True)

    def _start(self) -> None:
        module = "tests.fakebin.fakepbs.server"
        with (self.root / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(self.root), str(self._programs)],
                cwd=_ROOT,
                # Nothing of the test's own: it would be taken for one of its processes.
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        until((self.root / "socket").exists, "the start of the pretended PBS")

    def end(self) -> None:
        """End the server and all jobs; its programs then find nobody."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(DEADLINE)
        (self.root / "socket").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the server, so that all programs wait for ever."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    @property
    def env(self) -> dict[str, str]:
        """What makes the programs of this PBS those that are found."""
        return {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "PBS_CONF_FILE": str(self.root / "pbs.conf"),
        }

    def set(self, **settings: Any) -> None:
        """Change settings while it runs."""
        ask({"program": "set", "settings": settings}, self.root)

    def fault(self, program: str, what: str) -> None:
        """Make a program misbehave; see server.py."""
        self.set(faults={program: what})

    def forget(self) -> None:
        """Make the server forget all jobs, whose processes run on."""
        ask({"program": "forget"}, self.root)

    def end_tasks(self, job: str, codes: Mapping[int, int]) -> None:
        """End tasks of an array that are bookkeeping only (`runs_programs=False`)."""
        ask({"program": "end", "job": job, "codes": codes}, self.root)

    def calls(self) -> list[list[str]]:
        """Return what the programs were called with since this was asked last."""
        found: list[list[str]] = json.loads(ask({"program": "calls"}, self.root)["out"])
        return found

    def run(self, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of the programs, whatever its exit code."""
        return subprocess.run(
            [str(self._programs / argv[0]), *argv[1:]],
            env={**os.environ, **self.env},
            cwd=cwd or self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def complaints(self) -> str:
        """Return what the server itself has printed: nothing, unless it is at fault."""
        return (self.root / "server.log").read_text()

    def need_names(self) -> None:
        """Skip the test where nodes cannot have names, by which jobs tell them apart."""
        if os.geteuid() != 0:
            pytest.skip("only root can give the nodes of the pretended PBS names of their own")

    def states(self, job: str) -> str:
        """Return the states of a job and of its tasks, a letter each, empty if it is unknown."""
        lines = self.run("qstat", "-t", job).stdout.splitlines()[2:]
        return "".join(line.split()[-2] for line in lines)

    def queued(self) -> list[str]:
        """Return the jobs that live."""
        return self.run("qselect").stdout.split()
