"""OpenPBS and PBS Professional: qsub, qstat, qselect and qdel as text out and text back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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
    TaskState,
    TaskStatus,
    ranges,
    refuse_twice,
)
from hpcorch.schedulers.pbs_states import (
    PbsId,
    blocks,
    clock,
    jobs,
    parse_id,
    refused,
    seconds,
    status,
)

_NO_SITE = Options()
# An array is J, or t in Torque.
_OWN_OPTIONS = frozenset("NJtjkSoe")
# What qsub refuses beside a select, as words about the whole job.
_CHUNK_RESOURCES = frozenset({"nodes", "ncpus", "mem", "mpiprocs", "ompthreads", "host", "vnode"})
PLACES = ("excl", "exclhost", "none")
# These words come when the contact broke after the server may have accepted. That it could not
# even be connected to is a plain refusal.
_LOST_CONTACT = re.compile(
    r"background qsub|timed? ?out|connection (?:reset|closed|lost|aborted)|broken pipe|"
    r"end of file|premature end|protocol error|communication|internal (?:server )?error",
    re.IGNORECASE,
)
_NO_CONTACT = re.compile(r"cannot connect to server", re.IGNORECASE)
_ACCEPTED = re.compile(r"\d+(?:\[\])?\.[A-Za-z0-9][\w.-]*", re.ASCII)
# A host may be several vnodes.
_HOST = re.compile(r"^ +resources_available\.host = (\S+)$", re.MULTILINE)
_SPEAKER = re.compile(r"^q\w+: ")
_USAGE = re.compile(r"^usage:|^\s+\[|^ {2,}\w+ --version$")


class PbsScheduler:
    """Job scripts as PBS jobs and job arrays.

    The option `pbs_place` says how a task gets a node of its own: `excl` (the vnode), `exclhost`
    (all vnodes of the host), or `none` where the site sees to it and refuses to be told.
    """

    name = "pbs"
    script_name = "job.pbs"
    is_batch = True
    is_remote = True
    # A record may lag behind the queue by what a network file system caches.
    record_grace = 15.0

    def __init__(self, options: Options = _NO_SITE) -> None:
        place = options.pbs_place
        if place not in PLACES:
            raise InputError(f"pbs_place is {place!r}: it must be one of " + ", ".join(PLACES))
        self._place = place
        # A frozen server lets every client wait for ever.
        self._timeout = options.command_timeout
        self.poll_floor = options.poll_floor

    def directives(self, resources: Resources) -> tuple[str, ...]:
        """Lines for `#PBS`; what was not asked for is left to the site's defaults."""
        _refuse_unknown(resources)
        extra = dict(resources.extra)
        for key in _CHUNK_RESOURCES & extra.keys():
            raise InputError(
                f"batch_args of {resources.name} holds {key!r}: PBS takes it inside a select only",
                'say it with batch_args={"select": "..."}, or there is a setting such as set_nodes',
            )
        refuse_beside(resources, "select", extra)
        place = extra.pop("place", self._placement(resources))
        wanted: list[tuple[str, str | None]] = [("N", job_name(resources.name, resources.token))]
        if resources.elements > 1:
            throttle = f"%{resources.max_running}" if resources.max_running else ""
            wanted.append(("J", f"0-{resources.elements - 1}{throttle}"))
        wanted.append(("l", f"select={extra.pop('select', None) or _select(resources)}"))
        if place:
            wanted.append(("l", f"place={place}"))
        if resources.walltime:
            wanted.append(("l", f"walltime={clock(resources.walltime)}"))
        if resources.queue:
            wanted.append(("q", resources.queue))
        if resources.account:
            wanted.append(("A", resources.account))
        # One file, written where it belongs while the job runs; a login shell of the user's own
        # choice could not run bash's words, or would add some of its own.
        wanted += [("j", "oe"), ("k", "doe"), ("S", "/bin/bash")]
        return tuple(directive(*item) for item in (*wanted, *options(resources, wanted, extra)))

    def _placement(self, resources: Resources) -> str:
        """Return how nodes are chosen. `scatter` spreads one job's chunks, never an array."""
        spread = "scatter" if resources.nodes > 1 else ""
        alone = self._place if resources.exclusive and self._place != "none" else ""
        return ":".join(filter(None, (spread, alone)))

    def by_hand(self) -> str:
        """The qsub call."""
        return "qsub THIS_FILE"

    def limits_commands(self) -> tuple[Command, ...]:
        """Three calls: the server, its queues, its nodes."""
        return (
            Command(("qstat", "-B", "-f"), timeout=self._timeout),
            Command(("qstat", "-Q", "-f"), timeout=self._timeout),
            Command(("pbsnodes", "-a"), timeout=self._timeout),
        )

    def parse_limits(self, results: Sequence[Result]) -> Limits:
        """max_array_size, and each queue's largest number of nodes and longest walltime."""
        servers, queues, nodes = results
        # PBS accepts a job of more nodes than there are, which then waits for ever.
        there = len(set(_HOST.findall(nodes.out))) if nodes.code == 0 else 0
        server = next((attributes for _, attributes in blocks(servers.out)), {})
        return Limits(
            _number(server.get("max_array_size", "")),
            {
                name: QueueLimits(
                    # A queue that only passes jobs on may send them to other nodes.
                    _least(
                        _number(attributes.get("resources_max.nodect", "")),
                        0 if attributes.get("queue_type") == "Route" else there,
                    ),
                    seconds(attributes.get("resources_max.walltime", "")),
                )
                for name, attributes in blocks(queues.out)
            },
            server.get("default_queue", ""),
        )

    def submit_command(self, job: Submittable) -> Command:
        """`qsub -f`, without its helper in the background; PBS's messages go to the run directory.

        Tasks of an array would overwrite one file; names by job id are not to be had with `-k doe`.
        """
        index = ".^array_index^" if job.is_array else ""
        output = f"{job.log_path.removesuffix('.log')}.{job.token}{index}.log"
        return Command(("qsub", "-f", "-o", output, job.script_path), timeout=self._timeout)

    def parse_submit(self, result: Result) -> JobId:
        """The last line that is an id with its server; wrappers may print around it."""
        lines = [line.strip() for line in result.out.splitlines()]
        found = [line for line in lines if _ACCEPTED.fullmatch(line)]
        # Ids are printed after acceptance only; a silent exit code is the job's own (-W block).
        if found and (result.code == 0 or not result.err.strip()):
            return JobId(found[-1])
        if result.code == 0:
            raise SubmitAmbiguous(f"qsub printed no job id but {result.out.strip()[-200:]!r}")
        message = _message(result)
        never = _NO_CONTACT.search(result.err) is not None
        broken = result.code < 0 or not result.err.strip() or _LOST_CONTACT.search(result.err)
        if found or (broken and not never):
            raise SubmitAmbiguous(f"qsub broke off: {message}")
        raise CommandFailed(f"qsub refused the job: {message}")

    def try_command(self, job: Submittable) -> Command | None:
        """There is no such call."""
        del job
        return None

    def parse_try(self, result: Result) -> str:
        """Return nothing: there is no such call."""
        del result
        return ""

    def find_command(self, name: str, token: str) -> Command:
        """All jobs of that name, of which the token is a part; nobody else's have to be listed."""
        return Command(("qselect", "-N", job_name(name, token)), timeout=self._timeout)

    def parse_find(self, result: Result, token: str) -> JobId | None:
        """The only id that was printed."""
        if result.code != 0:
            raise CommandFailed(f"qselect failed: {_message(result)}")
        lines = [line.strip() for line in result.out.splitlines()]
        found = sorted({line for line in lines if _ACCEPTED.fullmatch(line)})
        if len(found) > 1:
            raise ParseError(f"several jobs have the token {token}: " + ", ".join(found))
        return JobId(found[0]) if found else None

    def queue_command(self, jobs: Sequence[JobRef]) -> Command:
        """One qstat for all jobs and tasks that live.

        With `-x` a server that keeps no history, as most do, says nothing of those either.
        """
        return _qstat(self._timeout, jobs)

    def parse_queue(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """The tasks in the plain form; every job must be shown, or be refused by its name."""
        return _report(result, jobs)

    def history_command(self, jobs: Sequence[JobRef]) -> Command | None:
        """The same with the jobs that have ended, for which the server may keep no history."""
        return _qstat(self._timeout, jobs, "-x")

    def parse_history(self, result: Result, jobs: Sequence[JobRef]) -> QueueReport:
        """As parse_queue; nothing where there is no history."""
        return _report(result, jobs)

    def cancel_command(self, jobs: Sequence[JobRef], *, force: bool) -> Command:
        """Ends with SIGTERM, later SIGKILL; with `force` SIGKILL at once, even on a lost node."""
        options = ("-W", "force") if force else ()
        ids = (word for ref in jobs for word in _cancelled(ref))
        return Command(("qdel", *options, *ids), timeout=self._timeout)

    def job_label(self, job: JobRef) -> str:
        """The id, with the range of an array in its brackets, as qdel and qstat take it."""
        numbers = ranges(job.only) if job.only else f"0-{job.elements - 1}"
        return job.id.job.replace("[]", f"[{numbers}]")


def job_name(name: str, token: str) -> str:
    """Return the name of a job: qselect finds jobs by it, and by nothing else that is free.

    Accounts and projects are for the site, variables are damaged, output paths are not searched.
    """
    # Older servers want a letter first; not all clients take a dot.
    first = "" if name[:1].isalpha() else "j"
    return f"{first}{name}_{token}".replace(".", "_")


def options(
    resources: Resources,
    wanted: Sequence[tuple[str, str | None]],
    extra: Mapping[str, str | None],
) -> list[tuple[str, str | None]]:
    """Return the options `extra`, checked against what is `wanted` already."""
    for key in _OWN_OPTIONS & extra.keys():
        raise InputError(f"batch_args holds {key!r}: hpcorch sets it itself")
    said = (
        value.partition("=")[::2] if key == "l" and value else (key, value) for key, value in wanted
    )
    refuse_twice(resources.name, said, extra)
    return [
        (key, value) if len(key) == 1 else ("l", f"{key}={value or 'True'}")
        for key, value in extra.items()
    ]


def refuse_beside(resources: Resources, key: str, extra: Mapping[str, str | None]) -> None:
    """Refuse what would be lost beside the user's own words about nodes, the option `key`."""
    lost = {"host_list": resources.hosts, "memory_per_node": resources.memory}
    for field, value in lost.items() if extra.get(key) else ():
        if value:
            raise InputError(
                f"{field} of {resources.name} is {value!r}: batch_args holds {key!r}, which says "
                "already what the nodes are"
            )


def _refuse_unknown(resources: Resources) -> None:
    """Refuse what PBS has no words for: features of nodes are resources that each site names."""
    if resources.memory and resources.memory_style == "cpu":
        raise InputError(
            f"memory_per_node of {resources.name} is {resources.memory}: PBS is asked for a node's "
            "memory, and the site's memory_style is 'cpu'"
        )
    for field, value in (
        ("excluded_hosts", ",".join(resources.excluded_hosts)),
        ("node_feature", resources.features),
    ):
        if value:
            raise InputError(
                f"{field} of {resources.name} is {value!r}: PBS cannot be asked for it",
                'say what your site calls it with batch_args={"select": "..."}',
            )


def _select(resources: Resources) -> str:
    """Return the chunks: one for each node, by name if hosts were asked for."""
    tasks, cpus = resources.tasks_per_node, resources.cpus_per_task
    chunk = f"ncpus={tasks * (cpus or 1)}:mpiprocs={tasks}"
    if cpus:
        # Else OMP_NUM_THREADS is the number of all CPUs of the chunk.
        chunk += f":ompthreads={cpus}"
    if resources.memory:
        chunk += f":mem={resources.memory}mb"
    if not resources.hosts:
        return f"{resources.nodes}:{chunk}"
    if len(resources.hosts) != resources.nodes:
        raise InputError(
            f"host_list of {resources.name} has {len(resources.hosts)} hosts: PBS needs one for "
            f"each of the {resources.nodes} nodes of a job"
        )
    return "+".join(f"1:{chunk}:host={host}" for host in resources.hosts)


def directive(key: str, value: str | None) -> str:
    """Return one option; PBS knows both kinds of quotes and no way to write one inside itself."""
    if value is None:
        return f"-{key}"
    if re.fullmatch(r"[\w@%+=:,./^()-]+", value, re.ASCII):
        return f"-{key} {value}"
    quote = next((mark for mark in "\"'" if mark not in value), None)
    if quote is None:
        raise InputError(f"the option -{key} is {value!r}: PBS takes one kind of quotes at most")
    return f"-{key} {quote}{value}{quote}"


def _cancelled(job: JobRef) -> list[str]:
    """Return the ids to cancel: a job, or of an array ranges of tasks, one in each word."""
    if not job.only:
        return [job.id.job]
    return [job.id.job.replace("[]", f"[{part}]") for part in ranges(job.only).split(",")]


def _qstat(timeout: float, jobs: Sequence[JobRef], *options: str) -> Command:
    ids = (ref.id.job for ref in jobs)
    return Command(("qstat", *options, "-t", "-f", *ids), timeout=timeout)


def _report(result: Result, asked: Sequence[JobRef]) -> QueueReport:
    """Return what qstat says; a job of which it says nothing is an error, never a job gone."""
    try:
        refs = [(parse_id(ref.id.job), ref) for ref in asked]
        shown = list(jobs(result.out))
    except ValueError as error:
        raise ParseError(f"unexpected output of qstat: {error}") from error
    by_number: dict[int, list[tuple[PbsId, JobRef]]] = {}
    for own, ref in refs:
        by_number.setdefault(own.number, []).append((own, ref))
    found: dict[JobId, dict[int | None, TaskStatus | None]] = {}
    for job, attributes in shown:
        for own, ref in by_number.get(job.number, ()):
            if job.is_of(own):
                found.setdefault(ref.id, {})[job.index] = status(attributes)
    gone = {
        ref.id
        for job in refused(result.err)
        for own, ref in by_number.get(job.number, ())
        if job.is_of(own)
    }
    silent = [ref for _, ref in refs if ref.id not in found and ref.id not in gone]
    if silent:
        raise _unanswered(result, silent)
    report: dict[tuple[JobId, int], TaskStatus] = {}
    for own, ref in refs:
        for index, state in _tasks(own, ref, found.get(ref.id, {})):
            report[ref.id, index] = state
    return report


def _tasks(
    own: PbsId, ref: JobRef, found: dict[int | None, TaskStatus | None]
) -> list[tuple[int, TaskStatus]]:
    """Return the states of one job's tasks; those of a gang are all as their job is."""
    whole = found.get(None)
    known = dict.fromkeys(range(ref.elements), whole)
    if own.is_array:
        # A parent's exit code is nobody's, and while it runs its tasks need not.
        waits = whole is not None and whole.state is TaskState.QUEUED
        alive = whole is not None and not whole.state.terminal
        rest = whole if waits else TaskStatus(TaskState.UNKNOWN) if alive else None
        known = {index: found.get(index, rest) for index in range(ref.elements)}
    return [(index, state) for index, state in known.items() if state is not None]


def _unanswered(result: Result, silent: Sequence[JobRef]) -> CommandFailed | ParseError:
    if result.code != 0:
        return CommandFailed(f"qstat failed: {_message(result)}")
    names = ", ".join(ref.id.job for ref in silent[:5])
    return ParseError(f"qstat says nothing of the jobs {names}")


def _least(limit: int | None, there: int) -> int | None:
    return min(limit or there, there) if there else limit


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _message(result: Result) -> str:
    """Return what the command said, in one line, without its usage."""
    lines = (result.err.strip() or result.out.strip()).splitlines()
    said = [_SPEAKER.sub("", line).strip() for line in lines if not _USAGE.match(line)]
    return "; ".join([line for line in said if line][-5:]) or f"exit code {result.code}"
