"""The command that launches a program's processes: none, srun, mpirun or mpiexec."""

from __future__ import annotations

from hpcorch.describe.settings import RunSettings
from hpcorch.errors import InputError
from hpcorch.schedulers.base import Resources, Scheduler

# PBS has no launcher of its own; MPI libraries bring one that reads its list of nodes.
_FOR_MANY = {
    "slurm": "srun",
    "slurm-steps": "srun",
    "pbs": "mpiexec",
    "pbs-steps": "mpiexec",
    "torque": "mpiexec",
}
# The first process of a step writes down which one it is, then becomes the program.
_NOTE_STEP = (
    "bash",
    "-c",
    'if [[ $SLURM_PROCID == 0 ]]; then echo "$SLURM_JOB_ID.$SLURM_STEP_ID" >"$HPCORCH_STEP_FILE"; '
    'fi; exec "$@"',
    "hpcorch",
)


def launch_words(
    name: str, settings: RunSettings, resources: Resources, scheduler: Scheduler
) -> tuple[str, ...]:
    """Return the launch command, empty for one process; raises InputError if it cannot be had."""
    tasks = settings.task_count()
    if not scheduler.is_remote and resources.nodes > 1:
        raise InputError(f"nodes of {name} is {resources.nodes}: this launcher has 1 node")
    command = settings.run_command
    if command == "auto":
        many = tasks > 1 or resources.nodes > 1
        command = _FOR_MANY.get(scheduler.name, "none") if many else "none"
    if command == "none":
        return _without_launcher(name, settings, tasks)
    if command == "srun":
        if _FOR_MANY.get(scheduler.name) != "srun":
            raise InputError(f"run_command of {name} is 'srun': only Slurm has it")
        note = _NOTE_STEP if scheduler.name == "slurm-steps" else ()
        return (*_srun(settings, resources, tasks), *note)
    words = [command, "-n", str(tasks)]
    for key, value in settings.run_args.items():
        words.append(f"-{key}" if len(key) == 1 else f"--{key}")
        if value is not None:
            words.append(value)
    return tuple(words)


def _without_launcher(name: str, settings: RunSettings, tasks: int) -> tuple[str, ...]:
    if tasks > 1:
        raise InputError(
            f"tasks of {name} is {tasks}: without a launch command 1 process is started",
            'say run_command="mpirun"',
        )
    if settings.run_args:
        raise InputError(
            f"run_args of {name} is {settings.run_args!r}: no launch command can take it",
            'say run_command="mpirun"',
        )
    return ()


def _srun(settings: RunSettings, resources: Resources, tasks: int) -> tuple[str, ...]:
    words = ["srun", f"--nodes={resources.nodes}", f"--ntasks={tasks}"]
    if resources.cpus_per_task:
        # Since 22.05 srun no longer takes it over from the job.
        words.append(f"--cpus-per-task={resources.cpus_per_task}")
    for key, value in settings.run_args.items():
        option = f"-{key}" if len(key) == 1 else f"--{key}"
        if value is None:
            words.append(option)
        elif len(key) == 1:
            words += [option, value]
        else:
            words.append(f"{option}={value}")
    return tuple(words)
