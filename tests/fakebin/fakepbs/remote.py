"""The server's side of pbsdsh and pbs_tmrsh: processes on the other nodes of a job."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

from tests.fakebin.fakepbs.answers import Answer
from tests.fakebin.fakepbs.cluster import Cluster
from tests.fakebin.fakepbs.jobs import Task


def answer(message: dict[str, Any], cluster: Cluster) -> Answer:
    """Start, watch or signal a process: its id, then its exit code, comes as the output."""
    found = cluster.find(message["job"])
    if found is None:
        return Answer(err="not executing under PBS\n", code=1)
    job, tasks = found
    task = (tasks or job.tasks)[0]
    # A node is known by the line of PBS_NODEFILE: it has one for each MPI process.
    lines = [node for node, chunk in enumerate(job.request.chunks) for _ in range(chunk.mpiprocs)]
    if message["do"] == "nodes":
        return Answer("\n".join(task.nodes[node] for node in lines))
    if message["do"] == "start":
        # A number that is too high stands for the first one.
        node = lines[message["node"] if message["node"] < len(lines) else 0]
        try:
            return Answer(str(cluster.spawn(job, task, node, message["argv"])))
        except OSError as error:
            return Answer(err=f"{error.strerror}\n", code=254)
    pid = int(message["pid"])
    if message["do"] == "signal":
        with suppress(ProcessLookupError):
            os.kill(pid, signal.Signals(message["number"]))
        return Answer()
    return Answer(_ended(task, pid))


def _ended(task: Task, pid: int) -> str:
    for session in task.sessions:
        if session.pid == pid and session.poll() is not None:
            return str(session.code)
    return ""
