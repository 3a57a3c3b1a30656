"""Jobs, their tasks, and the attributes that qstat shows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tests.fakebin.fakepbs.mom import Entry, Session
from tests.fakebin.fakepbs.request import Request
from tests.fakebin.fakepbs.show import SERVER, Attributes, comment_date, date

_SUBSTATES = {"Q": "10", "H": "20", "R": "42", "E": "51", "B": "70"}


class End(Enum):
    """Why PBS ended a task itself; its Exit_status then says so, whatever the script returned."""

    NONE = 0
    DELETED = 271
    FORCED = 265
    WALLTIME = -29


@dataclass
class Task:
    """A job, or one element of an array; `index` is None for a job that is no array."""

    index: int | None
    state: str = "Q"
    nodes: tuple[str, ...] = ()
    sessions: list[Session | Entry] = field(default_factory=list)
    started: float = 0.0
    ended: float = 0.0
    end: End = End.NONE
    asked_to_end: float = 0.0
    status: int | None = None
    comment: str = ""
    run_count: int = 0
    # The server has lost the true record, and shows one that it made up.
    forgotten: bool = False

    @property
    def over(self) -> bool:
        return self.state in "XF"


@dataclass
class Job:
    """A submission that was accepted."""

    number: int
    request: Request
    environ: Mapping[str, str]
    cwd: str
    user: str
    created: float
    tasks: list[Task]
    deleted: bool = False
    finished: float = 0.0

    @property
    def is_array(self) -> bool:
        return self.request.indices is not None

    @property
    def id(self) -> str:
        return f"{self.number}{'[]' if self.is_array else ''}.{SERVER}"

    def task_id(self, task: Task) -> str:
        return self.id if task.index is None else f"{self.number}[{task.index}].{SERVER}"

    @property
    def over(self) -> bool:
        return all(task.over for task in self.tasks)

    @property
    def state(self) -> str:
        """The state of the whole: an array has begun for as long as any of its tasks is there."""
        if not self.is_array:
            return self.tasks[0].state
        if self.finished:
            return "F"
        states = {task.state for task in self.tasks}
        return states.pop() if len(states) == 1 and states <= {"Q", "H"} else "B"

    def output(self, task: Task, kind: str) -> str:
        """Return where the output of a task goes: kind is o or e."""
        given = self.request.output if kind == "o" else self.request.error
        index = "" if task.index is None else str(task.index)
        if given:
            return given.replace("^array_index^", index)
        ending = f".{index}" if index else ""
        return f"{self.cwd}/{self.request.name}.{kind}{self.number}{ending}"

    def attributes(self, task: Task | None, *, history: bool) -> Attributes:
        """Return what `qstat -f` shows of a task, or of the array as a whole for None."""
        whole = task is None
        task = self.tasks[0] if task is None else task
        if not whole and task.forgotten:
            return self._made_up(history=history)
        shown = self.state if whole and self.is_array else task.state
        # With history the full record of a task that has ended is that of a finished job.
        shown = "F" if shown == "X" and history else shown
        request = self.request
        # A task of an array has a record of its own from its start on.
        own = not whole and task.index is not None and bool(task.started)
        used = [
            ("resources_used.ncpus", str(self._ncpus())),
            ("resources_used.walltime", "00:00:00"),
        ]
        facts = [
            ("Job_Name", request.name),
            ("Job_Owner", f"{self.user}@head.cluster.test"),
            *(used if task.ended and not whole else []),
            ("job_state", shown),
            ("queue", request.queue or "workq"),
            ("server", SERVER),
            *([] if own else [("Checkpoint", "u")]),
            ("ctime", date(self.created)),
            ("Error_Path", f"head.cluster.test:{self._path(task, 'e', whole=whole)}"),
            *(self._places(task) if task.nodes and not (whole and self.is_array) else []),
            *([] if own else [("Hold_Types", "u" if shown == "H" else "n")]),
            ("Join_Path", request.join),
            ("Keep_Files", request.keep),
            ("Mail_Points", "a"),
            ("mtime", date(task.ended or task.started or self.created)),
            ("Output_Path", f"head.cluster.test:{self._path(task, 'o', whole=whole)}"),
            ("Priority", "0"),
            ("qtime", date(self.created)),
            ("Rerunable", "True"),
            ("Resource_List.ncpus", str(self._ncpus())),
            ("Resource_List.nodect", str(len(request.chunks))),
            ("Resource_List.place", request.place),
            ("Resource_List.select", request.select),
        ]
        if request.walltime is not None:
            hours, rest = divmod(request.walltime, 3600)
            clock = f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
            facts.append(("Resource_List.walltime", clock))
        facts += [
            ("substate", self._substate(shown, task)),
            ("Variable_List", ",".join(f"{key}={value}" for key, value in self.environ.items())),
        ]
        comment = self._array_comment() if whole and self.is_array else task.comment
        facts += [("comment", comment)] if comment else []
        facts += [("etime", date(self.created))]
        if self.is_array and whole:
            facts += [("Submit_arguments", request.arguments), *self._array_facts()]
        else:
            facts += self._ended_facts(task)
        return [*facts, ("project", "_pbs_project_default"), ("Submit_Host", "head.cluster.test")]

    def _ncpus(self) -> int:
        return sum(chunk.ncpus for chunk in self.request.chunks)

    def _path(self, task: Task, kind: str, *, whole: bool) -> str:
        if not (whole and self.is_array):
            return self.output(task, kind)
        given = self.request.output if kind == "o" else self.request.error
        return given or f"{self.cwd}/{self.request.name}.{kind}{self.number}.^array_index^"

    def _places(self, task: Task) -> list[tuple[str, str]]:
        cpus = [chunk.ncpus for chunk in self.request.chunks]
        hosts = (
            f"{node}/0" + (f"*{count}" if count > 1 else "")
            for node, count in zip(task.nodes, cpus, strict=True)
        )
        vnodes = (f"({node}:ncpus={count})" for node, count in zip(task.nodes, cpus, strict=True))
        return [("exec_host", "+".join(hosts)), ("exec_vnode", "+".join(vnodes))]

    def _substate(self, shown: str, task: Task) -> str:
        if shown not in ("F", "X"):
            return _SUBSTATES[shown]
        if self.deleted or task.end in (End.DELETED, End.FORCED):
            return "91"
        return "92" if task.status == 0 else "93"

    def _array_comment(self) -> str:
        begun = min((task.started for task in self.tasks if task.started), default=0.0)
        if not begun:
            return self.tasks[0].comment
        ending = ""
        if self.finished:
            failed = any(task.status for task in self.tasks)
            ending = (
                " and terminated" if self.deleted else " and failed" if failed else " and finished"
            )
        return f"Job Array Began at {comment_date(begun)}{ending}"

    def _array_facts(self) -> list[tuple[str, str]]:
        count = dict.fromkeys("QREX", 0)
        for task in self.tasks:
            key = "X" if task.over else "Q" if task.state == "H" else task.state
            count[key] += 1
        waiting = [str(task.index) for task in self.tasks if task.state in "QH"]
        # A made-up code: it is not an aggregate of the tasks'.
        done = [("Exit_status", "1" if any(t.status for t in self.tasks) else "0")]
        return [
            *(done if self.finished else []),
            ("array", "True"),
            (
                "array_state_count",
                f"Queued:{count['Q']} Running:{count['R']} Exiting:{count['E']} "
                f"Expired:{count['X']}",
            ),
            ("array_indices_submitted", self.request.submitted_indices),
            ("array_indices_remaining", ",".join(waiting) or "-"),
        ]

    def _ended_facts(self, task: Task) -> list[tuple[str, str]]:
        facts = [("run_count", str(task.run_count))] if task.run_count else []
        if task.status is not None:
            facts += [("Stageout_status", "1"), ("Exit_status", str(task.status))]
        if task.index is None:
            return [*facts, ("Submit_arguments", self.request.arguments)]
        return [*facts, ("array_id", self.id), ("array_index", str(task.index))]

    def _made_up(self, *, history: bool) -> Attributes:
        return [
            ("Job_Name", self.request.name),
            ("Job_Owner", f"{self.user}@head.cluster.test"),
            ("job_state", "F" if history else "X"),
            ("queue", self.request.queue or "workq"),
            ("server", SERVER),
            ("substate", "70"),
            ("comment", "Subjob finished"),
            ("Exit_status", "1"),
        ]
