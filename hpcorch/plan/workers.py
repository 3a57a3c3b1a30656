"""Model workers and the models that are loaded into them: command lines and the list of models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from hpcorch.describe.workers import Attachment, WorkerRequest
from hpcorch.plan.jobs import RunFile, Target, WorkerPlan

_LIST = "list.json"


def worker_plan(
    request: WorkerRequest | None, attached: Sequence[Attachment], target: Target, *, own: bool
) -> WorkerPlan | None:
    """Plan the workers of a job; None when it neither has any nor loads models.

    `own`: the job has a server of its own, so that attached models bring a worker with them.
    """
    if request is None and attached and own:
        request = WorkerRequest(1)
    if request is None and not attached:
        return None
    wanted = dict.fromkeys([*(request.frameworks if request else ())])
    wanted |= dict.fromkeys(item.framework for item in attached if item.framework)
    return WorkerPlan(
        python=target.site.python,
        count=request.count if request else 0,
        cpus=request.cpus if request else (),
        options=_options(request) if request else (),
        models=f"{target.run_dir}/{_folder(attached)}/{_LIST}" if attached else "",
        frameworks=tuple(wanted),
    )


def _options(request: WorkerRequest) -> tuple[str, ...]:
    words = ("--share", str(request.count), "--max-request", str(request.max_request))
    return (*words, "--threads", str(request.threads)) if request.threads else words


def model_files(attached: Sequence[Attachment]) -> tuple[RunFile, ...]:
    """Return the list of models for the run directory, and the models that are in no file yet."""
    if not attached:
        return ()
    folder = _folder(attached)
    files = [
        RunFile(f"{folder}/{_file(number, item)}", item.data)
        for number, item in enumerate(attached)
        if item.data is not None
    ]
    return (*files, RunFile(f"{folder}/{_LIST}", _list(attached)))


def _list(attached: Sequence[Attachment]) -> bytes:
    entries = [
        {"kind": item.kind, "name": item.name, "file": _file(number, item), **item.options}
        for number, item in enumerate(attached)
    ]
    return json.dumps(entries, indent=1).encode()


def _file(number: int, item: Attachment) -> str:
    return item.path if item.data is None else f"{number}.{item.kind}"


def _folder(attached: Sequence[Attachment]) -> str:
    """Return a folder of its own for what is attached: members of an ensemble may differ in it."""
    found = hashlib.sha256(_list(attached))
    for item in attached:
        found.update(item.digest.encode())
    return f"models/{found.hexdigest()[:16]}"
