"""Slurm's job states and array indices, as squeue and sacct write them.

States: https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES, and of newer versions
https://slurm.schedmd.com/job_state_codes.html. sacct adds to a state who cancelled the job
("CANCELLED by 1000") and cuts it with a "+" when a column is too narrow.
"""

from __future__ import annotations

import re

from hpcorch.schedulers.base import TaskState

_STATES = {
    "BOOT_FAIL": TaskState.FAILED,
    "CANCELLED": TaskState.CANCELLED,
    "COMPLETED": TaskState.COMPLETED,
    "COMPLETING": TaskState.RUNNING,
    "CONFIGURING": TaskState.QUEUED,
    "DEADLINE": TaskState.TIMED_OUT,
    "EXPEDITING": TaskState.QUEUED,
    "FAILED": TaskState.FAILED,
    "LAUNCH_FAILED": TaskState.FAILED,
    "NODE_FAIL": TaskState.FAILED,
    "OUT_OF_MEMORY": TaskState.FAILED,
    "PENDING": TaskState.QUEUED,
    "POWER_UP_NODE": TaskState.QUEUED,
    "PREEMPTED": TaskState.CANCELLED,
    # Not an end: Slurm puts such a job back into the queue.
    "RECONFIG_FAIL": TaskState.QUEUED,
    "REQUEUED": TaskState.QUEUED,
    "REQUEUE_FED": TaskState.QUEUED,
    "REQUEUE_HOLD": TaskState.QUEUED,
    "RESIZING": TaskState.RUNNING,
    "RESV_DEL_HOLD": TaskState.QUEUED,
    "REVOKED": TaskState.CANCELLED,
    "RUNNING": TaskState.RUNNING,
    "SIGNALING": TaskState.RUNNING,
    "SPECIAL_EXIT": TaskState.QUEUED,
    "STAGE_OUT": TaskState.RUNNING,
    "STOPPED": TaskState.RUNNING,
    "SUSPENDED": TaskState.RUNNING,
    "TIMEOUT": TaskState.TIMED_OUT,
    "UPDATE_DB": TaskState.RUNNING,
}
_TASK_ID = re.compile(
    r"(?P<job>\d+)"
    r"(?:_(?:(?P<task>\d+)|\[(?P<list>[\d,:-]+)(?:%\d+)?\]|(?P<cut>\[[\d,:%-]+(?:\.{3}\]?)?)))?"
    # A component of a heterogeneous job, a step, a member of a federation.
    r"(?:\+\d+)?(?:\.\w+(?:\+\d+)?)?(?:;[\w.-]+)?",
    re.ASCII,
)
# Steps, and components other than the first one, which runs the batch script.
_PART = re.compile(r"\.\w|\+0*[1-9]")
_SPAN = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_EXIT = re.compile(r"(\d+):(\d+)", re.ASCII)


def state(native: str) -> TaskState:
    """Return our state for Slurm's; a word that nobody knows is UNKNOWN, not an error."""
    words = native.split()
    word = words[0] if words else ""
    if word.endswith("+"):
        found = {known for name, known in _STATES.items() if name.startswith(word[:-1])}
        return found.pop() if len(found) == 1 else TaskState.UNKNOWN
    return _STATES.get(word, TaskState.UNKNOWN)


def exit_code(text: str) -> int | None:
    """Return the code of "3:0", or 128 + signal of "0:9" as a shell would; None if neither."""
    found = _EXIT.fullmatch(text)
    if found is None:
        return None
    code, signal = int(found[1]), int(found[2])
    return 128 + signal if signal else code


def parse_task_id(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Return the job and the array indices of an id; None stands for the whole job.

    Reads 123, 123_4, 123_[3-9%2], 123_[1,3,5-9:2], 123+0, 123.6, 123.batch and 123;cluster, and
    takes a list that Slurm has cut, 123_[1,4,...], for the whole job. Raises ValueError.
    """
    found = _TASK_ID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no Slurm job id")
    if found["task"] is not None:
        return found["job"], (int(found["task"]),)
    return found["job"], None if found["list"] is None else expand_indices(found["list"])


def is_part(text: str) -> bool:
    """Say whether an id names a step or a further component of a job, not the job itself."""
    return _PART.search(text.partition(";")[0]) is not None


def expand_indices(text: str) -> tuple[int, ...]:
    """Return the numbers of an index list such as 1,3,5-9 or 0-8:2; raises ValueError."""
    indices: list[int] = []
    for part in text.split(","):
        found = _SPAN.fullmatch(part)
        if found is None:
            raise ValueError(f"{text!r} is no list of array indices")
        first, last, step = found.groups()
        indices += range(int(first), int(last or first) + 1, int(step or 1))
    return tuple(indices)


def seconds(text: str) -> int | None:
    """Return the seconds of a time limit; None if there is none, or none that can be read.

    As sbatch reads them: D-HH[:MM[:SS]], HH:MM:SS, MM:SS, and a lone number of minutes.
    """
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    days, *clock = found.groups()
    given = [int(part) for part in clock if part is not None]
    # With days the first number is hours; without them up to two numbers begin with minutes.
    if days is None and len(given) < 3:
        given = [0, *given]
    hours, minutes, rest = [*given, 0, 0][:3]
    return (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + rest
