"""What runs on the nodes, which all are this machine: sessions, environments, signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Every node is this machine, but has a name of its own, where that may be given.
_NAMED = (
    "unshare",
    "--uts",
    "bash",
    "-c",
    'echo "$1" >/proc/sys/kernel/hostname && exec "${@:2}"',
    "node",
)
# As PBS's own, less the programs' folder, which comes first.
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Session:
    """A process of a job with all that it has started; what calls setsid is out of reach."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def poll(self) -> int | None:
        """Return how the first process ended, None while it lives."""
        return self.process.poll()

    def wait(self) -> None:
        self.process.wait()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None or bool(self.members())

    @property
    def code(self) -> int:
        """The exit code as a login shell reports it."""
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def members(self) -> list[int]:
        """Return the living processes of the session."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _session(entry) == self.process.pid:
                found.append(int(entry.name))
        return found

    def signal(self, number: signal.Signals) -> None:
        for pid in self.members():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass
class Entry:
    """A task that is bookkeeping only: no process, but it ends when it is told to or signalled."""

    code: int = 0
    alive: bool = True
    pid: int = 0

    def poll(self) -> int | None:
        return None if self.alive else self.code

    def wait(self) -> None:
        """It needs no waiting for."""

    def signal(self, number: signal.Signals) -> None:
        self.end(128 + number)

    def end(self, code: int) -> None:
        if self.alive:
            self.code, self.alive = code, False


def _session(entry: Path) -> int | None:
    try:
        state, _, _, session = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(session)


class Mom:
    """Starts processes; `root` holds what a real one keeps in /var/spool/pbs and /var/tmp."""

    def __init__(self, root: Path, programs: Path) -> None:
        self._root = root
        self._programs = programs
        self.home = root / "home"
        for name in ("home", "aux", "tmp", "spool"):
            (root / name).mkdir(exist_ok=True)

    def environment(
        self, job_id: str, array: tuple[str, int] | None, facts: Mapping[str, str], ncpus: int
    ) -> dict[str, str]:
        """Return the variables of a task, as recorded; what the user sent cannot replace them."""
        found = {
            **facts,
            "ENVIRONMENT": "BATCH",
            "HOME": str(self.home),
            "LOGNAME": facts["PBS_O_LOGNAME"],
            "NCPUS": str(ncpus),
            "OMP_NUM_THREADS": str(ncpus),
            "PATH": f"{self._programs}:{SYSTEM_PATH}",
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBCOOKIE": os.urandom(16).hex().upper(),
            "PBS_JOBDIR": str(self.home),
            "PBS_JOBID": job_id,
            "PBS_MOMPORT": "15003",
            "PBS_NODEFILE": str(self._root / "aux" / job_id),
            "PBS_NODENUM": "0",
            "PBS_QUEUE": facts["PBS_O_QUEUE"],
            "PBS_TASKNUM": "1",
            "SHELL": "/bin/bash",
            "TMPDIR": str(self._root / "tmp" / f"pbs.{job_id}"),
            "USER": facts["PBS_O_LOGNAME"],
            # Here every node finds the server without /etc/pbs.conf.
            "PBS_CONF_FILE": str(self._root / "pbs.conf"),
        }
        if array is not None:
            found["PBS_ARRAY_ID"] = array[0]
            found["PBS_ARRAY_INDEX"] = str(array[1])
        return found

    def prepare(self, job_id: str, nodes: Sequence[str], processes: Sequence[int]) -> None:
        """Write the list of nodes, one line for each MPI process, and make TMPDIR."""
        lines = (
            f"{node}.cluster.test\n" * count for node, count in zip(nodes, processes, strict=True)
        )
        (self._root / "aux" / job_id).write_text("".join(lines))
        (self._root / "tmp" / f"pbs.{job_id}").mkdir(mode=0o700, exist_ok=True)

    def run(
        self,
        job_id: str,
        script: str,
        shell: str,
        environ: Mapping[str, str],
        files: tuple[str, str],
        node: str,
    ) -> Session:
        """Start a script at home, with umask 077; the shell is given the name of a copy."""
        spooled = self._root / "spool" / f"{job_id}.SC"
        spooled.write_text(script)
        spooled.chmod(0o700)
        return self.start([shell or "/bin/bash", str(spooled)], environ, files, node)

    def start(
        self, argv: Sequence[str], environ: Mapping[str, str], files: tuple[str, str], node: str
    ) -> Session:
        """Start a command in a session of its own; output for which there is no place is lost."""
        named = (*_NAMED, node) if os.geteuid() == 0 else ()
        streams = [_opened(name) for name in files]
        try:
            process = subprocess.Popen(
                [*named, *argv],
                env=dict(environ),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=streams[0],
                stderr=streams[1],
                start_new_session=True,
                umask=0o077,
            )
        finally:
            for stream in streams:
                os.close(stream)
        return Session(process)

    def clean(self, job_id: str) -> None:
        """Remove what a task had on its nodes."""
        shutil.rmtree(self._root / "tmp" / f"pbs.{job_id}", ignore_errors=True)
        (self._root / "aux" / job_id).unlink(missing_ok=True)
        (self._root / "spool" / f"{job_id}.SC").unlink(missing_ok=True)


def _opened(name: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.open(name, flags, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
