"""The machine at hand as a batch system: `hpcorch-local` is its sbatch, squeue and scancel."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpcorch.errors import CommandFailed, ParseError, SubmitAmbiguous
from hpcorch.schedulers.base import (
    Command,
    JobId,
    JobRef,
    Limits,
    QueueReport,
    Resources,
    Result,
    Submittable,
    TaskState,
    TaskStatus,
    ranges,
)

_TASK_ROW = re.compile(r"(\d+)_(\d+) RUNNING")
_SUPERVISOR_ROW = re.compile(r"(\d+) SUPERVISOR")


class LocalScheduler:
    """Runs job scripts as background processes in a session of their own.

    `tool` is the path of the bash script that submits, lists and cancels.
    """

    name = "local"
    script_name = "job.sh"
    is_batch = False
    is_remote = False
    # What is said of a task that is not listed while its supervisor lives: it starts or ends now.
    supervised_state = TaskState.QUEUED
    poll_floor = 0.2
    record_grace = 0.0

    def __init__(self, tool: str) -> None:
        self._tool = tool

    def _call(self, *words: str) -> Command:
        # With -p nothing that the environment has for bash, such as BASH_ENV, changes what it does.
        return Command(("bash", "-p", self._tool, *words), timeout=30.0)

    def directives(self, resources: Resources) -> tuple[str, ...]:
        """No script header says anything to this scheduler."""
        del resources
        return ()

    def by_hand(self) -> str:
        """The script runs all its tasks itself."""
        return "bash THIS_FILE"

    def limits_commands(self) -> tuple[Command, ...]:
        """There is nothing to ask."""
        return ()

    def parse_limits(self, results: Sequence[Result]) -> Limits:
        """There are none."""
        del results
        return Limits()

    def submit_command(self, job: Submittable) -> Command:
        """The call that starts the script detached and prints its process id."""
        return self._call("submit", job.token, job.script_path, job.log_path)

    def parse_submit(self, result: Result) -> JobId:
        """The process id of the job's supervisor."""
        if result.code != 0:
            raise CommandFailed(f"the job could not be started: {_last_line(result)}")
        text = result.out.strip()
        if not text.isdigit():
            raise SubmitAmbiguous(f"the local submission printed {text!r} instead of a process id")
        return JobId(text)

    def try_command(self, job: Submittable) -> Command | None:
        """There is no such call."""
        del job
        return None

    def parse_try(self, result: Result) -> str:
        """Return nothing: there is no such call."""
        del result
        return ""

    def find_command(self, name: str, token: str) -> Command:
        """The call that looks for a live job with this token."""
        del name
        return self._call("find", token)

    def parse_find(self, result: Result, token: str) -> JobId | None:
        """The job that was found, if any."""
        del token
        if result.code != 0:
            raise CommandFailed(f"looking for a job failed: {_last_line(result)}")
        text = result.out.strip()
        return JobId(text.splitlines()[0]) if text else None

    def queue_command(self, jobs: Sequence[JobRef]) -> Command:
        """The call that lists the live tasks of `jobs`."""
        return self._call("queue", *(f"{ref.id.job}:{ref.token}" for ref in jobs))

    def parse_queue(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """Rows `PID_INDEX RUNNING` of live tasks and `PID SUPERVISOR` of live jobs."""
        if result.code != 0:
            raise CommandFailed(f"listing local jobs failed: {_last_line(result)}")
        known = {ref.id.job: ref for ref in jobs}
        report: dict[tuple[JobId, int], TaskStatus] = {}
        supervised: list[JobRef] = []
        for line in result.out.splitlines():
            task, supervisor = _TASK_ROW.fullmatch(line), _SUPERVISOR_ROW.fullmatch(line)
            if task is not None and task[1] in known:
                report[JobId(task[1]), int(task[2])] = TaskStatus(TaskState.RUNNING, "RUNNING")
            elif supervisor is not None and supervisor[1] in known:
                supervised.append(known[supervisor[1]])
            else:
                raise ParseError(f"unexpected line in the list of local jobs: {line!r}")
        for ref in supervised:
            for index in range(ref.elements):
                report.setdefault((ref.id, index), TaskStatus(self.supervised_state, "SUPERVISOR"))
        return report

    def history_command(self, jobs: Sequence[JobRef]) -> Command | None:
        """There is no accounting; the tasks' own records tell."""
        del jobs
        return None

    def parse_history(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """There is no accounting."""
        del result, jobs
        return {}

    def cancel_command(self, jobs: Sequence[JobRef], *, force: bool) -> Command:
        """SIGTERM to the job's tasks, or with `force` SIGKILL to all processes of its session."""
        signal = "KILL" if force else "TERM"
        words = (f"{ref.id.job}:{ref.token}{_only(ref)}" for ref in jobs)
        return self._call("cancel", signal, *words)

    def job_label(self, job: JobRef) -> str:
        """The process id, with the array range when there is one."""
        if job.only and job.elements > 1:
            return f"{job.id}_{ranges(job.only)}"
        array = job.elements > 1 and not job.gang
        return f"{job.id}_[0-{job.elements - 1}]" if array else str(job.id)


def _only(ref: JobRef) -> str:
    """Return the tasks to cancel as the tool reads them: nothing for all."""
    return f":{','.join(map(str, ref.only))}" if ref.only else ""


def _last_line(result: Result) -> str:
    lines = (result.err or result.out).strip().splitlines()
    return lines[-1] if lines else f"exit code {result.code}"
