"""What qstat prints of jobs: ids, states, exit codes, and who was refused an answer.

Only the plain form of `qstat -f` is read. Its JSON leaves out all jobs but the first when several
are named (exit code 0), and is broken by other users' backslashes on older servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hpcorch.schedulers.base import TaskState, TaskStatus

_STATES = {
    # An array of which some task has begun.
    "B": TaskState.RUNNING,
    "E": TaskState.RUNNING,
    "H": TaskState.QUEUED,
    # Moved to another server, where it waits.
    "M": TaskState.QUEUED,
    "Q": TaskState.QUEUED,
    "R": TaskState.RUNNING,
    "S": TaskState.RUNNING,
    "T": TaskState.QUEUED,
    "U": TaskState.RUNNING,
    "W": TaskState.QUEUED,
}
_ENDED = ("F", "X")
_OVER_WALLTIME = -29
# Of a job that was deleted; its Exit_status may be missing or that of a signal.
_DELETED = "91"
# The record of a task that the server has forgotten: its Exit_status is 1 whatever happened.
_FORGOTTEN = "Subjob finished"
# What is said of all jobs that have run, and of all tasks of their arrays.
_BEGAN = ("Job run at", "Job Array Began")
_ID = re.compile(r"(\d+)(\[(\d*)\])?(?:\.(\w[\w.-]*))?", re.ASCII)
# A long value goes on in lines that begin with a tab, wherever it was cut.
_PART = re.compile(
    r"^(?:Job Id: (?P<id>\S+)|"
    r" {4}(?P<key>job_state|substate|comment|Exit_status) = (?P<value>.*(?:\n\t.*)*))$",
    re.MULTILINE,
)
_REFUSAL = re.compile(
    r"^qstat: (?:Unknown Job Id (?:Error )?(\S+)|(\S+) Job has finished\b.*|"
    r"PBS is not configured to maintain job history (\S+))\s*$",
    re.MULTILINE,
)
_BLOCK = re.compile(r"^(?:Queue|Server): (\S+)$", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^ {4}([\w.]+) = (.*(?:\n\t.*)*)$", re.MULTILINE)
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+)", re.ASCII)


@dataclass(frozen=True)
class PbsId:
    """An id in parts: 12.srv is a job, 12[].srv an array, 12[3].srv a task of one."""

    number: int
    is_array: bool = False
    index: int | None = None
    server: str = ""

    def is_of(self, job: PbsId) -> bool:
        """Say whether this is `job` or a task of it; a server may be written in short."""
        if (self.number, self.is_array) != (job.number, job.is_array):
            return False
        short, long = sorted((self.server, job.server), key=len)
        return not short or f"{long}.".startswith(f"{short}.")


def parse_id(text: str) -> PbsId:
    """Read an id; raises ValueError if it is none."""
    found = _ID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no PBS job id")
    number, array, index, server = found.groups()
    return PbsId(int(number), array is not None, int(index) if index else None, server or "")


def jobs(out: str) -> Iterator[tuple[PbsId, Mapping[str, str]]]:
    """Yield each job of `qstat -f` with what matters here of its attributes."""
    current: tuple[PbsId, dict[str, str]] | None = None
    for found in _PART.finditer(out):
        if found["id"] is not None:
            if current is not None:
                yield current
            current = parse_id(found["id"]), {}
        elif current is not None:
            # A variable with newlines in its value may look like attributes; it comes later.
            current[1].setdefault(found["key"], found["value"].replace("\n\t", ""))
    if current is not None:
        yield current


def refused(err: str) -> list[PbsId]:
    """Return the jobs that qstat says it does not know, or not any more."""
    names = (next(filter(None, groups)) for groups in _REFUSAL.findall(err))
    return [parse_id(name) for name in names if _ID.fullmatch(name)]


def status(attributes: Mapping[str, str]) -> TaskStatus | None:
    """Return the state of one job or task; None if it ended and the server forgot how."""
    native = attributes.get("job_state", "")
    comment = attributes.get("comment", "").strip()
    if native not in _ENDED:
        state = _STATES.get(native, TaskState.UNKNOWN)
        waits = state is TaskState.QUEUED and not comment.startswith(_BEGAN)
        return TaskStatus(state, native, reason=comment if waits else "")
    text = attributes.get("Exit_status", "")
    if comment == _FORGOTTEN or not (text or "substate" in attributes):
        return None
    code = int(text) if re.fullmatch(r"-?\d+", text, re.ASCII) else None
    reason = comment or (f"Exit_status {text}" if text else "it ended without having run")
    deleted = attributes.get("substate") == _DELETED or " and terminated" in comment
    return TaskStatus(_end(code, deleted=deleted), native, exit_code(code), reason)


def _end(code: int | None, *, deleted: bool) -> TaskState:
    if code == _OVER_WALLTIME:
        return TaskState.TIMED_OUT
    # Without a code it never ran: it was deleted, or what it depended on failed.
    if deleted or code is None:
        return TaskState.CANCELLED
    return TaskState.COMPLETED if code == 0 else TaskState.FAILED


def exit_code(status: int | None) -> int | None:
    """Return an Exit_status as a shell would: 256 + signal becomes 128 + signal.

    A negative one is PBS's own word for what went wrong, not a code of the program.
    """
    if status is None or status < 0:
        return None
    return status - 128 if status > 256 else status


def blocks(out: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name and the attributes of each queue or server of `qstat -Qf` or `qstat -Bf`."""
    _, *parts = _BLOCK.split(out)
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        yield name, {key: value.replace("\n\t", "") for key, value in _ATTRIBUTE.findall(text)}


def seconds(text: str) -> int | None:
    """Return the seconds of [[HH:]MM:]SS; None if it is nothing of the kind."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return (hours * 60 + minutes) * 60 + rest


def clock(walltime: str) -> str:
    """Return [D-]HH:MM:SS as PBS wants it, with hours above 24."""
    days, dash, time = walltime.rpartition("-")
    if not dash:
        return walltime
    hours, rest = time.split(":", 1)
    return f"{int(days) * 24 + int(hours):02}:{rest}"
