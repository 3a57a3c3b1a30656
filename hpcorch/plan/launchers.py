"""Each launch command's own words for what a program asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hpcorch.describe.settings import RunSettings

# The size of a launch, which every command can be told, and one process needs no command for.
ANY_LAUNCH = frozenset({"nodes", "tasks", "tasks_per_node", "cpus_per_task"})


@dataclass(frozen=True)
class Step:
    """One launch: its size, and in `settings` the fields that the job does not see to.

    Of those fields `asked` holds the names; `seconds` is the walltime if it is one of them.
    """

    nodes: int
    tasks: int
    cpus_per_task: int | None
    settings: RunSettings
    asked: frozenset[str]
    seconds: int = 0

    def when(self, field: str, *words: str) -> tuple[str, ...]:
        """Return `words` if `field` was asked for."""
        return words if field in self.asked else ()


@dataclass(frozen=True)
class LaunchCommand:
    """Which fields a launch command can honour, its words, and the options that are not the user's.

    `separator` stands between the programs of one launch, if the command knows such a word.
    """

    knows: frozenset[str]
    words: Callable[[Step], Iterable[str]]
    reserved: frozenset[str]
    separator: str = ":"


def _srun(step: Step) -> Iterable[str]:
    asked = step.settings
    yield f"--nodes={step.nodes}"
    yield f"--ntasks={step.tasks}"
    if asked.tasks_per_node and not asked.mpmd:
        yield f"--ntasks-per-node={asked.tasks_per_node}"
    if step.cpus_per_task:
        # Since 22.05 srun no longer takes it over from the job.
        yield f"--cpus-per-task={step.cpus_per_task}"
    yield from step.when("host_list", "--nodelist=" + ",".join(asked.hosts))
    yield from step.when("host_file", f"--nodefile={asked.host_file}")
    yield from step.when("excluded_hosts", "--exclude=" + ",".join(asked.excluded_hosts))
    yield from step.when("node_feature", f"--constraint={asked.node_features}")
    yield from step.when("memory_per_node", f"--mem={asked.memory_per_node}M")
    yield from step.when("walltime", f"--time={asked.walltime}")
    yield from step.when("task_map", f"--distribution={asked.task_map}")
    yield from step.when("cpu_bindings", "--cpu-bind=map_cpu:" + _numbers(step, ","))
    yield from step.when("broadcast", "--bcast" + (f"={asked.broadcast}" * bool(asked.broadcast)))
    yield from step.when("verbose", "--verbose")
    yield from step.when("quiet", "--quiet")


def _openmpi(step: Step) -> Iterable[str]:
    asked = step.settings
    yield from ("-n", str(step.tasks))
    yield from _openmpi_mapping(step)
    # A host without a number has room for one process.
    room = asked.tasks_per_node or -(-step.tasks // max(len(asked.hosts), 1))
    yield from step.when("host_list", "--host", ",".join(f"{it}:{room}" for it in asked.hosts))
    yield from step.when("host_file", "--hostfile", asked.host_file)
    yield from step.when("walltime", "--timeout", str(step.seconds))
    yield from step.when("broadcast", "--preload-binary")
    yield from step.when("verbose", "--verbose")
    yield from step.when("quiet", "--quiet")


def _openmpi_mapping(step: Step) -> tuple[str, ...]:
    """Return --map-by, which says where processes go and how many CPUs each has."""
    asked = step.settings
    mapping = asked.task_map
    if not mapping and asked.tasks_per_node and step.nodes > 1:
        mapping = f"ppr:{asked.tasks_per_node}:node"
    # One node's processes are not bound unless they were told to be: sharing it stays possible.
    if step.cpus_per_task and step.nodes > 1:
        mapping = f"{mapping or 'slot'}:PE={step.cpus_per_task}"
    return ("--map-by", mapping) if mapping else ()


def _hydra(step: Step) -> Iterable[str]:
    asked = step.settings
    yield from ("-n", str(step.tasks))
    if asked.tasks_per_node and step.nodes > 1:
        yield from ("-ppn", str(asked.tasks_per_node))
    yield from step.when("host_list", "-hosts", ",".join(asked.hosts))
    yield from step.when("host_file", "-f", asked.host_file)
    yield from step.when("task_map", "-map-by", asked.task_map)
    yield from step.when("cpu_bindings", "-bind-to", "user:" + _numbers(step, ","))
    yield from step.when("verbose", "-verbose")


def _pals(step: Step) -> Iterable[str]:
    asked = step.settings
    yield from ("-n", str(step.tasks))
    if asked.tasks_per_node:
        yield from ("--ppn", str(asked.tasks_per_node))
    if step.cpus_per_task:
        yield from ("--depth", str(step.cpus_per_task))
    yield from step.when("host_list", "--hosts", ",".join(asked.hosts))
    yield from step.when("host_file", "--hostfile", asked.host_file)
    yield from step.when("cpu_bindings", "--cpu-bind", "list:" + _numbers(step, ":"))
    yield from step.when("broadcast", "--transfer")
    yield from step.when("verbose", "--verbose")


def _aprun(step: Step) -> Iterable[str]:
    asked = step.settings
    yield from ("-n", str(step.tasks))
    if asked.tasks_per_node:
        yield from ("-N", str(asked.tasks_per_node))
    if step.cpus_per_task:
        yield from ("-d", str(step.cpus_per_task))
    yield from step.when("host_list", "-L", ",".join(asked.hosts))
    yield from step.when("host_file", "-l", asked.host_file)
    yield from step.when("excluded_hosts", "-E", ",".join(asked.excluded_hosts))
    yield from step.when("cpu_bindings", "-cc", _numbers(step, ","))
    yield from step.when("walltime", "-t", str(step.seconds))
    yield from step.when("quiet", "-q")


def _numbers(step: Step, between: str) -> str:
    return between.join(str(number) for number in step.settings.cpu_bindings)


def _command(
    knows: str, words: Callable[[Step], Iterable[str]], reserved: str, separator: str = ":"
) -> LaunchCommand:
    known = ANY_LAUNCH | frozenset(knows.split())
    return LaunchCommand(known, words, frozenset(reserved.split()), separator)


LAUNCH_COMMANDS: Mapping[str, LaunchCommand] = {
    "srun": _command(
        "host_list host_file excluded_hosts node_feature memory_per_node walltime task_map "
        "cpu_bindings broadcast broadcast_path verbose quiet",
        _srun,
        "nodes N ntasks n ntasks-per-node cpus-per-task c jobid job-name J output o error e chdir "
        "D multi-prog",
        separator="",
    ),
    "openmpi": _command(
        "host_list host_file task_map walltime broadcast verbose quiet",
        _openmpi,
        "n np c wd wdir output-filename",
    ),
    "hydra": _command("host_list host_file task_map cpu_bindings verbose", _hydra, "n np ppn wdir"),
    "pals": _command(
        "host_list host_file cpu_bindings broadcast verbose", _pals, "n np ppn depth d wdir"
    ),
    "aprun": _command(
        "host_list host_file excluded_hosts cpu_bindings walltime quiet",
        _aprun,
        "n pes N pes-per-node d cpus-per-pe wdir",
    ),
}
