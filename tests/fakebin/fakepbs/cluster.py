"""The state of the pretended PBS and how it changes: starting, ending, killing, forgetting."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakebin.fakepbs.jobs import End, Job, Task
from tests.fakebin.fakepbs.mom import Entry, Mom, Session
from tests.fakebin.fakepbs.request import Chunk
from tests.fakebin.fakepbs.show import SERVER, comment_date


@dataclass
class Settings:
    """What a test may choose. Times are in seconds; `faults` are told of in server.py."""

    nodes: int = 5
    ncpus: int = 4
    history: bool = False
    # When false everything stays queued.
    scheduling: bool = True
    kill_delay: float = 10.0
    max_array_size: int = 10000
    max_jobs: int = 1000
    # When false tasks are bookkeeping only: their state changes as ever, but no program is run;
    # they end when a test says so, or when they are signalled. It is for very many of them.
    runs_programs: bool = True
    queues: dict[str, dict[str, str]] = field(default_factory=lambda: {"workq": {}})
    faults: dict[str, str] = field(default_factory=dict)


class Cluster:
    """Jobs by their numbers, and the nodes that they are on."""

    def __init__(self, settings: Settings, mom: Mom) -> None:
        self.settings = settings
        self.jobs: dict[int, Job] = {}
        self._mom = mom
        self._next = 0

    @property
    def nodes(self) -> list[str]:
        return [f"cn{number}" for number in range(1, self.settings.nodes + 1)]

    def new_number(self) -> int:
        """Return the number of the next job; the first one of a fresh server is 0."""
        self._next += 1
        return self._next - 1

    def tasks(self) -> Iterator[tuple[Job, Task]]:
        for job in list(self.jobs.values()):
            for task in job.tasks:
                yield job, task

    # Time goes on

    def advance(self) -> None:
        """Do everything that is due now."""
        now = time.time()
        for job, task in self.tasks():
            if task.state == "R":
                self._watch(job, task, now)
            elif task.state == "E":
                self._finish(job, task)
        for job in list(self.jobs.values()):
            if job.over and not job.finished:
                self._close(job, now)
        if self.settings.scheduling:
            self._schedule(now)

    def _watch(self, job: Job, task: Task, now: float) -> None:
        limit = job.request.walltime
        if task.end is End.NONE and limit is not None and now - task.started > limit:
            self.terminate(task, End.WALLTIME, now)
        late = task.asked_to_end and now - task.asked_to_end > self.settings.kill_delay
        first = task.sessions[0]
        if isinstance(first, Entry) and first.alive:
            return
        if first.poll() is not None and task.end is End.NONE:
            # What the script has left behind in its sessions dies with it.
            for session in task.sessions:
                session.signal(signal.SIGKILL)
        elif late or task.end is End.FORCED:
            for session in task.sessions:
                session.signal(signal.SIGKILL)
        for session in task.sessions:
            session.poll()
        if not any(session.alive for session in task.sessions):
            task.status = task.end.value or first.code
            task.state, task.ended = "E", now

    def terminate(self, task: Task, end: End, now: float) -> None:
        """Send SIGTERM to everything of a task at once; SIGKILL follows after kill_delay."""
        if task.end in (End.NONE, End.DELETED):
            task.end = end
        task.asked_to_end = task.asked_to_end or now
        for session in task.sessions:
            session.signal(signal.SIGKILL if end is End.FORCED else signal.SIGTERM)

    def _finish(self, job: Job, task: Task) -> None:
        words = {
            End.NONE: " and finished" if task.status == 0 else " and failed",
            End.WALLTIME: " and exceeded resource walltime",
        }
        task.comment += words.get(task.end, "")
        task.state = "X" if job.is_array else "F"
        # Without history only the word "finished" is kept, whatever happened.
        task.forgotten = job.is_array and not self.settings.history
        if any(isinstance(session, Session) for session in task.sessions):
            self._mom.clean(job.task_id(task))

    def _close(self, job: Job, now: float) -> None:
        job.finished = now
        if not self.settings.history:
            del self.jobs[job.number]
            return
        for task in job.tasks:
            task.state = "F"

    # Scheduling

    def _schedule(self, now: float) -> None:
        """Start what there is room for; the tasks of one job all want the same."""
        if not any(task.state == "Q" for _, task in self.tasks()):
            return
        free = self._free()
        for job in list(self.jobs.values()):
            running = sum(task.state in "RE" for task in job.tasks)
            room = (job.request.max_running or len(job.tasks)) - running
            waiting = [task for task in job.tasks if task.state == "Q"]
            for task in waiting[: max(0, room)]:
                nodes = self._allocate(job.request.chunks, job.request.place, free)
                if nodes is None:
                    for left in waiting:
                        if left.state == "Q":
                            left.comment = self._why(job.request.chunks)
                    break
                self._begin(job, task, nodes, now)

    def _begin(self, job: Job, task: Task, nodes: tuple[str, ...], now: float) -> None:
        task.nodes = nodes
        task.state, task.started = "R", now
        task.run_count += 1
        places = "+".join(
            f"({node}:ncpus={chunk.ncpus})"
            for node, chunk in zip(nodes, job.request.chunks, strict=True)
        )
        task.comment = f"Job run at {comment_date(now)} on {places}"
        if not self.settings.runs_programs:
            task.sessions = [Entry()]
            return
        name = job.task_id(task)
        processes = [chunk.mpiprocs for chunk in job.request.chunks]
        self._mom.prepare(name, nodes, processes)
        task.sessions = [
            self._mom.run(
                name,
                job.request.script,
                job.request.shell,
                self.environ(job, task),
                _files(job, task),
                nodes[0],
            )
        ]

    def environ(self, job: Job, task: Task) -> dict[str, str]:
        """Return the variables that a task begins with."""
        array = None if task.index is None else (job.id, task.index)
        chunk = job.request.chunks[0]
        found = self._mom.environment(job.task_id(task), array, job.environ, chunk.ncpus)
        found["PBS_JOBNAME"] = job.request.name
        if chunk.ompthreads is not None:
            found["OMP_NUM_THREADS"] = str(chunk.ompthreads)
        return found

    def spawn(self, job: Job, task: Task, node: int, argv: list[str]) -> int:
        """Start a process on another node of a running task, as pbsdsh does; return its pid."""
        environ = self.environ(job, task)
        environ |= {"PATH": "/bin:/usr/bin", "PBS_NODENUM": str(node)}
        session = self._mom.start(argv, environ, _files(job, task), task.nodes[node])
        task.sessions.append(session)
        return session.pid

    def _allocate(
        self, chunks: tuple[Chunk, ...], place: str, room: dict[str, tuple[int, int]]
    ) -> tuple[str, ...] | None:
        """Return a node for each chunk, which are free no more then; None while there is none."""
        words = set(place.split(":"))
        alone = bool(words & {"excl", "exclhost"})
        free = dict(room)
        chosen: list[str] = []
        for chunk in chunks:
            fits = [
                node
                for node, (cpus, users) in free.items()
                if cpus >= chunk.ncpus
                and chunk.host in ("", node)
                and not (alone and users)
                and not ("scatter" in words and node in chosen)
            ]
            if not fits:
                return None
            chosen.append(fits[0])
            cpus, users = free[fits[0]]
            free[fits[0]] = (cpus - chunk.ncpus, users)
        for node in chosen:
            cpus, users = free[node]
            room[node] = (0 if alone else cpus, users + 1)
        return tuple(chosen)

    def _free(self) -> dict[str, tuple[int, int]]:
        """Return each node's free CPUs, and how many tasks are on it."""
        free = dict.fromkeys(self.nodes, (self.settings.ncpus, 0))
        for job, task in self.tasks():
            if task.state not in "RE":
                continue
            alone = bool({"excl", "exclhost"} & set(job.request.place.split(":")))
            for node, chunk in zip(task.nodes, job.request.chunks, strict=True):
                cpus, users = free[node]
                free[node] = (0 if alone else cpus - chunk.ncpus, users + 1)
        return free

    def _why(self, chunks: tuple[Chunk, ...]) -> str:
        wanted = sum(chunk.ncpus for chunk in chunks)
        total = self.settings.nodes * self.settings.ncpus
        if wanted > total or len(chunks) > self.settings.nodes:
            return (
                "Can Never Run: Insufficient amount of resource: ncpus "
                f"(R: {wanted} A: {total} T: {total})"
            )
        return "Not Running: Insufficient amount of resource: ncpus "

    def end(self, name: str, codes: Mapping[int, int]) -> None:
        """End tasks of an array that are bookkeeping only, each with its exit code."""
        job = self.jobs[int(name.partition("[")[0])]
        for task in job.tasks:
            code = None if task.index is None else codes.get(task.index)
            for session in task.sessions:
                if code is not None and isinstance(session, Entry):
                    session.end(code)

    # Deletion

    def delete(self, job: Job, tasks: list[Task], *, force: bool) -> None:
        """What waits is gone at once; what runs gets its signals."""
        now = time.time()
        whole = tasks == job.tasks
        job.deleted = job.deleted or whole
        for task in tasks:
            if task.over:
                # The server rewrites what it knew of the tasks of a deleted array.
                task.forgotten = task.forgotten or (whole and job.is_array)
                continue
            if task.state in "QH":
                task.comment += " and terminated"
                task.end, task.state = End.DELETED, "X" if job.is_array else "F"
                task.forgotten = job.is_array and not self.settings.history
                continue
            if " and terminated" not in task.comment:
                task.comment += f" and terminated by {job.user}@head.cluster.test"
            self.terminate(task, End.FORCED if force else End.DELETED, now)

    def find(self, text: str) -> tuple[Job, list[Task] | None] | None:
        """Return the job that an id names, and its tasks if it names some of an array's."""
        number, bracket, rest = text.removesuffix(f".{SERVER}").partition("[")
        job = self.jobs.get(int(number)) if number.isdigit() else None
        if job is None or job.is_array != bool(bracket):
            return None
        span = rest.removesuffix("]")
        if not span:
            return job, None
        low, _, high = span.partition("-")
        wanted = range(int(low), int(high or low) + 1)
        return job, [task for task in job.tasks if task.index in wanted]


def _files(job: Job, task: Task) -> tuple[str, str]:
    out = str(Path(job.cwd, job.output(task, "o")))
    err = str(Path(job.cwd, job.output(task, "e")))
    return {"oe": (out, out), "eo": (err, err)}.get(job.request.join, (out, err))
