"""What every batch system looks like to the rest of hpcorch: text in, text out, nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class TaskState(str, Enum):
    """The state of one task; `str(state)` is the plain word."""

    NEW = "New"
    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    LOST = "Lost"
    UNKNOWN = "Unknown"

    def __str__(self) -> str:
        return self.value

    @property
    def terminal(self) -> bool:
        """Whether the task has ended for good."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        TaskState.COMPLETED,
        TaskState.CANCELLED,
        TaskState.FAILED,
        TaskState.TIMED_OUT,
        TaskState.LOST,
    }
)


@dataclass(frozen=True)
class Command:
    """A program call: `argv` (never a shell string), text for standard input, extra environment.

    `timeout` is in seconds.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0


@dataclass(frozen=True)
class Result:
    """What a finished program left: exit code (negative: killed by that signal) and texts."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class JobId:
    """A job as its scheduler names it; `cluster` is the server or federation member, if any."""

    job: str
    cluster: str = ""

    def __str__(self) -> str:
        return f"{self.job}.{self.cluster}" if self.cluster else self.job


@dataclass(frozen=True)
class JobRef:
    """A submitted job: its id, the unique token it was submitted with, its number of tasks."""

    id: JobId
    token: str
    elements: int


@dataclass(frozen=True)
class TaskStatus:
    """What one source says of one task; `native` is the scheduler's own word."""

    state: TaskState
    native: str = ""
    code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Submittable:
    """What a scheduler needs to accept a script: where it is, and what to call it."""

    name: str
    token: str
    script_path: str
    log_path: str
    elements: int


# By (job, element); an element that the queue does not list is absent.
QueueReport = Mapping[tuple[JobId, int], TaskStatus]


class Scheduler(Protocol):
    """Builders of commands and parsers of what they print. Implementations do no I/O."""

    @property
    def name(self) -> str:
        """The word that selects it: local, slurm, pbs."""

    @property
    def script_name(self) -> str:
        """File name of its scripts in a run directory."""

    @property
    def poll_floor(self) -> float:
        """Shortest time in seconds between two queries."""

    @property
    def record_grace(self) -> float:
        """How long in seconds a task's own exit record may lag behind its leaving the queue."""

    def submit_command(self, job: Submittable) -> Command:
        """The call that submits a script."""

    def parse_submit(self, result: Result) -> JobId:
        """The id of the accepted job; raises CommandFailed, or SubmitAmbiguous if unknown."""

    def find_command(self, token: str) -> Command:
        """The call that looks a job up by the token it was submitted with."""

    def parse_find(self, result: Result) -> JobId | None:
        """The id of the job found, None if there is none; raises CommandFailed."""

    def queue_command(self, jobs: Sequence[JobRef]) -> Command:
        """The one call that asks for the state of all `jobs`."""

    def parse_queue(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """The tasks that the queue knows; raises CommandFailed or ParseError."""

    def cancel_command(self, jobs: Sequence[JobRef], *, force: bool) -> Command:
        """The one call that cancels all `jobs`; `force` kills what did not heed the first."""

    def job_label(self, job: JobRef) -> str:
        """The id as the scheduler shows it to people, array range included."""
