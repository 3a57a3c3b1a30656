"""The run directory: the only place where state lives. Private modes, whole files or none.

Layout of `<exp_path>/<entity>/`: the script, `logs/`, `shards/<i>.json` (where a shard listens),
`exit/<i>` (how a task ended), `address.json` and `address.env` (while a database answers),
`credentials`. `<exp_path>/.hpcorch/journal.jsonl` tells what was submitted and stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from hpcorch.errors import InputError, RunNotFound, StorageError
from hpcorch.schedulers.base import JobId, JobRef

# Longer than any submission takes.
_LOCK_SECONDS = 300.0
# What a run leaves and the next run of the same entity must not see.
_STALE_DIRS = ("shards", "exit", "logs", "tls", "models")
_STALE_FILES = ("job.json", "address.env", "address.json", "credentials", "admin-credentials")


@dataclass(frozen=True)
class ExitRecord:
    """How a task ended, in its own words; `elapsed` in seconds, `signal` a name or empty."""

    index: int
    job: str
    code: int
    signal: str
    elapsed: float
    reason: str


@dataclass(frozen=True)
class Run:
    """One submission of one entity, as the journal tells it. Times are seconds since 1970."""

    entity: str
    kind: str
    directory: str
    elements: int
    run_id: int
    token: str
    scheduler: str
    submitted_at: float
    job: JobId | None = None
    rejected: bool = False
    stopped: bool = False
    gang: bool = False
    ended_before_stop: tuple[int, ...] = ()

    @property
    def ref(self) -> JobRef | None:
        """What a scheduler is asked about; None when it never accepted the job."""
        return None if self.job is None else JobRef(self.job, self.token, self.elements, self.gang)


def make_private(path: Path) -> None:
    """Create a directory and its parents, the last with mode 0700."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"the directory {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"the directory {path} cannot be written by you")


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write `text` so that `path` holds all of it or what it held before; raises StorageError."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"), mode)


def write_bytes(path: Path, data: bytes, mode: int = 0o600) -> None:
    """As write_whole, for bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _storing(path):
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def prepare(directory: Path, name: str, elements: int) -> None:
    """Make a run directory ready for a new run: what an earlier run left is removed."""
    make_private(directory)
    with _storing(directory):
        for part in _STALE_DIRS:
            _remove(directory / part)
        for part in _STALE_FILES:
            (directory / part).unlink(missing_ok=True)
        (directory / "logs").mkdir(mode=0o700)
        if elements == 1:
            _link_output(directory, name)


def _link_output(directory: Path, name: str) -> None:
    for suffix in ("out", "err"):
        link = directory / f"{name}.{suffix}"
        if link.is_symlink() or not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(Path("logs") / f"{name}.0.{suffix}")


def _remove(directory: Path) -> None:
    """Remove a directory with what is in it; a link that took its place is only unlinked."""
    if directory.is_symlink():
        directory.unlink()
    elif directory.is_dir():
        shutil.rmtree(directory)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def exit_records(directory: Path, job: str | None = None) -> dict[int, ExitRecord]:
    """Return the records of tasks that have ended, by index; only those of `job` if given."""
    records: dict[int, ExitRecord] = {}
    folder = directory / "exit"
    # Listing the directory makes a network file system look again; a plain open may not.
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        record = _exit_record(path) if path.name.isdigit() else None
        if record is not None and job in (None, record.job):
            records[record.index] = record
    return records


def _exit_record(path: Path) -> ExitRecord | None:
    found = _read_json(path)
    if found is None:
        return None
    try:
        return ExitRecord(
            index=int(found["index"]),
            job=str(found["job"]),
            code=int(found["code"]),
            signal=str(found["signal"] or ""),
            elapsed=float(found["elapsed"]),
            reason=str(found["reason"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def started_tasks(directory: Path, job: str) -> set[int]:
    """Return the indices of the tasks of `job` that have begun."""
    folder = directory / "shards"
    marks = folder.glob("*.started") if folder.is_dir() else ()
    return {int(mark.stem) for mark in marks if mark.stem.isdigit() and _first_line(mark) == job}


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def job_label(directory: Path, job: str) -> str:
    """Return how people know a job when that is not its id: the step of an allocation."""
    found = _read_json(directory / "job.json") or {}
    if found.get("job") != job:
        return ""
    return str(found.get("label") or "") or _first_line(directory / "shards" / "step")


def record_never_started(run: Run) -> None:
    """Write the exit records of tasks that were stopped before they began.

    Whoever waits for them, in this process or in a script on a node, learns it from there.
    """
    directory = Path(run.directory)
    if run.job is None:
        return
    begun = started_tasks(directory, run.job.job) | exit_records(directory, run.job.job).keys()
    make_private(directory / "exit")
    for index in set(range(run.elements)) - begun:
        record = {
            "index": index,
            "job": run.job.job,
            "code": 0,
            "signal": "TERM",
            "elapsed": 0,
            "reason": "it was stopped before it started",
        }
        write_whole(directory / "exit" / str(index), json.dumps(record, separators=(",", ":")))


def address(directory: Path, job: str | None = None) -> dict[str, Any] | None:
    """Return address.json of a database that answers, None while it does not."""
    found = _read_json(directory / "address.json")
    if found is None or not (directory / "address.env").exists():
        return None
    return found if job in (None, found.get("job")) else None


class Journal:
    """The append-only record of an experiment's submissions and stops; every line is synced."""

    def __init__(self, exp_path: Path) -> None:
        self.exp_path = exp_path
        self._path = exp_path / ".hpcorch" / "journal.jsonl"

    def lock(self) -> FileLock:
        """Return a lock that keeps two drivers of one experiment from starting the same entity.

        A help, not a guarantee: it does not hold between hosts on every network file system.
        """
        make_private(self._path.parent)
        return FileLock(self._path.with_name("start.lock"), timeout=_LOCK_SECONDS, mode=0o600)

    def exists(self) -> bool:
        """Whether anything was ever submitted here."""
        return self._path.is_file()

    def _append(self, event: str, **values: object) -> None:
        make_private(self._path.parent)
        line = json.dumps({"event": event, "time": time.time(), **values}) + "\n"
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with _storing(self._path):
            handle = os.open(self._path, flags, 0o600)
            try:
                # What a crash has cut short must not swallow this line.
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = "\n" + line
                # One write of one line: lines of two writers never mix on a local file system.
                os.write(handle, line.encode("utf-8", "surrogateescape"))
                os.fsync(handle)
            finally:
                os.close(handle)

    def intend(self, run: Run) -> None:
        """Say that `run` is about to be submitted."""
        self._append(
            "intent",
            entity=run.entity,
            kind=run.kind,
            directory=run.directory,
            elements=run.elements,
            run_id=run.run_id,
            token=run.token,
            scheduler=run.scheduler,
            gang=run.gang,
        )

    def submitted(self, run: Run) -> None:
        """Say under which id the scheduler accepted `run`."""
        assert run.job is not None
        self._append("submitted", token=run.token, job=run.job.job, cluster=run.job.cluster)

    def rejected(self, run: Run, reason: str) -> None:
        """Say that the scheduler refused `run`."""
        self._append("rejected", token=run.token, reason=reason)

    def stopping(self, runs: Iterable[Run]) -> None:
        """Say that the end of `runs` is wanted from now on, and which of their tasks had ended."""
        self._append("stop", ended={run.token: list(run.ended_before_stop) for run in runs})

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
                _apply(runs, json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue
        return list(runs.values())


def _apply(runs: dict[str, Run], event: Mapping[str, Any]) -> None:
    kind = event["event"]
    if kind == "intent":
        runs[event["token"]] = Run(
            entity=event["entity"],
            kind=event["kind"],
            directory=event["directory"],
            elements=event["elements"],
            run_id=event["run_id"],
            token=event["token"],
            scheduler=event["scheduler"],
            submitted_at=event["time"],
            gang=bool(event.get("gang", False)),
        )
    elif kind == "submitted":
        job = JobId(event["job"], event["cluster"])
        runs[event["token"]] = replace(runs[event["token"]], job=job)
    elif kind == "rejected":
        runs[event["token"]] = replace(runs[event["token"]], rejected=True)
    elif kind == "stop":
        for token, ended in event["ended"].items():
            # Jobs that were submitted by hand are stopped too, and are in no journal.
            if token in runs:
                runs[token] = replace(runs[token], stopped=True, ended_before_stop=tuple(ended))


def find_runs(path: Path) -> list[Run]:
    """Return the runs of an experiment's or an entity's directory, submitted by hand or not.

    Raises RunNotFound.
    """
    path = path.absolute()
    journalled = Journal(path).runs()
    if not journalled:
        beside = Journal(path.parent).runs()
        journalled = [run for run in beside if Path(run.directory) == path]
    known = {run.job.job for run in journalled if run.job is not None}
    places = [path, *sorted(path.iterdir())] if path.is_dir() else []
    by_hand = [run for run in map(_run_by_hand, places) if run is not None]
    found = journalled + [run for run in by_hand if run.job and run.job.job not in known]
    if not found:
        raise RunNotFound(f"{path} holds no run of hpcorch", "name an experiment's directory")
    return found


def _run_by_hand(directory: Path) -> Run | None:
    """Return the run that a script started by hand has described in job.json."""
    found = _read_json(directory / "job.json")
    if found is None:
        return None
    try:
        return Run(
            entity=str(found["name"]),
            kind=str(found["kind"]),
            directory=str(directory),
            elements=int(found["elements"]),
            run_id=0,
            token=str(found["token"]),
            scheduler=str(found["scheduler"]),
            submitted_at=(directory / "job.json").stat().st_mtime,
            job=JobId(str(found["job"])),
            gang=bool(found.get("gang", False)),
        )
    except (KeyError, ValueError, OSError):
        return None
