"""The run directory: the only place where state lives. Private modes, whole files or none.

Layout of `<exp_path>/<entity>/`: the script, `logs/`, `shards/<i>.json` (where a shard listens),
`exit/<i>` (how a task ended), `address.json` and `address.env` (while a database answers),
`credentials`, `task-table/<k>.tsv` (what the tasks of an ensemble run).
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.errors import InputError, StorageError
from hpcorch.schedulers.base import JobId

# It tells with which parameters and files a directory was generated.
PARAMETERS = "hpcorch_params.json"
# What a run leaves and the next run of the same entity must not see.
_STALE_DIRS = ("shards", "exit", "logs", "tls", "task-table")
_STALE_FILES = ("job.json", "address.env", "address.json", "credentials", "admin-credentials")
_HASH = re.compile(r"[0-9a-f]{16}")
_LAST_WORDS_SECONDS = 5.0


@dataclass(frozen=True)
class ExitRecord:
    """How a task ended, in its own words; `elapsed` in seconds, `signal` a name or empty."""

    index: int
    job: str
    code: int
    signal: str
    elapsed: float
    reason: str


def make_private(path: Path) -> None:
    """Create a directory and its parents, the last with mode 0700."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"the directory {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"the directory {path} cannot be written by you")


def refuse_file(name: str, directory: Path) -> None:
    """Refuse a run directory that cannot be one, mostly since the program has the same name."""
    if directory.exists() and not directory.is_dir():
        raise InputError(
            f"the run directory of {name} would be {directory}: a file is there",
            f"give {name} another name or another path",
        )


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def write_whole(path: Path, text: str, mode: int = 0o600, *, synced: bool = True) -> None:
    """Write `text` so that `path` holds all of it or what it held before; raises StorageError.

    What may get lost when the machine crashes need not be `synced`.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"), mode, synced=synced)


def write_bytes(path: Path, data: bytes, mode: int = 0o600, *, synced: bool = True) -> None:
    """As write_whole, for bytes."""
    with storing(path):
        if path.name in ("", ".."):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                if synced:
                    os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def put_copy(directory: Path, target: str, source: Path, data: bytes | None = None) -> None:
    """Put a copy of `source`, or `data` with its mode, at `target` inside a run directory.

    A link that leads to no file is copied as a link. What was there before is replaced at once.
    Raises StorageError.
    """
    with _replacing(directory, target) as temporary:
        if not source.is_file():
            temporary.symlink_to(link_text(target, source))
            return
        if data is None:
            shutil.copyfile(source, temporary)
        else:
            temporary.write_bytes(data)
        shutil.copymode(source, temporary)


def link_text(target: str, source: Path) -> str:
    """Return where a copy of the link `source` leads when it stands at `target`.

    A relative link that leaves what is copied would lead elsewhere there: it becomes absolute.
    """
    text = os.fspath(source.readlink())
    inside = os.path.normpath(Path(target).parent / text)
    if Path(text).is_absolute() or Path(inside).parts[:1] != ("..",):
        return text
    return os.path.abspath(source.parent / text)


def put_folder(directory: Path, target: str) -> None:
    """Make the folder `target` inside a run directory; raises StorageError."""
    with storing(directory / target):
        _make_folders(directory, Path(target).parts)


def put_link(directory: Path, target: str, source: str) -> None:
    """Put a link to `source` at `target` inside a run directory; raises StorageError."""
    with _replacing(directory, target) as temporary:
        temporary.symlink_to(source)


def parameters(directory: Path) -> dict[str, Any]:
    """Return what was written down when the directory was generated; empty if it was not."""
    return read_json(directory / PARAMETERS) or {}


@contextmanager
def _replacing(directory: Path, target: str) -> Iterator[Path]:
    """Give a path to make a file at, which then takes the place of `target`."""
    path = directory / target
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path):
        _make_folders(directory, Path(target).parts[:-1])
        try:
            temporary.unlink(missing_ok=True)
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _make_folders(directory: Path, parts: Sequence[str]) -> None:
    folder = directory
    for part in parts:
        folder = folder / part
        # A link would lead out of the run directory.
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(exist_ok=True)


def prepare(directory: Path, name: str, elements: int, again: Sequence[int] = ()) -> None:
    """Make a run directory ready for a new run: what an earlier run left is removed.

    When only the tasks `again` will run, what the others have left stays.
    """
    make_private(directory)
    if again:
        with storing(directory):
            _forget_tasks(directory, name, again)
        return
    clear(directory)
    with storing(directory):
        (directory / "logs").mkdir(mode=0o700)
        if elements == 1:
            _link_output(directory, name)


def clear(directory: Path) -> None:
    """Remove what a run has left that would mislead the next one; what it has saved stays."""
    with storing(directory):
        for part in _STALE_DIRS:
            _remove(directory / part)
        for part in _STALE_FILES:
            (directory / part).unlink(missing_ok=True)
        # The program may have models of its own there: ours are named by a hash.
        for listed in (directory / "models").glob("*/list.json"):
            if _HASH.fullmatch(listed.parent.name):
                _remove(listed.parent)


def script_file(first: Path, part: int) -> Path:
    """Return where script number `part` of a run is: the first has no number in its name."""
    return first.with_name(f"{first.stem}.{part}{first.suffix}") if part else first


def write_scripts(first: Path, texts: Sequence[str]) -> None:
    """Write the scripts of a run."""
    for part, text in enumerate(texts):
        write_whole(script_file(first, part), text, 0o700)


def remove_scripts(first: Path, part: int) -> None:
    """Remove what an earlier run with more scripts has left, from number `part` on."""
    with storing(first):
        while script_file(first, part).is_file():
            script_file(first, part).unlink()
            part += 1


def write_table(
    directory: Path, files: Sequence[str], names: Sequence[str], lists: Sequence[str] = ()
) -> None:
    """Write what an ensemble's tasks run, task-table/0.tsv, 1.tsv, …, and all names if given.

    `lists` tell them what to put into their directories: task-table/files.0, files.1, …
    """
    make_private(directory / "task-table")
    if names:
        write_whole(directory / "task-table" / "names", "".join(f"{name}\n" for name in names))
    for number, text in enumerate(files):
        write_whole(directory / "task-table" / f"{number}.tsv", text)
    for number, text in enumerate(lists):
        write_whole(directory / "task-table" / f"files.{number}", text)


def member_names(directory: Path) -> list[str]:
    """Return the names of an ensemble's members by number; none where there is no ensemble."""
    try:
        return (directory / "task-table" / "names").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _forget_tasks(directory: Path, name: str, numbers: Sequence[int]) -> None:
    for number in numbers:
        (directory / "exit" / str(number)).unlink(missing_ok=True)
        (directory / "shards" / f"{number}.started").unlink(missing_ok=True)
        for ending in ("out", "err"):
            (directory / "logs" / f"{name}.{number}.{ending}").unlink(missing_ok=True)


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


def remove_all(directory: Path) -> None:
    """Remove a directory of runs that have ended; raises OSError when that stays impossible."""
    end = time.monotonic() + _LAST_WORDS_SECONDS
    while True:
        try:
            shutil.rmtree(directory)
            return
        except OSError as error:
            # A run's last process may still write there after its end was recorded.
            if error.errno != errno.ENOTEMPTY or time.monotonic() > end:
                raise
        time.sleep(0.05)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None when it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def exit_records(
    directory: Path, job: str | None = None, known: Collection[int] = ()
) -> dict[int, ExitRecord]:
    """Return the records of tasks that have ended, by index; only those of `job` if given.

    Those that are `known` are not read again.
    """
    records: dict[int, ExitRecord] = {}
    # Listing the directory makes a network file system look again; a plain open may not.
    for name in _names(directory / "exit"):
        if not name.isdigit() or int(name) in known:
            continue
        record = _exit_record(directory / "exit" / name)
        if record is not None and job in (None, record.job):
            records[record.index] = record
    return records


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _exit_record(path: Path) -> ExitRecord | None:
    found = read_json(path)
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


def started_tasks(directory: Path, job: str, known: Collection[int] = ()) -> set[int]:
    """Return the indices of the tasks of `job` that have begun, `known` ones left out."""
    folder = directory / "shards"
    begun = set()
    for name in _names(folder):
        number, _, ending = name.partition(".")
        if ending != "started" or not number.isdigit() or int(number) in known:
            continue
        if _first_line(folder / name) == job:
            begun.add(int(number))
    return begun


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def job_label(directory: Path, job: str) -> str:
    """Return how people know a job when that is not its id: the step of an allocation."""
    found = read_json(directory / "job.json") or {}
    if found.get("job") != job:
        return ""
    return str(found.get("label") or "") or _first_line(directory / "shards" / "step")


def job_of_token(directory: Path, token: str) -> JobId | None:
    """Return the job that was submitted with `token`, if it has begun: it says so itself."""
    found = read_json(directory / "job.json") or {}
    return JobId(str(found["job"])) if found.get("token") == token and "job" in found else None


def record_never_started(directory: Path, job: str, numbers: Iterable[int]) -> None:
    """Write the exit records of those of the tasks `numbers` that were stopped before they began.

    Whoever waits for them, in this process or in a script on a node, learns it from there.
    """
    begun = started_tasks(directory, job) | exit_records(directory, job).keys()
    make_private(directory / "exit")
    for index in set(numbers) - begun:
        record = {
            "index": index,
            "job": job,
            "code": 0,
            "signal": "TERM",
            "elapsed": 0,
            "reason": "it was stopped before it started",
        }
        text = json.dumps(record, separators=(",", ":"))
        # There may be very many, and they only spare a question.
        write_whole(directory / "exit" / str(index), text, synced=False)


def address(directory: Path, job: str | None = None) -> dict[str, Any] | None:
    """Return address.json of a database that answers, None while it does not."""
    found = read_json(directory / "address.json")
    if found is None or not (directory / "address.env").exists():
        return None
    if not {"addresses", "type"} <= found.keys():
        return None
    return found if job in (None, found.get("job")) else None
