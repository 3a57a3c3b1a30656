"""Slurm: sbatch, squeue, sacct and scancel as text that goes out and text that comes back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hpcorch.errors import CommandFailed, ParseError, SubmitAmbiguous
from hpcorch.schedulers.base import (
    Command,
    JobId,
    JobRef,
    Limits,
    QueueLimits,
    QueueReport,
    Resources,
    Result,
    Submittable,
    TaskStatus,
)
from hpcorch.schedulers.slurm_states import exit_code, parse_task_id, seconds, state

# The controller answers within seconds or not at all: clients give up after 9 to 18 s themselves.
_TIMEOUT = 120.0
# These words come from clients that lost the connection after the controller may have accepted.
_LOST_CONTACT = re.compile(
    r"timed out|connect failure|Unexpected message|Zero Bytes|Connection (reset|refused)|"
    r"Transport endpoint|Communication connection failure",
    re.IGNORECASE,
)
_TOKEN_MARK = "hpcorch:"


class SlurmScheduler:
    """Job scripts as Slurm batch jobs and job arrays."""

    name = "slurm"
    script_name = "job.sbatch"
    is_batch = True
    is_remote = True
    poll_floor = 15.0
    # A record may lag behind the queue by what a network file system caches.
    record_grace = 15.0

    def directives(self, resources: Resources) -> tuple[str, ...]:
        """Lines for `#SBATCH`; what was not asked for is left to the site's defaults."""
        wanted: list[tuple[str, str | None]] = [
            ("job-name", resources.name),
            ("comment", _TOKEN_MARK + resources.token),
            ("nodes", str(resources.nodes)),
            ("ntasks-per-node", str(resources.tasks_per_node)),
        ]
        if resources.elements > 1:
            throttle = f"%{resources.max_running}" if resources.max_running else ""
            wanted.append(("array", f"0-{resources.elements - 1}{throttle}"))
        optional = (
            ("cpus-per-task", resources.cpus_per_task),
            ("time", resources.walltime),
            ("partition", resources.queue),
            ("account", resources.account),
            ("nodelist", ",".join(resources.hosts)),
        )
        wanted += [(key, str(value)) for key, value in optional if value]
        if resources.exclusive:
            wanted.append(("exclusive", None))
        if resources.warn_seconds:
            wanted.append(("signal", f"B:USR1@{resources.warn_seconds}"))
        return tuple(_directive(key, value) for key, value in (*wanted, *resources.extra))

    def by_hand(self) -> str:
        """The sbatch call."""
        return "sbatch THIS_FILE"

    def limits_commands(self) -> tuple[Command, ...]:
        """Two calls: the configuration and the partitions."""
        return (
            Command(("scontrol", "show", "config"), timeout=_TIMEOUT),
            Command(("sinfo", "-h", "-o", "%P|%l|%D|%s"), timeout=_TIMEOUT),
        )

    def parse_limits(self, results: Sequence[Result]) -> Limits:
        """MaxArraySize, and each partition's number of nodes and longest walltime."""
        config, partitions = results
        size = re.search(r"^MaxArraySize\s*=\s*(\d+)$", config.out, re.MULTILINE)
        queues: dict[str, QueueLimits] = {}
        default = ""
        for line in partitions.out.splitlines():
            name, walltime, nodes, _ = (*line.split("|"), "", "", "", "")[:4]
            if name.endswith("*"):
                name = default = name[:-1]
            known = queues.get(name, QueueLimits(0, seconds(walltime)))
            # A partition has one line for each state of its nodes.
            count = (known.nodes or 0) + (int(nodes) if nodes.isdigit() else 0)
            queues[name] = QueueLimits(count, known.walltime_seconds)
        return Limits(int(size[1]) if size else None, queues, default)

    def submit_command(self, job: Submittable) -> Command:
        """`sbatch --parsable`; Slurm's own messages go to the run directory."""
        suffix = ".%A_%a.log" if job.is_array else ".%j.log"
        pattern = job.log_path.replace("%", "%%").removesuffix(".log") + suffix
        return Command(
            ("sbatch", "--parsable", f"--output={pattern}", job.script_path), timeout=_TIMEOUT
        )

    def parse_submit(self, result: Result) -> JobId:
        """The last line of standard output, `ID` or `ID;cluster`; wrappers may print before it."""
        if result.code != 0:
            message = _message(result)
            if _LOST_CONTACT.search(result.err) and "Unable to contact" not in result.err:
                raise SubmitAmbiguous(f"sbatch broke off: {message}")
            raise CommandFailed(f"sbatch refused the job: {message}")
        lines = result.out.strip().splitlines()
        found = re.fullmatch(r"(\d+)(?:;(\S+))?", lines[-1].strip()) if lines else None
        if found is None:
            raise SubmitAmbiguous(f"sbatch printed no job id but {result.out.strip()[-200:]!r}")
        return JobId(found[1], found[2] or "")

    def find_command(self, token: str) -> Command:
        """All jobs of this user with their comments, where the token is."""
        del token
        return Command(("squeue", "--me", "-h", "-t", "all", "-o", "%F|%k"), timeout=_TIMEOUT)

    def parse_find(self, result: Result, token: str) -> JobId | None:
        """The job whose comment is the token that was looked for."""
        if result.code != 0:
            raise CommandFailed(f"squeue failed: {_message(result)}")
        for line in result.out.splitlines():
            job, _, comment = line.partition("|")
            if comment == _TOKEN_MARK + token:
                return JobId(job)
        return None

    def queue_command(self, jobs: Sequence[JobRef]) -> Command:
        """One squeue for all jobs, one line per task, those that ended a moment ago included."""
        # With two ids an unknown one is no error, so a single one is named twice.
        ids = [ref.id.job for ref in jobs]
        listed = ",".join(ids if len(ids) > 1 else ids * 2)
        fields = "%F|%K|%T|%r"
        return Command(
            ("squeue", "-h", "-r", "-t", "all", "-j", listed, "-o", fields, *_clusters(jobs)),
            timeout=_TIMEOUT,
        )

    def parse_queue(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """Lines `job|index|STATE|reason`; an index of N/A is a job without an array."""
        if result.code != 0:
            if "Invalid job id specified" in result.err:
                return {}
            raise CommandFailed(f"squeue failed: {_message(result)}")
        known = {ref.id.job: ref for ref in jobs}
        report: dict[tuple[JobId, int], TaskStatus] = {}
        for line in result.out.splitlines():
            if line.startswith("CLUSTER:"):
                continue
            fields = line.split("|", 3)
            if len(fields) != 4:
                raise ParseError(f"unexpected line from squeue: {line!r}")
            job, index, native, reason = fields
            if job not in known:
                continue
            status = TaskStatus(state(native), native, reason="" if reason == "None" else reason)
            for number in _indices(index, known[job]):
                report.setdefault((known[job].id, number), status)
        return report

    def history_command(self, jobs: Sequence[JobRef]) -> Command | None:
        """One sacct for all jobs; without a start time it would forget them at midnight."""
        listed = ",".join(ref.id.job for ref in jobs)
        fields = "jobid,state,exitcode"
        since = ("-S", "now-30days")
        return Command(
            ("sacct", "-X", "-n", "-P", *since, "-j", listed, "-o", fields, *_clusters(jobs)),
            timeout=_TIMEOUT,
        )

    def parse_history(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """Lines `id|STATE|code:signal`; nothing when accounting is off."""
        if result.code != 0:
            if "accounting storage is disabled" in result.err:
                return {}
            raise CommandFailed(f"sacct failed: {_message(result)}")
        known = {ref.id.job: ref for ref in jobs}
        report: dict[tuple[JobId, int], TaskStatus] = {}
        for line in result.out.splitlines():
            try:
                label, native, code = line.split("|")
                job, indices = parse_task_id(label)
            except ValueError as error:
                raise ParseError(f"unexpected line from sacct: {line!r}") from error
            if job not in known:
                continue
            status = TaskStatus(state(native), native, exit_code(code))
            everywhere = range(known[job].elements)
            # A task's own line comes before the one that sums up those that never started.
            for number in everywhere if indices is None else indices:
                report.setdefault((known[job].id, number), status)
        return report

    def cancel_command(self, jobs: Sequence[JobRef], *, force: bool) -> Command:
        """Ends with SIGTERM, later SIGKILL; with `force` SIGKILL at once."""
        options = ("--signal=KILL", "--full") if force else ()
        return Command(
            ("scancel", *options, *_clusters(jobs), *(ref.id.job for ref in jobs)),
            timeout=_TIMEOUT,
        )

    def job_label(self, job: JobRef) -> str:
        """The id, with the array range when there is one."""
        array = job.elements > 1 and not job.gang
        return f"{job.id}_[0-{job.elements - 1}]" if array else str(job.id)


def _directive(key: str, value: str | None) -> str:
    """Return one option; Slurm reads quotes and backslashes there as a shell would."""
    if value is None:
        return f"--{key}"
    if re.fullmatch(r"[\w@%+=:,./-]+", value, re.ASCII):
        return f"--{key}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'--{key}="{escaped}"'


def _indices(text: str, job: JobRef) -> Iterable[int]:
    if text.isdigit():
        return (int(text),)
    # The whole job: no array, or the pending rest of one that squeue has folded together.
    return range(job.elements)


def _clusters(jobs: Sequence[JobRef]) -> tuple[str, ...]:
    names = sorted({ref.id.cluster for ref in jobs if ref.id.cluster})
    return ("-M", ",".join(names)) if names else ()


def _message(result: Result) -> str:
    lines = (result.err or result.out).strip().splitlines()
    return lines[-1] if lines else f"exit code {result.code}"
