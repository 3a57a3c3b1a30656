"""Steps of a PBS job that is there already: scripts run here, their tasks on the job's nodes.

Nothing queues: a script is a process of this host, watched and ended like one of the local
scheduler. It stays in the job's session, since PBS ends what is in it and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hpcorch.schedulers.base import Command, Submittable, TaskState
from hpcorch.schedulers.local import LocalScheduler

# What the programs that reach the job's other nodes must know.
_VARIABLES = (
    "PBS_JOBID",
    "PBS_NODEFILE",
    "PBS_JOBCOOKIE",
    "PBS_NODENUM",
    "PBS_TASKNUM",
    "PBS_MOMPORT",
    "PBS_ENVIRONMENT",
    "PBS_O_WORKDIR",
)


class PbsStepsScheduler(LocalScheduler):
    """`environ` are the variables of the job; empty where steps are only watched."""

    name = "pbs-steps"
    script_name = "job.sh"
    is_remote = True
    supervised_state = TaskState.RUNNING

    def __init__(self, tool: str, environ: Mapping[str, str]) -> None:
        super().__init__(tool)
        self._job = {name: environ[name] for name in _VARIABLES if name in environ}

    def submit_command(self, job: Submittable) -> Command:
        """Start the script in the job."""
        command = super().submit_command(job)
        return replace(command, env={**self._job, "HPCORCH_KEEP_SESSION": "1"})
