"""Slurm: sbatch, squeue, sacct and scancel as text that goes out and text that comes back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from hpcorch.errors import CommandFailed, InputError, ParseError, SubmitAmbiguous
from hpcorch.schedulers.base import (
    Command,
    JobId,
    JobRef,
    Limits,
    Options,
    QueueLimits,
    QueueReport,
    Resources,
    Result,
    Submittable,
    TaskStatus,
    ranges,
    refuse_twice,
)
from hpcorch.schedulers.slurm_states import (
    exit_code,
    expand_indices,
    is_part,
    parse_task_id,
    seconds,
    state,
)

# These words come from clients that lost the connection after the controller may have accepted.
_LOST_CONTACT = re.compile(
    r"timed out|(send|receive|shutdown) failure|connection failure|Unexpected (missing|message)|"
    r"Zero Bytes|zero length message|message length|incomplete packet|Header lengths|"
    r"entire message|Connection (reset|refused)|Transport endpoint|Broken pipe",
    re.IGNORECASE,
)
_ACCEPTED = re.compile(r"(?:Submitted batch job )?(\d+)(?:(?:;| on cluster )(\S+))?", re.ASCII)
# Every message begins with it.
_SPEAKER = re.compile(r"^\w+: (?:error|fatal): ")
_USAGE_HINT = re.compile(r'^Try "\w+ --help" for more information$')
# Else lists of array indices end with "..." after 64 characters.
_WHOLE_LISTS = {"SLURM_BITSTR_LEN": "0"}
_TOKEN_MARK = "hpcorch:"
_NO_SITE = Options()
_OWN_OPTIONS = frozenset({"array", "job-name", "output", "error", "parsable", "wait", "signal"})
_LONG = {
    **{"a": "array", "A": "account", "c": "cpus-per-task", "C": "constraint", "e": "error"},
    **{"J": "job-name", "N": "nodes", "o": "output", "p": "partition", "t": "time"},
    **{"w": "nodelist", "W": "wait", "x": "exclude"},
}


class SlurmScheduler:
    """Job scripts as Slurm batch jobs and job arrays."""

    name = "slurm"
    script_name = "job.sbatch"
    is_batch = True
    is_remote = True
    # A record may lag behind the queue by what a network file system caches.
    record_grace = 15.0

    def __init__(self, options: Options = _NO_SITE) -> None:
        # The controller answers within seconds or not at all: clients give up after 9 to 18 s.
        self._timeout = options.command_timeout
        self.poll_floor = options.poll_floor

    def directives(self, resources: Resources) -> tuple[str, ...]:
        """Lines for `#SBATCH`; what was not asked for is left to the site's defaults."""
        extra = {_LONG.get(key, key): value for key, value in resources.extra}
        for key in _OWN_OPTIONS & extra.keys():
            raise InputError(f"batch_args holds {key!r}: hpcorch sets it itself")
        # The token stands first, so that a comment of the user's does not hide the job.
        comment = " ".join(filter(None, (_TOKEN_MARK + resources.token, extra.pop("comment", ""))))
        wanted: list[tuple[str, str | None]] = [
            ("job-name", resources.name),
            ("comment", comment),
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
            ("exclude", ",".join(resources.excluded_hosts)),
            _memory(resources),
            ("constraint", resources.features),
        )
        wanted += [(key, str(value)) for key, value in optional if value]
        if resources.exclusive:
            wanted.append(("exclusive", None))
        if resources.warn_seconds:
            wanted.append(("signal", f"B:USR1@{resources.warn_seconds}"))
        refuse_twice(resources.name, wanted, extra)
        return tuple(_directive(key, value) for key, value in (*wanted, *extra.items()))

    def by_hand(self) -> str:
        """The sbatch call."""
        return "sbatch THIS_FILE"

    def limits_commands(self) -> tuple[Command, ...]:
        """Two calls: the configuration and the partitions."""
        return (
            Command(("scontrol", "show", "config"), timeout=self._timeout),
            # Hidden partitions accept jobs too; without --noconvert 1024 nodes are 1K.
            Command(
                ("sinfo", "-h", "--all", "--noconvert", "-o", "%P|%l|%D|%s"), timeout=self._timeout
            ),
        )

    def parse_limits(self, results: Sequence[Result]) -> Limits:
        """MaxArraySize, and each partition's nodes for one job and longest walltime."""
        config, partitions = results
        size = re.search(r"^MaxArraySize\s*=\s*(\d+)$", config.out, re.MULTILINE)
        queues: dict[str, QueueLimits] = {}
        nodes: dict[str, int | None] = {}
        default = ""
        for line in partitions.out.splitlines():
            name, walltime, count, job_size = (*line.split("|"), "", "", "", "")[:4]
            if name.endswith("*"):
                name = default = name[:-1]
            if not name or not count:
                continue
            # A partition has one line for each kind of nodes.
            nodes[name] = _sum(nodes.get(name, 0), _number(count))
            most = [limit for limit in (nodes[name], _largest(job_size)) if limit is not None]
            queues[name] = QueueLimits(min(most, default=None), seconds(walltime))
        return Limits(int(size[1]) if size else None, queues, default)

    def submit_command(self, job: Submittable) -> Command:
        """`sbatch --parsable`; Slurm's own messages go to the run directory."""
        return Command(
            ("sbatch", "--parsable", *_output(job), job.script_path), timeout=self._timeout
        )

    def parse_submit(self, result: Result) -> JobId:
        """The last line of standard output, `ID` or `ID;cluster`; wrappers may print before it."""
        lines = result.out.strip().splitlines()
        found = _ACCEPTED.fullmatch(lines[-1].strip()) if lines else None
        # Ids are printed after acceptance only; a silent exit code is the job's own (--wait).
        if found is not None and (result.code == 0 or not result.err.strip()):
            return JobId(found[1], found[2] or "")
        if result.code == 0:
            raise SubmitAmbiguous(f"sbatch printed no job id but {result.out.strip()[-200:]!r}")
        message = _message(result)
        if found is not None or result.code < 0 or _LOST_CONTACT.search(result.err):
            raise SubmitAmbiguous(f"sbatch broke off: {message}")
        raise CommandFailed(f"sbatch refused the job: {message}")

    def try_command(self, job: Submittable) -> Command | None:
        """`sbatch --test-only`: it tells when and where the job could start."""
        return Command(("sbatch", "--test-only", job.script_path), timeout=self._timeout)

    def parse_try(self, result: Result) -> str:
        """Return sbatch's line, which it prints on standard error."""
        message = _message(result).removeprefix("sbatch: ")
        if result.code:
            raise CommandFailed(f"sbatch would refuse the job: {message}")
        return message

    def find_command(self, name: str, token: str) -> Command:
        """All jobs of this user with their comments, where the token is."""
        del name, token
        return Command(("squeue", "--me", "-h", "-t", "all", "-o", "%F|%k"), timeout=self._timeout)

    def parse_find(self, result: Result, token: str) -> JobId | None:
        """The job whose comment is the token that was looked for."""
        if result.code != 0:
            raise CommandFailed(f"squeue failed: {_message(result)}")
        for cluster, line in _by_cluster(result.out):
            job, _, comment = line.partition("|")
            if comment.split(" ", 1)[0] == _TOKEN_MARK + token:
                return JobId(job, cluster)
        return None

    def queue_command(self, jobs: Sequence[JobRef]) -> Command:
        """One squeue for all jobs, one line per task, those that ended a moment ago included."""
        # With two ids an unknown one is no error, so a single one is named twice.
        ids = [ref.id.job for ref in jobs]
        listed = ",".join(ids if len(ids) > 1 else ids * 2)
        fields = "%F|%K|%T|%r"
        return Command(
            ("squeue", "-h", "-r", "-t", "all", "-j", listed, "-o", fields, *_clusters(jobs)),
            env=_WHOLE_LISTS,
            timeout=self._timeout,
        )

    def parse_queue(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """Lines `job|index|STATE|reason`; an index of N/A is a job without an array."""
        if result.code != 0:
            if "Invalid job id specified" in result.err:
                return {}
            raise CommandFailed(f"squeue failed: {_message(result)}")
        known = _by_job(jobs)
        folded: dict[tuple[JobId, int], TaskStatus] = {}
        own: dict[tuple[JobId, int], TaskStatus] = {}
        for cluster, line in _by_cluster(result.out):
            fields = line.split("|", 3)
            if len(fields) != 4:
                raise ParseError(f"unexpected line from squeue: {line!r}")
            job, index, native, reason = fields
            ref = _find(known, job, cluster)
            if ref is None:
                continue
            status = TaskStatus(state(native), native, reason="" if reason == "None" else reason)
            if index.isdecimal():
                own[ref.id, int(index)] = status
            else:
                folded.update({(ref.id, number): status for number in _indices(index, ref)})
        # Tasks that were cancelled while pending are one line, which may come first.
        return {**folded, **own}

    def history_command(self, jobs: Sequence[JobRef]) -> Command | None:
        """One sacct for all jobs; without a start time it would forget them at midnight."""
        listed = ",".join(ref.id.job for ref in jobs)
        fields = "jobid,state,exitcode"
        since = ("-S", "now-30days")
        return Command(
            ("sacct", "-X", "-n", "-P", *since, "-j", listed, "-o", fields, *_clusters(jobs)),
            env=_WHOLE_LISTS,
            timeout=self._timeout,
        )

    def parse_history(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """Lines `id|STATE|code:signal`; nothing when accounting is off."""
        if result.code != 0:
            if "accounting storage is disabled" in result.err:
                return {}
            raise CommandFailed(f"sacct failed: {_message(result)}")
        known = _by_job(jobs)
        folded: dict[tuple[JobId, int], TaskStatus] = {}
        own: dict[tuple[JobId, int], TaskStatus] = {}
        for line in filter(str.strip, result.out.splitlines()):
            try:
                label, native, code = line.split("|")
                job, indices = parse_task_id(label)
            except ValueError as error:
                raise ParseError(f"unexpected line from sacct: {line!r}") from error
            ref = _find(known, job, "")
            if ref is None or is_part(label):
                continue
            current = state(native)
            status = TaskStatus(current, native, exit_code(code) if current.terminal else None)
            numbers = range(ref.elements) if indices is None else indices
            tasks = folded if indices is None or "[" in label else own
            tasks.update({(ref.id, number): status for number in numbers})
        # The line of those that never started still counts some that did.
        return {**folded, **own}

    def cancel_command(self, jobs: Sequence[JobRef], *, force: bool) -> Command:
        """Ends with SIGTERM, later SIGKILL; with `force` SIGKILL at once."""
        options = ("--signal=KILL", "--full") if force else ()
        return Command(
            ("scancel", *options, *_clusters(jobs), *map(_tasks, jobs)),
            timeout=self._timeout,
        )

    def job_label(self, job: JobRef) -> str:
        """The id, with the array range when there is one."""
        if job.only:
            return _tasks(job)
        array = job.elements > 1 and not job.gang
        return f"{job.id}_[0-{job.elements - 1}]" if array else str(job.id)


def _tasks(job: JobRef) -> str:
    """Return the id, of the tasks `only` where it names some of several."""
    if not job.only or job.elements == 1 or job.gang:
        return job.id.job
    numbers = ranges(job.only)
    return f"{job.id}_{numbers}" if len(job.only) == 1 else f"{job.id}_[{numbers}]"


def _output(job: Submittable) -> tuple[str, ...]:
    """Return the options that say where Slurm's own messages go."""
    stem = job.log_path.removesuffix(".log")
    if "\\" in stem:
        # A backslash turns off what begins with a percent sign: all tasks then have one file.
        escaped = stem.replace("\\", "\\\\")
        return f"--output={escaped}.{job.token}.log", "--open-mode=append"
    suffix = ".%A_%a.log" if job.is_array else ".%j.log"
    return (f"--output={stem.replace('%', '%%')}{suffix}",)


def _directive(key: str, value: str | None) -> str:
    """Return one option; Slurm reads quotes and backslashes there as a shell would."""
    if value is None:
        return f"--{key}"
    if re.fullmatch(r"[\w@%+=:,./-]+", value, re.ASCII):
        return f"--{key}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'--{key}="{escaped}"'


def _memory(resources: Resources) -> tuple[str, str]:
    if resources.memory is None:
        return "mem", ""
    if resources.memory_style == "cpu":
        return "mem-per-cpu", f"{resources.memory_per_cpu}M"
    return "mem", f"{resources.memory}M"


def _indices(text: str, job: JobRef) -> Iterable[int]:
    try:
        return expand_indices(text.partition("%")[0])
    except ValueError:
        # The whole job: N/A without an array or for its folded rest, or a list cut with "...".
        return range(job.elements)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _largest(text: str) -> int | None:
    """Return the upper end of a job size such as 1-infinite, 1-4 or 2."""
    return _number(text.rpartition("-")[2])


def _by_cluster(out: str) -> Iterable[tuple[str, str]]:
    """Yield each line after the name of its cluster, which -M prints above its lines."""
    cluster = ""
    for line in out.splitlines():
        if line.startswith("CLUSTER:"):
            cluster = line.partition(":")[2].strip()
        elif line.strip():
            yield cluster, line


def _by_job(jobs: Sequence[JobRef]) -> dict[str, list[JobRef]]:
    known: dict[str, list[JobRef]] = {}
    for ref in jobs:
        known.setdefault(ref.id.job, []).append(ref)
    return known


def _find(known: Mapping[str, Sequence[JobRef]], job: str, cluster: str) -> JobRef | None:
    """Return the job of that number; members of a federation may use a number twice."""
    for ref in known.get(job, ()):
        if not cluster or ref.id.cluster in ("", cluster):
            return ref
    return None


def _clusters(jobs: Sequence[JobRef]) -> tuple[str, ...]:
    names = sorted({ref.id.cluster for ref in jobs if ref.id.cluster})
    return ("-M", ",".join(names)) if names else ()


def _message(result: Result) -> str:
    """Return what the command said, in one line: causes often stand above the last line."""
    lines = [line.strip() for line in (result.err.strip() or result.out).splitlines()]
    said = [_SPEAKER.sub("", line) for line in lines if line and not _USAGE_HINT.match(line)]
    return "; ".join(said[-5:]) or f"exit code {result.code}"
