"""Steps of a Slurm allocation that is there already: scripts run here, their tasks by srun.

Nothing queues: a script is a process of this host, watched and ended like one of the local
scheduler, and Slurm sees the steps that it starts.
"""

from __future__ import annotations

from dataclasses import replace

from hpcorch.schedulers.base import Command, Submittable, TaskState
from hpcorch.schedulers.local import LocalScheduler


class SlurmStepsScheduler(LocalScheduler):
    """`allocation` is the job id of the allocation; empty where jobs are only watched."""

    name = "slurm-steps"
    script_name = "job.sh"
    is_remote = True
    supervised_state = TaskState.RUNNING

    def __init__(self, tool: str, allocation: str) -> None:
        super().__init__(tool)
        self._allocation = allocation

    def submit_command(self, job: Submittable) -> Command:
        """Start the script in the allocation, whose other variables srun finds out itself."""
        command = super().submit_command(job)
        return replace(command, env={"SLURM_JOB_ID": self._allocation})
