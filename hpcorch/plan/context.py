"""What templates see, by name, type and meaning: the documented side of the jobs' attributes."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcorch.plan.jobs import (
    Chunk,
    ColocationPlan,
    ContainerPlan,
    DatabaseJob,
    DatabaseUse,
    ModelJob,
    RunFile,
    ServerPlan,
    WorkerPlan,
)
from hpcorch.schedulers.base import Resources

_JOBS: dict[str, type] = {"database": DatabaseJob, "model": ModelJob, "ensemble": ModelJob}

# Beside `job`.
GLOBALS = {
    "scheduler": "the batch system: local, slurm, slurm-steps, pbs, pbs-steps, torque",
    "origin": "name of the template that was rendered",
    "version": "of hpcorch",
    "context_version": "version of this list: raised when a name is removed or changes meaning",
}

_MEANINGS: dict[type, dict[str, str]] = {
    DatabaseJob: {
        "name": "of the database; also its run directory's name",
        "run_dir": "absolute path of the run directory",
        "token": "unique text by which the submission is found again",
        "elements": "shards",
        "directives": "options of the batch request, one per line, ready to print",
        "resources": "what is asked of the batch system",
        "by_hand": "command line that submits the script by hand",
        "identifier": "db_identifier",
        "suffix": "what it adds to the names of environment variables, such as _db; may be empty",
        "gang": "one job of many nodes instead of a job array",
        "shards_per_host": "how many shards share a host; the last host may have fewer",
        "shards_per_element": "how many of them one element of a job array starts",
        "cluster": "more than one shard",
        "node_ids": "cluster node id of each shard, 40 hex digits",
        "slots": "slot range of each shard, such as 0-8191",
        "interfaces": "network interfaces to listen on; empty: the one of the default route",
        "first_port": "first port to try",
        "port_step": "what is added when a port is taken",
        "last_port": "last port to try",
        "deadline_seconds": "how long shards wait for each other",
        "server": "how the server is started",
        "warnings": "sentences for whoever starts it",
        "gang_starter": "program that reaches the other nodes of a PBS job",
        "preamble": "bash that the user wants to be run first; empty without any",
        "shard_cpus": "CPUs of each shard of a host, such as 0 1, counted inside the job's own",
        "restore": "directory of the files that it starts from; empty: it starts without data",
        "run_args": "options of the srun that starts the shards of a gang",
        "walltime_seconds": "of the job; 0: the batch system's default",
        "workers": "AI model workers beside each shard; none without models",
        "files": "models that are put in the run directory",
        "load_modules": "environment modules that the site has every job load",
        "kind": "database",
        "chunk": "which elements of the array this job has, where one may not hold all",
    },
    ModelJob: {
        "name": "of the program; also its run directory's name",
        "run_dir": "absolute path of the run directory",
        "token": "unique text by which the submission is found again",
        "elements": "tasks of the run",
        "directives": "options of the batch request, one per line, ready to print",
        "resources": "what is asked of the batch system",
        "by_hand": "command line that submits the script by hand",
        "work_dir": "directory in which the program starts",
        "program": "the program's whole argument list, launch command included",
        "launcher_words": "how many of its first words are the launch command",
        "program_env": "its own environment variables, NAME=value",
        "databases": "databases whose addresses it gets",
        "colocation": "the database beside the program; none without one",
        "server": "how that database is started; none without one",
        "warnings": "sentences for whoever starts it",
        "gang": "whether it is a step of its own in an allocation",
        "preamble": "bash that the user wants to be run first; empty without any",
        "forward_environment": "whether Open MPI has to carry the variables to other nodes",
        "container": "the container that it runs in; none without one",
        "run_args": "options of the srun that starts it as a step",
        "umask": "mask of the program's files, octal",
        "owns_nodes": "whether it has whole nodes and asked for no number of CPUs",
        "walltime_seconds": "of the job; 0: the batch system's default",
        "workers": "AI model workers beside the database, and models to load; none without",
        "files": "models that are put in the run directory",
        "load_modules": "environment modules that the site has every job load",
        "kind": "model or ensemble",
        "chunk": "which of the tasks this job has, where an array may not hold all",
        "table_rows": "rows in each file of an ensemble's table",
        "max_running": "most tasks at a time where the batch system has no such limit; 0: none",
        "puts_files": "whether tasks put their input files in place themselves",
    },
    Chunk: {
        "size": "tasks of this job",
        "offset": "number of its first task",
        "part": "number of this job among those of the run",
        "parts": "jobs of the run",
    },
    ServerPlan: {
        "program": "path of the server program",
        "environment": "its environment variables, NAME=value",
        "modules": "server modules to load",
        "ai_commands": "whether hpcorch's own module is among them",
        "cli": "path of redis-cli; empty without one",
        "security": "password, tls, smartredis or open",
        "data_tls": "whether clients connect by TLS",
        "bus_tls": "whether shards connect to each other by TLS",
        "boot_seconds": "how long it may take until it answers",
        "defaults": "redis.conf lines that the user's own file may change, as word lists",
        "include": "the user's own redis.conf; empty without one",
        "directives": "redis.conf lines that nobody may change, as word lists",
    },
    DatabaseUse: {
        "directory": "run directory of the database",
        "suffix": "what its variables' names end in",
    },
    ColocationPlan: {
        "transport": "tcp or uds",
        "suffix": "what its variables' names end in",
        "first_port": "first port to try",
        "interfaces": "network interfaces to listen on",
        "socket": "path of the Unix socket; empty: in a private directory of the node",
        "socket_mode": "its permissions, octal",
        "per": "node, or numa for a server in each NUMA domain",
        "cpus": "CPUs of the database, counted inside those that the job may use there",
        "limit_app": "whether the program is kept off them",
    },
    ContainerPlan: {
        "prefix": "what the runtime puts before the names of variables for the inside",
        "mounts": "directories that must be there inside",
    },
    WorkerPlan: {
        "python": "the Python that they run in",
        "count": "number of workers; 0: models are only loaded, into job.databases",
        "cpus": "their CPUs, counted inside those that the task may use; none: the server's",
        "options": "words of their command line",
        "models": "path of the list of models to load; empty without any",
        "frameworks": "what must be there: ONNX, TFLITE, TORCH, TF",
    },
    RunFile: {
        "path": "inside the run directory",
        "data": "its bytes",
    },
    Resources: {
        "name": "of the job",
        "token": "the same as job.token",
        "elements": "tasks of the job array",
        "nodes": "of each task",
        "tasks_per_node": "processes on each node",
        "cpus_per_task": "of each process; none: the batch system's default",
        "walltime": "HH:MM:SS or D-HH:MM:SS; empty: the batch system's default",
        "queue": "queue or partition; empty: the default one",
        "account": "what the job is charged to; empty: the user's default",
        "hosts": "nodes that it must have",
        "exclusive": "whether it asks for whole nodes",
        "max_running": "most tasks at a time; none: no limit",
        "warn_seconds": "how long before its walltime the script gets a signal",
        "extra": "further options as pairs of name and value",
        "memory": "megabytes on each node; none: the batch system's default",
        "memory_style": "node or cpu: what the batch system is asked for it by; none: not at all",
        "excluded_hosts": "nodes that it must not have",
        "features": "expression of node features; empty: any node",
    },
}


@dataclass(frozen=True)
class Variable:
    """One name that templates may use: `path` such as job.resources.queue."""

    path: str
    type: str
    meaning: str


def variables(kind: str) -> list[Variable]:
    """Return everything that a template of this kind of job (database, model) sees."""
    found = [Variable(name, "text", meaning) for name, meaning in GLOBALS.items()]
    found[-1] = dataclasses.replace(found[-1], type="number")
    return found + list(_walk(_JOBS[kind], "job"))


def kinds() -> tuple[str, ...]:
    """Return the kinds of jobs."""
    return tuple(_JOBS)


def nearest_to_unknown(path: Sequence[str]) -> str | None:
    """Check an attribute path below `job`, such as ("resources", "queue").

    Returns None when a kind of job has it, else the nearest name that exists (may be empty).
    """
    at: list[type] = list(_JOBS.values())
    for name in path:
        known = {key for item in at for key in _MEANINGS[item]}
        if name not in known:
            return next(iter(difflib.get_close_matches(name, known, n=1)), "")
        at = [kind for item in at for kind in _classes(typing.get_type_hints(item).get(name))]
        if not at:
            # A text or a list: what it has is not ours to say.
            return None
    return None


def nearest_anywhere(name: str) -> str:
    """Return the whole path of the name that is nearest to `name`, empty if none is near."""
    paths = [
        item.path for kind in kinds() for item in variables(kind) if not item.path.endswith("[]")
    ]
    by_name: dict[str, str] = {}
    # The shortest path of a name is the usual one.
    for path in sorted(paths, key=lambda path: path.count(".")):
        by_name.setdefault(path.rpartition(".")[2], path)
        by_name.setdefault(path.replace(".", ""), path)
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.75)
    return by_name[near[0]] if near else ""


def _walk(kind: type, path: str) -> Iterator[Variable]:
    hints = typing.get_type_hints(kind)
    for name, meaning in _MEANINGS[kind].items():
        hint = hints[name]
        below = _classes(hint)
        yield Variable(f"{path}.{name}", _plain(hint), meaning)
        for item in below:
            yield from _walk(item, f"{path}.{name}")
        if not below:
            for item in _members(hint):
                yield from _walk(item, f"{path}.{name}[]")


def _classes(hint: object) -> list[type]:
    """Return the documented classes that `hint` is or may be."""
    return [item for item in _options(hint) if isinstance(item, type) and item in _MEANINGS]


def _options(hint: object) -> tuple[object, ...]:
    """Return the members of a union, else the type itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _members(hint: object) -> list[type]:
    return [item for item in typing.get_args(hint) if item in _MEANINGS]


def _plain(hint: object) -> str:
    """Say a type in words."""
    names = {str: "text", bytes: "bytes", int: "number", bool: "flag", type(None): "none"}
    if len(_options(hint)) > 1:
        return " or ".join(_plain(item) for item in _options(hint))
    if isinstance(hint, type) and hint in names:
        return names[hint]
    if typing.get_origin(hint) is tuple:
        arguments = typing.get_args(hint)
        if len(arguments) == 2 and arguments[1] is not Ellipsis:
            return "pair"
        return f"list of {_plural(_plain(arguments[0]))}"
    return "object"


def _plural(name: str) -> str:
    if name.startswith("list of"):
        return name.replace("list", "lists", 1)
    return name if name == "text" else f"{name}s"
