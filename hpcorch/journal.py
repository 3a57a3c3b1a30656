"""What was submitted and stopped in an experiment: `<exp_path>/.hpcorch/journal.jsonl`."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hpcorch.errors import InputError, RunNotFound
from hpcorch.rundir import make_private, read_json, storing
from hpcorch.schedulers.base import JobId, JobRef

# Longer than any submission takes.
_LOCK_SECONDS = 300.0


@dataclass(frozen=True)
class Part:
    """One scheduler job of a run: its next `elements`, submitted with a token of its own.

    `refusal` tells why it was `rejected`, in the words of whoever knew. `host` is the machine of
    which the job is a process; empty for a job of a batch system.
    """

    token: str
    elements: int
    job: JobId | None = None
    rejected: bool = False
    host: str = ""
    refusal: str = ""


@dataclass(frozen=True)
class Run:
    """One start of one entity, as the journal tells it. Times are seconds since 1970.

    Its tasks are those of its `parts`, one after another: one part, or several when an array may
    not hold them all. One element of an array may have several tasks (`per_element`), as shards
    that share a host; the last element then has what is left. `indices` are the tasks' numbers
    where those are not simply 0, 1, 2… `again` says that they ran before and other tasks of that
    run keep what they have left. `stopped` means all tasks, `stopped_tasks` only these numbers.
    """

    entity: str
    kind: str
    directory: str
    elements: int
    run_id: int
    token: str
    scheduler: str
    submitted_at: float
    parts: tuple[Part, ...] = ()
    stopped: bool = False
    gang: bool = False
    ended_before_stop: tuple[int, ...] = ()
    indices: tuple[int, ...] = ()
    again: bool = False
    stopped_tasks: frozenset[int] = frozenset()
    per_element: int = 1

    def __post_init__(self) -> None:
        if not self.parts:
            count = -(-self.elements // self.per_element)
            object.__setattr__(self, "parts", (Part(self.token, count),))

    @property
    def numbers(self) -> Sequence[int]:
        """The tasks' numbers in the order in which the parts hold them."""
        return self.indices or range(self.elements)

    @property
    def is_service(self) -> bool:
        """Whether it is a database: it has no end of its own, and others need it."""
        return self.kind == "database"

    @property
    def job(self) -> JobId | None:
        """The first job that the scheduler has accepted; None if there is none."""
        return next((part.job for part in self.parts if part.job is not None), None)

    @property
    def rejected(self) -> bool:
        """Whether the scheduler has refused everything."""
        return all(part.rejected for part in self.parts)

    @property
    def settled(self) -> bool:
        """Whether it is known of every part if it was accepted."""
        return all(part.rejected or part.job is not None for part in self.parts)

    @property
    def elsewhere(self) -> str:
        """The other machine of which it is a process; empty when it can be seen from here."""
        host = next((part.host for part in self.parts if part.host), "")
        return "" if host == this_host() else host

    @property
    def mark(self) -> str:
        """What the tasks of this run write into their records: the job id, of several the token."""
        if len(self.parts) > 1:
            return self.token
        return "" if self.job is None else self.job.job

    def by_part(self) -> Iterator[tuple[Part, Sequence[int]]]:
        """Yield each part with the numbers of its tasks, in the order of its elements."""
        first, numbers = 0, self.numbers
        for part in self.parts:
            size = part.elements * self.per_element
            yield part, numbers[first : first + size]
            first += size

    def refs(self, numbers: Collection[int] | None = None) -> list[JobRef]:
        """Return what a scheduler is asked about: accepted jobs, those with such tasks if given."""
        found = []
        for part, mine in self.by_part():
            if part.job is None:
                continue
            only: tuple[int, ...] = ()
            if numbers is not None:
                only = self.elements_of(number in numbers for number in mine)
                if not only:
                    continue
            found.append(JobRef(part.job, part.token, part.elements, self.gang, only))
        return found

    def elements_of(self, tasks: Iterable[bool]) -> tuple[int, ...]:
        """Return the elements that hold the chosen ones of a part's `tasks`."""
        chosen = (place // self.per_element for place, wanted in enumerate(tasks) if wanted)
        return tuple(dict.fromkeys(chosen))

    def stop_wanted(self, number: int) -> bool:
        """Whether this task was asked to end while it was alive."""
        wanted = self.stopped or number in self.stopped_tasks
        return wanted and number not in self.ended_before_stop

    def with_part(self, part: Part) -> Run:
        """Return the run with the part of that token replaced."""
        known = (part if item.token == part.token else item for item in self.parts)
        return replace(self, parts=tuple(known))


def this_host() -> str:
    """Return the name of this machine."""
    return os.uname().nodename


class Journal:
    """The append-only record of an experiment's submissions and stops; every line is synced."""

    def __init__(self, exp_path: Path) -> None:
        self.exp_path = exp_path
        self._path = exp_path / ".hpcorch" / "journal.jsonl"

    @property
    def directory(self) -> Path:
        """Where the journal is; what processes share of what they know is there too."""
        return self._path.parent

    @contextmanager
    def lock(self) -> Iterator[str]:
        """Keep two drivers of one experiment from starting the same entity.

        A help, not a guarantee: it does not hold between hosts on every network file system, and
        some know no locks at all; why it could not be had is then given. Raises InputError when
        somebody else does not let go of it.
        """
        make_private(self._path.parent)
        path = self._path.with_name("start.lock")
        lock, missing = FileLock(path, timeout=_LOCK_SECONDS, mode=0o600), ""
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"another driver has been starting something in {self.exp_path} for "
                f"{_LOCK_SECONDS:g} s",
                f"if there is none any more, remove {path}",
            ) from error
        except (OSError, NotImplementedError) as error:
            missing = f"{path} cannot be locked: {getattr(error, 'strerror', None) or error}"
        try:
            yield missing
        finally:
            lock.release()

    def exists(self) -> bool:
        """Whether anything was ever submitted here."""
        return self._path.is_file()

    def _append(self, event: str, **values: object) -> None:
        make_private(self._path.parent)
        line = json.dumps({"event": event, "time": time.time(), **values}) + "\n"
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with storing(self._path):
            handle = os.open(self._path, flags, 0o600)
            try:
                # What a crash has cut short must not swallow this line.
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = "\n" + line
                # One write of one line: lines of two writers never mix on a local file system.
                data = line.encode("utf-8", "surrogateescape")
                if os.write(handle, data) < len(data):
                    # A disk that is nearly full takes the beginning and complains only next time.
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            finally:
                os.close(handle)

    def intend(self, run: Run) -> None:
        """Say that `run` is about to be submitted."""
        several: dict[str, object] = {}
        if len(run.parts) > 1:
            several["parts"] = [[part.token, part.elements] for part in run.parts]
        if run.per_element > 1:
            several["per_element"] = run.per_element
        if run.indices:
            several |= {"indices": list(run.indices), "again": run.again}
        self._append(
            "intent",
            entity=run.entity,
            kind=run.kind,
            directory=run.directory,
            home=str(self.exp_path),
            elements=run.elements,
            run_id=run.run_id,
            token=run.token,
            scheduler=run.scheduler,
            gang=run.gang,
            **several,
        )

    def submitted(self, part: Part) -> None:
        """Say under which id the scheduler accepted a part of a run."""
        assert part.job is not None
        where = {"host": part.host} if part.host else {}
        job, cluster = part.job.job, part.job.cluster
        self._append("submitted", token=part.token, job=job, cluster=cluster, **where)

    def rejected(self, part: Part, reason: str) -> None:
        """Say that the scheduler refused a part of a run."""
        self._append("rejected", token=part.token, reason=reason)

    def stopping(self, runs: Iterable[Run]) -> None:
        """Say that the end of `runs` is wanted from now on, and which of their tasks had ended.

        Where a run has `stopped_tasks` and is not `stopped`, the end of only those is wanted.
        """
        runs = list(runs)
        self._append(
            "stop",
            ended={run.token: list(run.ended_before_stop) for run in runs},
            only={
                run.token: sorted(run.stopped_tasks)
                for run in runs
                if run.stopped_tasks and not run.stopped
            },
        )

    def runs(self) -> list[Run]:
        """Return all runs in the order of their submission; a line cut by a crash is skipped."""
        runs: dict[str, Run] = {}
        try:
            lines = self._path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error.strerror}") from error
        for line in lines:
            try:
                _apply(runs, json.loads(line), self.exp_path)
            except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
                continue
        return list(runs.values())


def _apply(runs: dict[str, Run], event: Mapping[str, Any], exp_path: Path) -> None:
    kind = event["event"]
    if kind == "intent":
        runs[event["token"]] = Run(
            entity=event["entity"],
            kind=event["kind"],
            directory=_here(event["directory"], event.get("home"), exp_path),
            elements=event["elements"],
            run_id=event["run_id"],
            token=event["token"],
            scheduler=event["scheduler"],
            submitted_at=event["time"],
            gang=bool(event.get("gang", False)),
            parts=tuple(Part(token, elements) for token, elements in event.get("parts", ())),
            indices=tuple(event.get("indices", ())),
            again=bool(event.get("again", False)),
            per_element=int(event.get("per_element", 1)),
        )
    elif kind in ("submitted", "rejected"):
        # A part's token is that of its run and a number.
        run = runs[event["token"].partition("_")[0]]
        part = next(item for item in run.parts if item.token == event["token"])
        if kind == "submitted":
            job = JobId(event["job"], event["cluster"])
            part = replace(part, job=job, host=str(event.get("host", "")))
        else:
            part = replace(part, rejected=True, refusal=str(event.get("reason", "")))
        runs[run.token] = run.with_part(part)
    elif kind == "stop":
        _apply_stop(runs, event)


def _here(directory: str, home: str | None, exp_path: Path) -> str:
    """Return where a run directory is now: the experiment may have been moved or copied since."""
    if home is None or not Path(directory).is_relative_to(home):
        return directory
    return str(exp_path / Path(directory).relative_to(home))


def _apply_stop(runs: dict[str, Run], event: Mapping[str, Any]) -> None:
    for token, ended in event["ended"].items():
        # Jobs that were submitted by hand are stopped too, and are in no journal.
        run = runs.get(token)
        if run is None:
            continue
        only = event.get("only", {}).get(token)
        if only is None:
            early = {*ended} - run.stopped_tasks
            runs[token] = replace(run, stopped=True, ended_before_stop=tuple(sorted(early)))
        else:
            runs[token] = replace(run, stopped_tasks=run.stopped_tasks | {*only})


def find_runs(path: Path) -> list[Run]:
    """Return the runs of an experiment's or an entity's directory, submitted by hand or not.

    Raises RunNotFound.
    """
    path = path.absolute()
    journalled = Journal(path).runs()
    if not journalled:
        beside = Journal(path.parent).runs()
        journalled = [run for run in beside if Path(run.directory) == path]
    # A job whose submission broke off is no job that was started by hand.
    known = {run.mark if run.settled else run.token for run in journalled}
    places = [path, *sorted(path.iterdir())] if path.is_dir() else []
    by_hand = [run for run in map(_run_by_hand, places) if run is not None]
    found = journalled + [run for run in by_hand if not {run.mark, run.token} & known]
    if not found:
        raise RunNotFound(f"{path} holds no run of hpcorch", "name an experiment's directory")
    return found


def _run_by_hand(directory: Path) -> Run | None:
    """Return the run that a script started by hand has described in job.json."""
    found = read_json(directory / "job.json")
    if found is None:
        return None
    try:
        elements, per_element = int(found["elements"]), int(found.get("per_element", 1))
        count = -(-elements // per_element)
        return Run(
            entity=str(found["name"]),
            kind=str(found["kind"]),
            directory=str(directory),
            elements=elements,
            run_id=0,
            token=str(found["token"]),
            scheduler=str(found["scheduler"]),
            submitted_at=(directory / "job.json").stat().st_mtime,
            parts=(Part(str(found["token"]), count, JobId(str(found["job"]))),),
            gang=bool(found.get("gang", False)),
            per_element=per_element,
        )
    except (KeyError, ValueError, ZeroDivisionError, OSError):
        return None
