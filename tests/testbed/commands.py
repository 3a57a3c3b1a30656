"""How a process outside gets onto one of the cluster's hosts."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence

from tests.testbed.errors import ClusterError
from tests.testbed.layout import LOGIN, SYSTEM_PATH, Layout
from tests.testbed.packages import program

SLURM_COMMANDS = (
    *("sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol"),
    *("sdiag", "sinfo", "sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger"),
)

# On the login node processes keep the outside's process ids and /tmp.
_LOGIN_NAMESPACES = ("net", "uts", "mnt")
_NODE_NAMESPACES = (*_LOGIN_NAMESPACES, "ipc", "pid")
_OPTIONS = {"net": "--net", "uts": "--uts", "mnt": "--mount", "ipc": "--ipc", "pid": "--pid"}


def enter(
    layout: Layout, host: str, argv: Sequence[str], cwd: str, user: str | None = None
) -> list[str]:
    """The command that runs `argv` on a host.

    On the login node all the programs in front exec() the next one, so that the process that is
    started is `argv` itself. On a node there is nsenter between, and `argv` dies with it.
    """
    kinds = _LOGIN_NAMESPACES if host == LOGIN else _NODE_NAMESPACES
    command = _nsenter(first_process(layout, host), kinds)
    privileges = [] if host == LOGIN else ["--pdeathsig=SIGKILL"]
    if user:
        entry = pwd.getpwnam(user)
        privileges += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]
    if privileges:
        command += [program("setpriv"), *privileges]
    return [*command, program("env"), f"--chdir={cwd}", *argv]


def environment(
    layout: Layout, extra: Mapping[str, str] | None = None, user: str | None = None
) -> dict[str, str]:
    """This process's environment, pointed to the cluster."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    env.setdefault("PATH", SYSTEM_PATH)
    if user:
        entry = pwd.getpwnam(user)
        env |= {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user}
    return env | layout.environment() | dict(extra or {})


def first_process(layout: Layout, host: str) -> int:
    try:
        return int(layout.pid_file(host).read_text())
    except (OSError, ValueError):
        raise ClusterError(f"{host} is not up in {layout.directory}") from None


def write_wrappers(layout: Layout) -> None:
    """Slurm's commands for a shell outside: they only step into the login node's network."""
    enter_login = " ".join(_nsenter(first_process(layout, LOGIN), ("net", "uts")))
    for name in SLURM_COMMANDS:
        wrapper = layout / f"bin/{name}"
        wrapper.write_text(
            f"#!/bin/sh\nSLURM_CONF={layout.conf}\nexport SLURM_CONF\n"
            f'exec {enter_login} {program(name)} "$@"\n'
        )
        wrapper.chmod(0o755)


def _nsenter(pid: int, kinds: Sequence[str]) -> list[str]:
    return [
        program("nsenter"),
        *(f"{_OPTIONS[kind]}=/proc/{pid}/ns/{kind}" for kind in kinds),
        "--",
    ]
