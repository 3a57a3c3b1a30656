"""What every batch system looks like to the rest of hpcorch: text in, text out, nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from hpcorch.errors import InputError


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

    `timeout` is in seconds. With `own_locale` the program gets the caller's locale, which jobs
    inherit; else it speaks English, for a parser.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    own_locale: bool = False


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
        return self.job


@dataclass(frozen=True)
class JobRef:
    """A submitted job: its id, the unique token it was submitted with, its number of tasks.

    The tasks of a gang are one job to the scheduler, others a job array. `only` limits what is
    cancelled to these tasks of an array.
    """

    id: JobId
    token: str
    elements: int
    gang: bool = False
    only: tuple[int, ...] = ()


@dataclass(frozen=True)
class TaskStatus:
    """What one source says of one task; `native` is the scheduler's own word."""

    state: TaskState
    native: str = ""
    code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Options:
    """What a site says of its batch system; the defaults are those of a site that says nothing.

    `pbs_place` is how PBS gives a task a node of its own (see PbsScheduler), `command_timeout` how
    many seconds a command may take, `poll_floor` the shortest time in seconds between two queries.
    """

    pbs_place: str = "excl"
    command_timeout: float = 120.0
    poll_floor: float = 15.0


@dataclass(frozen=True)
class Resources:
    """What a job asks its batch system for. Empty and None mean: the system's own default.

    `elements` tasks of `nodes` nodes each; `walltime` is HH:MM:SS or D-HH:MM:SS; `memory` is
    megabytes on each node, which are asked for as `memory_style` says: for the node, or for each
    cpu; `features` is an expression of node features; `exclusive` asks for whole nodes;
    `warn_seconds` is how long before the walltime ends the script wants a signal; `extra` holds
    further options, a value of None making a flag.
    """

    name: str
    token: str
    elements: int = 1
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int | None = None
    walltime: str = ""
    queue: str = ""
    account: str = ""
    hosts: tuple[str, ...] = ()
    exclusive: bool = False
    max_running: int | None = None
    warn_seconds: int = 0
    extra: tuple[tuple[str, str | None], ...] = ()
    memory: int | None = None
    excluded_hosts: tuple[str, ...] = ()
    features: str = ""
    memory_style: str = "node"

    @property
    def memory_per_cpu(self) -> int | None:
        """Megabytes for each of the CPUs that the job asks for on a node, rounded up."""
        if self.memory is None:
            return None
        return -(-self.memory // (self.tasks_per_node * (self.cpus_per_task or 1)))


@dataclass(frozen=True)
class QueueLimits:
    """Limits of one queue or partition; None where there is none."""

    nodes: int | None = None
    walltime_seconds: int | None = None


@dataclass(frozen=True)
class Limits:
    """What a cluster accepts: the number of tasks of an array, and its queues by name."""

    array_size: int | None = None
    queues: Mapping[str, QueueLimits] = field(default_factory=dict)
    default_queue: str = ""


@dataclass(frozen=True)
class Submittable:
    """What a scheduler needs to accept a script: where it is, and what to call it."""

    name: str
    token: str
    script_path: str
    log_path: str
    is_array: bool


def refuse_twice(
    name: str, wanted: Iterable[tuple[str, str | None]], extra: Mapping[str, str | None]
) -> None:
    """Raise InputError when `extra` says otherwise what the job asks for already."""
    for key, value in wanted:
        if key in extra and extra[key] != value:
            raise InputError(
                f"batch_args of {name} holds {key!r}: the job asks for {value!r} there already",
                "say it once",
            )


def ranges(numbers: Iterable[int]) -> str:
    """Return sorted numbers as schedulers write them: (0, 1, 2, 5) gives "0-2,5"."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


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
    def is_batch(self) -> bool:
        """Whether jobs queue, and may ask for time, a queue or an account."""

    @property
    def is_remote(self) -> bool:
        """Whether tasks run on other machines than this one."""

    @property
    def poll_floor(self) -> float:
        """Shortest time in seconds between two queries."""

    @property
    def record_grace(self) -> float:
        """How long in seconds a task's own exit record may lag behind its leaving the queue."""

    def directives(self, resources: Resources) -> tuple[str, ...]:
        """The options of a request, one per line, as the script's header holds them."""

    def by_hand(self) -> str:
        """The command line that submits a script by hand."""

    def limits_commands(self) -> tuple[Command, ...]:
        """The calls that tell what the cluster accepts; none when there is nothing to ask."""

    def parse_limits(self, results: Sequence[Result]) -> Limits:
        """Limits from what limits_commands printed; what could not be told is left open."""

    def submit_command(self, job: Submittable) -> Command:
        """The call that submits a script."""

    def parse_submit(self, result: Result) -> JobId:
        """The id of the accepted job; raises CommandFailed, or SubmitAmbiguous if unknown."""

    def try_command(self, job: Submittable) -> Command | None:
        """The call that has a script checked without submitting it; None where there is none."""

    def parse_try(self, result: Result) -> str:
        """What the check said; raises CommandFailed when the script would be refused."""

    def find_command(self, name: str, token: str) -> Command:
        """The call that looks a job up by the name and token it was submitted with."""

    def parse_find(self, result: Result, token: str) -> JobId | None:
        """The id of the job found, None if there is none; raises CommandFailed."""

    def queue_command(self, jobs: Sequence[JobRef]) -> Command:
        """The one call that asks for the state of all `jobs`."""

    def parse_queue(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """The tasks that the queue knows; raises CommandFailed or ParseError."""

    def history_command(self, jobs: Sequence[JobRef]) -> Command | None:
        """The one call that asks the accounting about `jobs`; None where there is none."""

    def parse_history(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """The tasks that the accounting knows; empty when it is off."""

    def cancel_command(self, jobs: Sequence[JobRef], *, force: bool) -> Command:
        """The one call that cancels all `jobs`, or of each its tasks `only`.

        `force` kills what did not heed the first call.
        """

    def job_label(self, job: JobRef) -> str:
        """The id as the scheduler shows it to people, with the range of an array or of `only`."""
