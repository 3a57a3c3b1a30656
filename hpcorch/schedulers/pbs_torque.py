"""Torque: PBS with other words for nodes and arrays, and with another memory of what has ended.

The qsub, qstat and qdel that Slurm brings speak this dialect too, as far as they go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from hpcorch.errors import InputError, ParseError
from hpcorch.schedulers.base import (
    Command,
    JobId,
    JobRef,
    QueueReport,
    Resources,
    Result,
    Submittable,
    TaskState,
    TaskStatus,
)
from hpcorch.schedulers.pbs import PbsScheduler, directive, job_name, options, refuse_beside
from hpcorch.schedulers.pbs_states import clock, exit_code

# The server's name is missing in what Slurm's qsub prints.
_ACCEPTED = re.compile(r"\d+(?:\[\])?(?:\.[A-Za-z0-9][\w.-]*)?", re.ASCII)
# Slurm's qstat has tabs where Torque has blanks.
_RECORD = re.compile(r"^Job Id:[ \t]+(\S+)$", re.MULTILINE)
_FACT = re.compile(r"^[ \t]+(job_state|exit_status) = (\S+)$", re.MULTILINE)
_UNKNOWN = re.compile(r"^qstat: Unknown Job Id (?:Error )?(\S+)", re.MULTILINE)
_STATES = {
    "E": TaskState.RUNNING,
    "H": TaskState.QUEUED,
    "Q": TaskState.QUEUED,
    "R": TaskState.RUNNING,
    "S": TaskState.RUNNING,
    "T": TaskState.QUEUED,
    "W": TaskState.QUEUED,
}
# Ended, and kept for some minutes.
_ENDED = ("C", "F")


class TorqueScheduler(PbsScheduler):
    """Job scripts in Torque's dialect; which nodes a task has for itself is for the site to say."""

    name = "torque"

    def directives(self, resources: Resources) -> tuple[str, ...]:
        """Lines for `#PBS`: `nodes=N:ppn=M`, and `-t` for arrays."""
        if resources.excluded_hosts:
            raise InputError(
                f"excluded_hosts of {resources.name} is {','.join(resources.excluded_hosts)!r}: "
                "Torque cannot be asked for it"
            )
        extra = dict(resources.extra)
        wanted: list[tuple[str, str | None]] = [("N", job_name(resources.name, resources.token))]
        if resources.elements > 1:
            throttle = f"%{resources.max_running}" if resources.max_running else ""
            wanted.append(("t", f"0-{resources.elements - 1}{throttle}"))
        refuse_beside(replace(resources, memory=None), "nodes", extra)
        wanted.append(("l", f"nodes={extra.pop('nodes', None) or _nodes(resources)}"))
        if resources.walltime:
            wanted.append(("l", f"walltime={clock(resources.walltime)}"))
        if resources.memory is not None:
            wanted.append(("l", _memory(resources, resources.memory)))
        if resources.queue:
            wanted.append(("q", resources.queue))
        if resources.account:
            wanted.append(("A", resources.account))
        wanted += [("j", "oe"), ("S", "/bin/bash")]
        return tuple(directive(*item) for item in (*wanted, *options(resources, wanted, extra)))

    def submit_command(self, job: Submittable) -> Command:
        """`qsub`; Torque adds the number of a task to the name of its output file itself."""
        output = f"{job.log_path.removesuffix('.log')}.{job.token}.log"
        return Command(("qsub", "-o", output, job.script_path), timeout=self._timeout)

    def parse_submit(self, result: Result) -> JobId:
        """The last line that is an id, with its server or without."""
        lines = [line.strip() for line in result.out.splitlines()]
        found = [line for line in lines if _ACCEPTED.fullmatch(line)]
        if found and result.code == 0:
            return JobId(found[-1])
        # Slurm's qsub complains on standard output.
        told = result if result.err.strip() else replace(result, out="", err=result.out)
        return super().parse_submit(told)

    def queue_command(self, jobs: Sequence[JobRef]) -> Command:
        """One qstat for all jobs; `-t` is there for arrays only, since Slurm's does not know it."""
        arrays = any("[]" in ref.id.job for ref in jobs)
        options = ("-t", "-f") if arrays else ("-f",)
        return Command(("qstat", *options, *(ref.id.job for ref in jobs)), timeout=self._timeout)

    def parse_queue(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """The tasks that are shown; of those that have ended their own records tell more."""
        states = _shown(result.out)
        unknown = set(_UNKNOWN.findall(result.err))
        report: dict[tuple[JobId, int], TaskStatus] = {}
        for ref in jobs:
            own = _tasks(ref, states)
            if not own and ref.id.job not in unknown and ref.id.job not in states:
                raise ParseError(f"qstat says nothing of the job {ref.id}: exit code {result.code}")
            report.update({(ref.id, index): status for index, status in own.items()})
        return report

    def history_command(self, jobs: Sequence[JobRef]) -> Command | None:
        """There is none: what has ended is shown for some minutes, then forgotten."""
        del jobs
        return None

    def cancel_command(self, jobs: Sequence[JobRef], *, force: bool) -> Command:
        """The same call twice: only administrators may do more."""
        del force
        return Command(("qdel", *(ref.id.job for ref in jobs)), timeout=self._timeout)


def _memory(resources: Resources, megabytes: int) -> str:
    """Return the memory of each process, or of the whole job: Torque counts none by nodes."""
    if resources.memory_style == "cpu":
        return f"pmem={resources.memory_per_cpu}mb"
    return f"mem={megabytes * resources.nodes}mb"


def _nodes(resources: Resources) -> str:
    processors = resources.tasks_per_node * (resources.cpus_per_task or 1)
    features = f":{resources.features.replace('&', ':')}" if resources.features else ""
    if not resources.hosts:
        return f"{resources.nodes}:ppn={processors}{features}"
    if len(resources.hosts) != resources.nodes:
        raise InputError(
            f"host_list of {resources.name} has {len(resources.hosts)} hosts: PBS needs one for "
            f"each of the {resources.nodes} nodes of a job"
        )
    return "+".join(f"{host}:ppn={processors}{features}" for host in resources.hosts)


def _shown(out: str) -> dict[str, TaskStatus | None]:
    """Return the state of everything that is shown by its id; None if it ended without a code."""
    _, *parts = _RECORD.split(out)
    found: dict[str, TaskStatus | None] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        facts = dict(_FACT.findall(text))
        native = facts.get("job_state", "")
        if native not in _ENDED:
            found[name] = TaskStatus(_STATES.get(native, TaskState.UNKNOWN), native)
            continue
        status = facts.get("exit_status", "")
        code = int(status) if re.fullmatch(r"-?\d+", status, re.ASCII) else None
        ended = TaskState.COMPLETED if code == 0 else TaskState.FAILED
        found[name] = None if code is None else TaskStatus(ended, native, exit_code(code))
    return found


def _tasks(ref: JobRef, states: dict[str, TaskStatus | None]) -> dict[int, TaskStatus]:
    number, bracket, server = ref.id.job.partition("[]")
    whole = states.get(ref.id.job)
    found = {
        index: states.get(f"{number}[{index}]{server}", whole) if bracket else whole
        for index in range(ref.elements)
    }
    return {index: status for index, status in found.items() if status is not None}
