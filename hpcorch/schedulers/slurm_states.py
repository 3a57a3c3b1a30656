"""Slurm's job states and array indices, as squeue and sacct write them.

States: https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES. sacct adds to a state who
cancelled the job ("CANCELLED by 1000") and cuts it with a "+" when a column is too narrow.
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
    "FAILED": TaskState.FAILED,
    "NODE_FAIL": TaskState.FAILED,
    "OUT_OF_MEMORY": TaskState.FAILED,
    "PENDING": TaskState.QUEUED,
    "PREEMPTED": TaskState.CANCELLED,
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
}
_TASK_ID = re.compile(r"(\d+)(?:_(?:(\d+)|\[([\d,\-:]+)(?:%\d+)?\]))?(?:\+\d+)?(?:;\w+)?")


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
    code, colon, signal = text.partition(":")
    if not (code.isdigit() and colon and signal.isdigit()):
        return None
    return 128 + int(signal) if int(signal) else int(code)


def parse_task_id(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Return the job and the array indices of an id; None stands for a job that is no array.

    Reads 123, 123_4, 123_[3-9%2], 123_[1,3,5-9:2], 123+0 and 123;cluster. Raises ValueError.
    """
    found = _TASK_ID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no Slurm job id")
    if found[2] is not None:
        return found[1], (int(found[2]),)
    return found[1], None if found[3] is None else expand_indices(found[3])


def expand_indices(text: str) -> tuple[int, ...]:
    """Return the numbers of an index list such as 1,3,5-9 or 0-8:2."""
    indices: list[int] = []
    for part in text.split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        indices += range(int(first), int(last or first) + 1, int(step or 1))
    return tuple(indices)


def seconds(text: str) -> int | None:
    """Return the seconds of a time limit D-HH:MM:SS, HH:MM:SS or MM:SS; None if unlimited."""
    if not text or not text[0].isdigit():
        return None
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    # With days the first number is hours; without them a lone pair is minutes and seconds.
    while len(parts) < 3:
        parts = [*parts, 0] if dash else [0, *parts]
    hours, minutes, rest = parts
    return ((int(days) if dash else 0) * 24 + hours) * 3600 + minutes * 60 + rest
