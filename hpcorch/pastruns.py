"""How runs ended whose own records the next run of the same entity has replaced.

`<run directory>/.hpcorch-ended/<token>.json` holds the last state of every task. It is written
before the records are removed, so that whoever misses those finds it.
"""

from __future__ import annotations

import json
from pathlib import Path

from hpcorch import rundir
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot

FOLDER = ".hpcorch-ended"


def note(shot: RunSnapshot) -> None:
    """Write down how a run ended, once; raises StorageError."""
    path = _path(shot.run.directory, shot.run.token)
    if path.exists() or not Path(shot.run.directory).is_dir():
        return
    rundir.make_private(path.parent)
    tasks = [
        [task.index, str(task.state), task.code, task.elapsed, task.reason] for task in shot.tasks
    ]
    rundir.write_whole(path, json.dumps({"tasks": tasks}, separators=(",", ":")))


def noted(directory: str, token: str) -> list[TaskSnapshot]:
    """Return how the tasks of a run ended; nothing while its own records tell that."""
    found = rundir.read_json(_path(directory, token)) or {}
    try:
        return [
            TaskSnapshot(int(index), TaskState(state), code, elapsed, str(reason))
            for index, state, code, elapsed, reason in found["tasks"]
        ]
    except (KeyError, TypeError, ValueError):
        return []


def _path(directory: str, token: str) -> Path:
    return Path(directory, FOLDER, f"{token}.json")
