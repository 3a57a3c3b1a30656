"""The command that launches a program's processes: none, srun, or an MPI library's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcorch.describe.check import walltime_seconds
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import InputError
from hpcorch.plan.jobs import Target
from hpcorch.plan.launchers import ANY_LAUNCH, LAUNCH_COMMANDS, LaunchCommand, Step
from hpcorch.schedulers.base import Resources
from hpcorch.sites import Site

# PBS has no launcher of its own; MPI libraries bring one that reads its list of nodes.
_FOR_MANY = {
    "slurm": "srun",
    "slurm-steps": "srun",
    "pbs": "mpiexec",
    "pbs-steps": "mpiexec",
    "torque": "mpiexec",
}
# Whose command it is as long as nobody has said or found out.
_USUAL_MPI = {"mpirun": "openmpi", "mpiexec": "hydra"}
# The first process of a step writes down which one it is, then becomes the program.
_NOTE_STEP = (
    "bash",
    "-c",
    'if [[ $SLURM_PROCID == 0 ]]; then echo "$SLURM_JOB_ID.$SLURM_STEP_ID" >"$HPCORCH_STEP_FILE"; '
    'fi; exec "$@"',
    "hpcorch",
)
# Each process counts down to its own program. After the first word come, for each program, its
# number of processes, its number of words, and those. srun's own way is a file whose lines cannot
# hold every argument.
_CHOOSE_BY_RANK = (
    "bash",
    "-c",
    "rank=$SLURM_PROCID; while ((rank >= $1)); do ((rank -= $1)) || true; shift $(($2 + 2)); done; "
    'exec "${@:3:$2}"',
    "hpcorch",
)


def launch_words(
    name: str, settings: RunSettings, resources: Resources, target: Target, *, wrapped: bool = False
) -> tuple[str, ...]:
    """Return the launch command, empty for one process; raises InputError if it cannot be had.

    What follows it is the program, or when that is `wrapped` a process of ours which starts it, as
    beside a colocated database. Every field of `settings` is either seen to by the job, or known
    to the command, or refused by its name.
    """
    scheduler = target.scheduler
    tasks = settings.task_count()
    if not scheduler.is_remote and resources.nodes > 1:
        raise InputError(f"nodes of {name} is {resources.nodes}: this launcher has 1 node")
    if (settings.nodes or 1) > resources.nodes:
        raise InputError(
            f"nodes of {name} is {settings.nodes}: its batch settings ask for {resources.nodes}"
        )
    _refuse_crowd(name, settings, resources.nodes)
    asked = left_to_launcher(settings, resources, target)
    command = command_name(settings, resources, target)
    if command == "none":
        other = _FOR_MANY.get(scheduler.name, "mpirun")
        return _without_launcher(name, settings, asked, f'say run_command="{other}"')
    if command == "srun" and _FOR_MANY.get(scheduler.name) != "srun":
        raise InputError(f"run_command of {name} is 'srun': only Slurm has it")
    known = LAUNCH_COMMANDS[mpi_library(command, target.mpi)]
    _refuse_unknown(name, command, settings, asked, known)
    if wrapped:
        _refuse_unwrappable(name, command, settings)
    else:
        _refuse_separator(name, command, settings, known.separator)
    step = Step(
        nodes=settings.nodes or resources.nodes,
        tasks=tasks if not known.separator else tasks - _further_tasks(settings),
        cpus_per_task=resources.cpus_per_task,
        settings=settings,
        asked=asked,
        seconds=walltime_seconds(settings.walltime),
    )
    note = _NOTE_STEP if command == "srun" and not scheduler.is_batch else ()
    return (command, *known.words(step), *_options(command, settings.run_args), *note)


def _refuse_crowd(name: str, settings: RunSettings, job_nodes: int) -> None:
    """Refuse more tasks than tasks_per_node lets the nodes have."""
    nodes, each = settings.nodes or job_nodes, settings.tasks_per_node
    if each and settings.tasks and settings.tasks > nodes * each:
        raise InputError(
            f"tasks of {name} is {settings.tasks}: {nodes} nodes with {each} on each have room for "
            f"{nodes * each}"
        )


def program_words(
    settings: RunSettings, executables: Sequence[str], launcher: Sequence[str]
) -> tuple[str, ...]:
    """Return what follows the launch command: the program, in its container, or all programs.

    `executables` are those of `settings` and of its further programs, in order.
    """
    inside = settings.container.words() if settings.container else ()
    first = (*inside, executables[0], *settings.exe_args)
    if not settings.mpmd:
        return first
    programs = [first]
    for part, executable in zip(settings.mpmd, executables[1:], strict=True):
        variables = tuple(f"{key}={value}" for key, value in part.env_vars.items())
        own = ("env", "--", *variables) if variables else ()
        # To env a path with a '=' would be one more variable.
        shield = ("nice", "-n", "0") if own and "=" in executable else ()
        programs.append((*own, *shield, executable, *part.exe_args))
    if launcher[0] == "srun":
        return _by_rank(settings, programs)
    words = [*programs[0]]
    for part, program in zip(settings.mpmd, programs[1:], strict=True):
        options = _options(launcher[0], part.run_args)
        words += [":", "-n", str(part.task_count()), *options, *program]
    return tuple(words)


def usual_command(scheduler: str, site: Site) -> str:
    """Return the launch command that auto stands for when there are many processes."""
    usual = _FOR_MANY.get(scheduler, "none")
    # A site's srun is none where there is no Slurm, as on a login node with the launcher local.
    elsewhere = site.run_command == "srun" and usual != "srun"
    return usual if site.run_command == "auto" or elsewhere else site.run_command


def command_name(settings: RunSettings, resources: Resources, target: Target) -> str:
    """Return the launch command that `settings` asks for; auto takes one for many processes."""
    if settings.run_command != "auto":
        return settings.run_command
    many = settings.task_count() > 1 or resources.nodes > 1
    return usual_command(target.scheduler.name, target.site) if many else "none"


def mpi_library(command: str, mpi: str) -> str:
    """Return whose words a launch command takes; `mpi` is what is known of mpirun and mpiexec."""
    if command == "orterun":
        return "openmpi"
    return (mpi or _USUAL_MPI[command]) if command in _USUAL_MPI else command


def left_to_launcher(settings: RunSettings, resources: Resources, target: Target) -> frozenset[str]:
    """Return the fields of `settings` that the job does not see to."""
    done: Mapping[str, object] = {}
    if target.scheduler.is_batch:
        done = {
            "walltime": resources.walltime,
            "host_list": resources.hosts,
            "excluded_hosts": resources.excluded_hosts,
            "node_feature": resources.features,
            "memory_per_node": resources.memory,
        }
    wanted = settings.wanted()
    return frozenset(key for key, value in wanted.items() if done.get(key) != value)


def _refuse_unknown(
    name: str, command: str, settings: RunSettings, asked: frozenset[str], known: LaunchCommand
) -> None:
    wanted = settings.wanted()
    for field in wanted:
        if field in asked and field not in known.knows:
            raise InputError(f"{field} of {name} is {wanted[field]!r}: {command} cannot do that")
    if settings.verbose and settings.quiet:
        raise InputError(f"verbose and quiet of {name} are both set: one of them can be had")
    if settings.broadcast and "broadcast_path" not in known.knows:
        raise InputError(
            f"broadcast of {name} is {settings.broadcast!r}: {command} chooses the place itself"
        )
    for part in (settings, *settings.mpmd):
        for key in part.run_args:
            if key in known.reserved:
                raise InputError(
                    f"run_args of {name} holds {key!r}: hpcorch sets it itself",
                    "there is a setting for it, such as set_tasks",
                )
        if not known.separator and part is not settings and part.run_args:
            raise InputError(
                f"run_args of {part.exe!r} is {part.run_args!r}: {command} starts all programs of "
                f"{name} in one step"
            )


def _refuse_separator(name: str, command: str, settings: RunSettings, separator: str) -> None:
    if separator and any(separator in part.exe_args for part in (settings, *settings.mpmd)):
        raise InputError(
            f"exe_args of {name} holds {separator!r}: {command} would start what follows it as "
            "another program"
        )


def _refuse_unwrappable(name: str, command: str, settings: RunSettings) -> None:
    if settings.mpmd and command != "srun":
        raise InputError(
            f"run_command of {name} is {command!r}: beside a colocated database only srun starts "
            "several programs in one launch"
        )
    if settings.broadcast is not None:
        raise InputError(
            f"broadcast of {name} is {settings.broadcast!r}: beside a colocated database {command} "
            "starts bash first, and would copy that"
        )


def _without_launcher(
    name: str, settings: RunSettings, asked: frozenset[str], hint: str
) -> tuple[str, ...]:
    wanted = settings.wanted()
    for field in wanted:
        if field in asked and field not in ANY_LAUNCH:
            raise InputError(
                f"{field} of {name} is {wanted[field]!r}: no launch command can take it", hint
            )
    tasks = settings.task_count()
    if tasks > 1:
        raise InputError(
            f"tasks of {name} is {tasks}: without a launch command 1 process is started", hint
        )
    if settings.run_args:
        raise InputError(
            f"run_args of {name} is {settings.run_args!r}: no launch command can take it", hint
        )
    return ()


def _further_tasks(settings: RunSettings) -> int:
    return sum(part.task_count() for part in settings.mpmd)


def _by_rank(settings: RunSettings, programs: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    words = [*_CHOOSE_BY_RANK]
    own = settings.task_count() - _further_tasks(settings)
    counts = [own, *(part.task_count() for part in settings.mpmd)]
    for count, program in zip(counts, programs, strict=True):
        words += [str(count), str(len(program)), *program]
    return tuple(words)


def _options(command: str, run_args: Mapping[str, str | None]) -> list[str]:
    words = []
    for key, value in run_args.items():
        option = f"-{key}" if len(key) == 1 else f"--{key}"
        if value is None:
            words.append(option)
        elif command == "srun" and len(key) > 1:
            words.append(f"{option}={value}")
        else:
            words += [option, value]
    return words
