"""The tables run_settings, batch_settings and container of a spec file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hpcorch.describe.container import Container
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.spec.table import Table

# A table's keys are the arguments of the call that it stands for, and its methods `set_X` as `X`.
RUN_ARGUMENTS = ("exe", "exe_args", "run_command", "run_args", "env_vars", "container")
RUN_SETTERS: Mapping[str, Callable[[RunSettings, Any], None]] = {
    "nodes": RunSettings.set_nodes,
    "tasks": RunSettings.set_tasks,
    "tasks_per_node": RunSettings.set_tasks_per_node,
    "cpus_per_task": RunSettings.set_cpus_per_task,
    "memory_per_node": RunSettings.set_memory_per_node,
    "walltime": RunSettings.set_walltime,
    "hostlist": RunSettings.set_hostlist,
    "excluded_hosts": RunSettings.set_excluded_hosts,
    "node_feature": RunSettings.set_node_feature,
    "task_map": RunSettings.set_task_map,
    "cpu_bindings": RunSettings.set_cpu_bindings,
    "verbose_launch": RunSettings.set_verbose_launch,
    "quiet_launch": RunSettings.set_quiet_launch,
    "mpmd_preamble": RunSettings.set_mpmd_preamble,
}
RUN_KEYS = (*RUN_ARGUMENTS, *RUN_SETTERS, "hostlist_from_file", "broadcast", "make_mpmd")
CONTAINER_KEYS = ("image", "args", "mount", "working_directory", "runtime")
BATCH_ARGUMENTS = ("nodes", "time", "queue", "account", "batch_args")
BATCH_SETTERS: Mapping[str, Callable[[BatchSettings, Any], None]] = {
    "hostlist": BatchSettings.set_hostlist,
    "excluded_hosts": BatchSettings.set_excluded_hosts,
    "memory_per_node": BatchSettings.set_memory_per_node,
    "node_feature": BatchSettings.set_node_feature,
    "exclusive": BatchSettings.set_exclusive,
    "add_preamble": BatchSettings.add_preamble,
}
BATCH_KEYS = (*BATCH_ARGUMENTS, *BATCH_SETTERS)


def run_settings(table: Table) -> RunSettings:
    """Return how a program is run; raises InputError."""
    container = _container(table)
    exe = table.required("exe")
    run_args = table.options("run_args")
    with table.blamed():
        settings = RunSettings(
            exe if container else table.program(exe),
            table.get("exe_args"),
            table.get("run_command", "auto"),
            run_args,
            table.get("env_vars"),
            container,
        )
    table.apply(settings, RUN_SETTERS)
    if "hostlist_from_file" in table:
        with table.blamed("hostlist_from_file"):
            settings.set_hostlist_from_file(table.anchored(table.get("hostlist_from_file")))
    _broadcast(table, settings)
    for part in table.each("make_mpmd", RUN_KEYS):
        further = run_settings(part)
        with part.blamed():
            settings.make_mpmd(further)
    return settings


def _broadcast(table: Table, settings: RunSettings) -> None:
    where = table.get("broadcast", False)
    if where is False:
        return
    with table.blamed("broadcast"):
        settings.set_broadcast(None if where is True else where)


def _container(table: Table) -> Container | None:
    inside = table.table("container", CONTAINER_KEYS)
    if inside is None:
        return None
    image, mount = inside.required("image"), inside.get("mount", ())
    if isinstance(mount, Mapping):
        mount = {inside.anchored(host): where for host, where in mount.items()}
    with inside.blamed():
        return Container(
            image if isinstance(image, str) and "://" in image else inside.anchored(image),
            inside.get("args", ()),
            mount,
            inside.get("working_directory", ""),
            inside.get("runtime", "apptainer"),
        )


def batch_settings(table: Table | None) -> BatchSettings | None:
    """Return what a batch system is asked for, None without a table; raises InputError."""
    if table is None:
        return None
    batch_args = table.options("batch_args")
    with table.blamed():
        settings = BatchSettings(
            table.get("nodes"),
            table.get("time", ""),
            table.get("queue", ""),
            table.get("account", ""),
            batch_args,
        )
    table.apply(settings, BATCH_SETTERS)
    return settings
