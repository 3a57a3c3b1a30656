"""A cluster to be used from Python; see README.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.testbed import commands, config, packages
from tests.testbed.cleanup import is_up, make_locked, remove_all_dead, remove_dead, remove_files
from tests.testbed.errors import ClusterError, CommandFailed
from tests.testbed.keeper import READY
from tests.testbed.layout import BASE, LOGIN, PREFIX, SYSTEM_PATH, Layout, Options
from tests.testbed.outages import Outages
from tests.testbed.processes import command_line, in_namespace, namespace, wait_until

ROOT = Path(__file__).parents[2]


class Cluster(Outages):
    """Slurm with several nodes on this machine: `with Cluster(nodes=3) as cluster: ...`.

    It ends with the process that made it, in whatever way that ends. `settings` are lines of
    slurm.conf; `shared` are directories below /tmp that nodes shall see nevertheless.
    """

    def __init__(
        self,
        nodes: int = 4,
        cpus: int = 4,
        memory: int = 4000,
        accounting: bool = False,
        cgroup: bool = False,
        settings: Mapping[str, str] | None = None,
        shared: Sequence[str | Path] = (),
        directory: Path | None = None,
    ) -> None:
        self.options = Options(
            nodes,
            cpus,
            memory,
            accounting,
            cgroup,
            dict(settings or {}),
            tuple(str(Path(path).resolve()) for path in shared),
        )
        self._given = directory
        self._layout: Layout | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @classmethod
    def attach(cls, directory: Path) -> Cluster:
        """The cluster that is up in `directory`."""
        layout = Layout(directory)
        if not is_up(layout):
            raise ClusterError(f"no cluster is up in {directory}")
        cluster = cls(directory=directory)
        cluster.options = layout.options()
        cluster._layout = layout
        return cluster

    def __enter__(self) -> Cluster:
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def layout(self) -> Layout:
        if self._layout is None:
            raise ClusterError("the cluster is not up")
        return self._layout

    @property
    def nodes(self) -> list[str]:
        return self.options.names

    @property
    def shared(self) -> Path:
        """A directory that this process and all hosts of the cluster see; removed with it."""
        return self.layout.shared

    # Up and down

    def up(self, stay: bool = False) -> Cluster:
        """Bring the cluster up; with `stay` it goes on when this process ends."""
        if os.geteuid() != 0:
            raise ClusterError("the test bed makes namespaces and network devices: run it as root")
        packages.require(self.options.accounting)
        remove_all_dead()
        if self.options.cgroup:
            config.check_cgroups()
        layout = self._new_directory()
        lock = make_locked(layout)
        reader, writer = os.pipe()
        try:
            layout.make(self.options)
            config.write_all(layout, self.options)
            self._watchdog = self._start_watchdog(layout, lock, writer, stay)
        except BaseException:
            remove_files(layout, cgroup=False)
            raise
        finally:
            os.close(writer)
            os.close(lock)
        self._layout = layout
        try:
            with os.fdopen(reader, "rb") as answers:
                answer = answers.read()
            if answer != READY:
                raise ClusterError(answer.decode() or "the watchdog ended")
            commands.write_wrappers(layout)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Take the cluster down, remove its files; nothing happens when it is down already."""
        if self._layout is None:
            return
        layout, self._layout = self._layout, None
        if is_up(layout):
            with suppress(OSError, ValueError):
                os.kill(int((layout / "pid/watchdog").read_text()), signal.SIGTERM)
        if not wait_until(lambda: not is_up(layout), 60):
            raise ClusterError(f"the cluster in {layout.directory} does not end")
        if self._watchdog:
            self._watchdog.wait(60)
        remove_dead(layout)

    def _new_directory(self) -> Layout:
        if self._given is None:
            return Layout(Path(tempfile.mkdtemp(prefix=f"{PREFIX}-", dir=BASE)))
        layout = Layout(self._given)
        if is_up(layout):
            raise ClusterError(f"a cluster is up already in {self._given}")
        remove_dead(layout)
        self._given.mkdir(parents=True, exist_ok=True)
        if any(self._given.iterdir()):
            raise ClusterError(f"{self._given} is not empty")
        return layout

    def _start_watchdog(
        self, layout: Layout, lock: int, status: int, stay: bool
    ) -> subprocess.Popen[bytes]:
        """A program of its own: a fork of ours would have our threads, signals and handlers."""
        words = [str(layout.directory), str(lock), str(status), str(os.getpid())]
        with layout.log("watchdog").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.testbed.watchdog", *words, *["--stay"][: int(stay)]],
                cwd=ROOT,
                env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock, status),
                start_new_session=True,
            )

    # Commands

    def popen(
        self,
        argv: Sequence[str | Path],
        node: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        user: str | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a command on the login node, or on `node`.

        `env` is added to our environment, `cwd` is the shared directory when not given, and the
        other options are those of subprocess.Popen. What is killed on a node dies by SIGKILL.
        """
        words = [str(word) for word in argv]
        return subprocess.Popen(
            commands.enter(self.layout, node or LOGIN, words, str(cwd or self.shared), user),
            env=commands.environment(self.layout, env, user),
            **options,
        )

    def run(
        self,
        argv: Sequence[str | Path],
        node: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        check: bool = True,
        cwd: str | Path | None = None,
        user: str | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end (see popen); with `check` it must succeed."""
        source: int | IO[str] = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        words = [str(word) for word in argv]
        with self.popen(
            words,
            node,
            env,
            cwd,
            user,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except BaseException:
                # The whole group: whoever holds the pipes open would hold us up.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        if check and process.returncode:
            raise CommandFailed(process.returncode, words, out, err)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def ask(self, argv: Sequence[str], timeout: float = 30) -> str:
        """What a query prints, as soon as the controller is not too slow to answer it."""
        done = self.run(argv, check=False)

        def answered() -> bool:
            nonlocal done
            if done.returncode:
                done = self.run(argv, check=False)
            return done.returncode == 0

        if not wait_until(answered, timeout, 0.1):
            raise CommandFailed(done.returncode, list(argv), done.stdout, done.stderr)
        return done.stdout

    def queue(self, *options: str) -> list[str]:
        """The lines of squeue."""
        return self.ask(["squeue", "-h", *options]).splitlines()

    def job_states(self, job: str) -> list[str]:
        """The state of a job's every element, in order; empty once Slurm has forgotten the job."""
        lines = self.queue("-r", "-t", "all", "--sort=i", "-o", "%A|%F|%T")
        return [state for *ids, state in (line.split("|") for line in lines) if job in ids]

    def node_states(self) -> dict[str, str]:
        lines = self.ask(["sinfo", "-h", "-N", "-p", "debug", "-o", "%N %T"]).splitlines()
        return dict(line.split() for line in lines)

    def wait_idle(self, timeout: float = 60) -> None:
        """Wait until there is no job, also none completing, and all nodes are idle."""

        def idle() -> bool:
            return not self.queue() and set(self.node_states().values()) == {"idle"}

        if not wait_until(idle, timeout, 0.05):
            jobs = "\n".join(self.queue())
            raise ClusterError(f"not idle after {timeout:g} s: {self.node_states()}\n{jobs}")

    def reset(self, timeout: float = 60) -> None:
        """Undo every outage, cancel every job, and wait until the cluster is idle."""
        self.order("restore")
        wait_until(self._cancelled, timeout)
        if set(self.node_states().values()) - {"idle", "mixed", "allocated", "completing"}:
            # Refused for nodes that have come back by themselves meanwhile.
            for name in self.nodes:
                self.run(["scontrol", "update", f"nodename={name}", "state=resume"], check=False)
        self.wait_idle(timeout)

    def _cancelled(self) -> bool:
        """Cancel every job; a controller that is too slow to answer has to be told again."""
        calls = [
            self.run(["scancel", f"--partition={partition}"], check=False)
            for partition in ("debug", "short")
        ]
        return not any(call.returncode for call in calls)

    def node_lost(self, node: str) -> None:
        """Power a node off, and have Slurm notice now: by itself it takes more than a minute."""
        self.node_down(node)
        self.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=lost"])

    def node_processes(self, node: str) -> list[tuple[int, str]]:
        """What runs on a node, less its first process and slurmd: (pid seen from outside, words).

        A node that is switched off has none.
        """
        try:
            first = commands.first_process(self.layout, node)
        except ClusterError:
            return []
        found = [
            (pid, command_line(pid))
            for pid in in_namespace("pid", namespace(first, "pid"))
            if pid != first
        ]
        return [(pid, words) for pid, words in found if words and not _is_slurmd(words)]


def _is_slurmd(words: str) -> bool:
    return Path(words.split(maxsplit=1)[0]).name == "slurmd"
