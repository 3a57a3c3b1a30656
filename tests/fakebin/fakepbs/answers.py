"""What the server answers to each program: what it prints, and its exit code."""

from __future__ import annotations

import getopt
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.fakebin.fakepbs import show
from tests.fakebin.fakepbs.cluster import Cluster
from tests.fakebin.fakepbs.jobs import Job, Task
from tests.fakebin.fakepbs.request import USAGE, Refused, parse
from tests.fakebin.fakepbs.show import SERVER

_ID = re.compile(r"\d+(\[(\d+(-\d+)?)?\])?(\.\w[\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Call:
    """One call of a program."""

    program: str
    argv: list[str]
    cwd: str
    environ: dict[str, str]
    user: str


@dataclass
class Answer:
    """What the program prints, and its exit code; that of the last bad id counts."""

    out: str = ""
    err: str = ""
    code: int = 0

    def complain(self, text: str, code: int) -> None:
        self.err += f"{text}\n"
        self.code = code


def answer(call: Call, cluster: Cluster) -> Answer:
    """Answer one call."""
    known: dict[str, Callable[[Call, Cluster], Answer]] = {
        "qsub": qsub,
        "qstat": qstat,
        "qdel": qdel,
        "qselect": qselect,
        "pbsnodes": pbsnodes,
    }
    return known[call.program](call, cluster)


def qsub(call: Call, cluster: Cluster) -> Answer:
    try:
        request = parse(call.argv, call.cwd, call.environ)
    except Refused as refusal:
        return Answer(err=str(refusal), code=refusal.code)
    if (request.queue or "workq") not in cluster.settings.queues:
        return Answer(err="qsub: Unknown queue\n", code=170)
    if len(request.indices or ()) > cluster.settings.max_array_size:
        return Answer(err="qsub: Array job exceeds server or queue size limit\n", code=3)
    if len(cluster.jobs) >= cluster.settings.max_jobs:
        return Answer(err="qsub: Maximum number of jobs already in queue\n", code=32)
    first = "H" if request.held else "Q"
    job = Job(
        number=cluster.new_number(),
        request=request,
        environ={**_submitter(call, request.queue), **request.variables},
        cwd=call.cwd,
        user=call.user,
        created=time.time(),
        tasks=[Task(index, first) for index in request.indices or (None,)],
    )
    cluster.jobs[job.number] = job
    return Answer(f"{job.id}\n")


def _submitter(call: Call, queue: str) -> dict[str, str]:
    return {
        "PBS_O_HOME": call.environ.get("HOME", "/"),
        "PBS_O_LANG": call.environ.get("LANG", "C"),
        "PBS_O_LOGNAME": call.user,
        "PBS_O_PATH": call.environ.get("PATH", ""),
        "PBS_O_SHELL": "/bin/bash",
        "PBS_O_INTERACTIVE_AUTH_METHOD": "resvport",
        "PBS_O_INTERACTIVE_ENCRYPT_METHOD": "",
        "PBS_O_WORKDIR": call.cwd,
        "PBS_O_SYSTEM": "Linux",
        "PBS_O_QUEUE": queue or "workq",
        "PBS_O_HOST": "head.cluster.test",
    }


def qstat(call: Call, cluster: Cluster) -> Answer:
    options, names = getopt.getopt(call.argv, "BfF:QtxJw")
    keys = {key for key, _ in options}
    as_json = ("-F", "json") in options
    if as_json and "-f" not in keys:
        return Answer(err="usage: qstat\n", code=2)
    found = Answer()
    if "-B" in keys or "-Q" in keys:
        found.out = _server(cluster) if "-B" in keys else _queues(cluster)
        return found
    finished = "-x" in keys
    if finished and not cluster.settings.history and not names:
        found.err = "qstat: PBS is not configured to maintain job history \n"
        return found
    records: list[tuple[Job, Task | None]] = []
    first_is_bad = False
    for position, name in enumerate(names or [job.id for job in cluster.jobs.values()]):
        shown = _named(name, cluster, found, keys)
        first_is_bad = first_is_bad or (position == 0 and not shown)
        records += shown
        if as_json and names and records:
            # The trap of this version: further ids are not even looked at.
            break
    if "-f" not in keys:
        found.out = show.table(map(_row, records), heading=not first_is_bad)
        return found
    history = finished or cluster.settings.history
    texts = [
        (job.task_id(task) if task else job.id, job.attributes(task, history=history and finished))
        for job, task in records
    ]
    if as_json:
        found.out = show.as_json("Jobs", texts, time.time())
    else:
        found.out = "".join(show.full("Job Id", *text) for text in texts)
    return found


def _named(
    name: str, cluster: Cluster, found: Answer, keys: set[str]
) -> list[tuple[Job, Task | None]]:
    """Return what an id stands for, None being an array as a whole; or complain."""
    full = name if f".{SERVER}" in name else f"{name}.{SERVER}"
    if not _ID.fullmatch(name):
        found.complain(f"qstat: Unknown queue destination {name}", 170)
        return []
    known = cluster.find(name)
    if "-x" in keys and not cluster.settings.history:
        # Of jobs that live it says nothing either, and ends with 0.
        found.err += f"qstat: PBS is not configured to maintain job history {full}\n"
        return []
    if known is None:
        found.complain(f"qstat: Unknown Job Id {full}", 153)
        return []
    job, tasks = known
    if job.finished and "-x" not in keys:
        words = "Job has finished, use -x or -H to obtain historical job information"
        found.complain(f"qstat: {full} {words}", 35)
        return []
    if tasks is not None:
        return [(job, task) for task in tasks]
    if not job.is_array:
        return [(job, job.tasks[0])]
    return [(job, None), *((job, task) for task in (job.tasks if "-t" in keys else ()))]


def _row(record: tuple[Job, Task | None]) -> tuple[str, str, str, str, str, str]:
    job, task = record
    state = job.state if task is None else task.state
    used = "00:00:00" if task is not None and task.started and not task.forgotten else "0"
    name = job.id if task is None else job.task_id(task)
    return name, job.request.name, job.user, used, state, job.request.queue or "workq"


def _server(cluster: Cluster) -> str:
    settings = cluster.settings
    facts = [
        ("server_state", "Active"),
        ("server_host", "head.cluster.test"),
        ("scheduling", str(settings.scheduling)),
        ("total_jobs", str(len(cluster.jobs))),
        ("default_queue", next(iter(settings.queues))),
        ("max_array_size", str(settings.max_array_size)),
        ("pbs_version", show.VERSION),
        ("job_history_enable", str(settings.history)),
    ]
    return show.full("Server", SERVER, facts)


def _queues(cluster: Cluster) -> str:
    ends = [("enabled", "True"), ("started", "True")]
    return "".join(
        show.full("Queue", name, [("queue_type", "Execution"), *facts.items(), *ends])
        for name, facts in cluster.settings.queues.items()
    )


def qdel(call: Call, cluster: Cluster) -> Answer:
    options, names = getopt.getopt(call.argv, "W:x")
    found = Answer()
    if not names:
        usage = (
            "usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version"
        )
        found.complain(usage, 2)
    for name in names:
        full = name if f".{SERVER}" in name else f"{name}.{SERVER}"
        known = cluster.find(name) if _ID.fullmatch(name) else None
        if not _ID.fullmatch(name):
            found.complain(f"qdel: illegally formed job identifier: {name}", 1)
        elif known is None:
            found.complain(f"qdel: Unknown Job Id {full}", 153)
        elif known[0].finished:
            found.complain(f"qdel: Job has finished {full}", 35)
        elif known[1] == []:
            found.complain(f"qdel: Invalid request {full}", 156)
        else:
            job, tasks = known
            force = ("-W", "force") in options
            cluster.delete(job, job.tasks if tasks is None else tasks, force=force)
    return found


def qselect(call: Call, cluster: Cluster) -> Answer:
    try:
        options, _ = getopt.getopt(call.argv, "N:s:TJx")
    except getopt.GetoptError:
        return Answer(err=USAGE.replace("qsub", "qselect"), code=2)
    wanted = dict(options)
    lines: list[str] = []
    for job in cluster.jobs.values():
        if job.finished and "-x" not in wanted:
            continue
        if "-N" in wanted and job.request.name != wanted["-N"]:
            continue
        parts: list[tuple[str, str]] = [(job.id, job.state)]
        if "-T" in wanted and job.is_array:
            parts = [(job.task_id(task), task.state) for task in job.tasks]
        elif "-J" in wanted and not job.is_array:
            continue
        lines += [name for name, state in parts if state in wanted.get("-s", state)]
    return Answer("".join(f"{line}\n" for line in lines))


def pbsnodes(call: Call, cluster: Cluster) -> Answer:
    options, names = getopt.getopt(call.argv, "aF:v")
    found = Answer()
    shown = [name for name in names if name in cluster.nodes] if names else cluster.nodes
    for name in set(names) - set(shown):
        found.complain(f"Node: {name},  Error: Unknown node ", 1)
    records = [(name, _node(name, cluster)) for name in shown]
    if ("-F", "json") in options:
        found.out = show.as_json("nodes", records, time.time())
    else:
        for name, facts in records:
            lines = "".join(f"     {key} = {value}\n" for key, value in facts)
            found.out += f"{name}\n{lines}\n"
    return found


def _node(name: str, cluster: Cluster) -> show.Attributes:
    running = [
        job.task_id(task)
        for job, task in cluster.tasks()
        if task.state in "RE" and name in task.nodes
    ]
    alone = any(
        {"excl", "exclhost"} & set(job.request.place.split(":"))
        for job, task in cluster.tasks()
        if job.task_id(task) in running
    )
    return [
        ("Mom", f"{name}.cluster.test"),
        ("ntype", "PBS"),
        ("state", "job-exclusive" if alone else "free"),
        ("pcpus", str(cluster.settings.ncpus)),
        *([("jobs", ", ".join(running))] if running else []),
        ("resources_available.host", name),
        ("resources_available.ncpus", str(cluster.settings.ncpus)),
        ("resources_available.vnode", name),
        ("sharing", "default_shared"),
    ]
