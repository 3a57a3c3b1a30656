"""The configuration files of a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.testbed.errors import ClusterError
from tests.testbed.layout import LOGIN, Layout, Options, address

CONTROLLER_PORT = 6817
NODE_PORT = 6818
DBD_PORT = 6819
DATABASE_PORT = 3306
CLUSTER_NAME = "testbed"

_CGROUPS = Path("/sys/fs/cgroup")


def write_all(layout: Layout, options: Options) -> None:
    _write_secret(layout / "munge/key", os.urandom(128))
    (layout / "etc/hosts").write_text(_hosts(options))
    # Without a name server unknown names fail at once instead of after a time-out.
    (layout / "etc/resolv.conf").write_text("options timeout:1 attempts:1\n")
    (layout / "cgroup.conf").write_text(_cgroup_conf(options))
    # Nobody has it: Slurm counts what it gives away, and no more.
    (layout / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    layout.conf.write_text(_slurm_conf(layout, options))
    if options.accounting:
        # slurmdbd refuses a file that others may read.
        _write_secret(layout / "slurmdbd.conf", _slurmdbd_conf(layout).encode())


def check_cgroups() -> None:
    """Slurm of Debian 12 handles cgroup v1 without systemd; its groups are named by node only."""
    if not all((_CGROUPS / name / "tasks").exists() for name in ("cpuset", "freezer", "memory")):
        raise ClusterError(f"--cgroup needs cgroup v1 hierarchies in {_CGROUPS}")
    if any(_CGROUPS.glob("*/slurm_node*")):
        raise ClusterError(f"another cluster with --cgroup is up ({_CGROUPS}/*/slurm_node*)")


def remove_cgroups() -> None:
    for top in _CGROUPS.glob("*/slurm_node*"):
        for path, _, _ in os.walk(top, topdown=False):
            Path(path).rmdir()


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _hosts(options: Options) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{address(host)} {host}" for host in (LOGIN, *options.names)]
    return "\n".join(lines) + "\n"


def _slurm_conf(layout: Layout, options: Options) -> str:
    values = {
        "ClusterName": CLUSTER_NAME,
        "SlurmctldHost": f"{LOGIN}({address(LOGIN)})",
        "SlurmctldPort": str(CONTROLLER_PORT),
        "SlurmdPort": str(NODE_PORT),
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        # A requeued job waits until the credentials of its first life expire: 120 s by default.
        "AuthInfo": f"socket={layout.munge_socket},cred_expire=10",
        "CredType": "cred/munge",
        "StateSaveLocation": str(layout / "slurmctld"),
        "SlurmdSpoolDir": str(layout / "spool/%n"),
        "SlurmctldPidFile": str(layout / "pid/slurmctld"),
        "SlurmdPidFile": str(layout / "pid/slurmd-%n"),
        "SlurmctldLogFile": str(layout.log("slurmctld")),
        "SlurmdLogFile": str(layout.log("slurmd-%n")),
        "SlurmctldDebug": "verbose",
        "SlurmdDebug": "verbose",
        "MailProg": "/bin/true",
        "MpiDefault": "none",
        "SwitchType": "switch/none",
        # Nodes claim CPUs and memory that the machine need not have.
        "SlurmdParameters": "config_overrides",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        # Else a job that asks for no memory gets all of its node.
        "DefMemPerCPU": "100",
        "GresTypes": "gpu",
        "MaxArraySize": "1001",
        # Real schedulers wait seconds to collect work; tests must not.
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,bf_interval=1",
        # Time to write a record on a busy machine; what ignores SIGTERM costs a test all of it.
        "KillWait": "10",
        "MinJobAge": "300",
        # Half of what is usual: a dead controller is given up sooner.
        "MessageTimeout": "5",
        "SlurmctldTimeout": "30",
        # Longer than a busy machine keeps a living node from answering.
        "SlurmdTimeout": "60",
        "ReturnToService": "2",
        "PropagateResourceLimits": "NONE",
        **_process_tracking(options),
        **_accounting(layout, options),
    }
    partition = "Nodes=ALL State=UP"
    lines = [f"{key}={value}" for key, value in _overridden(values, options.settings).items()]
    lines += [f"NodeName={name} {_node(name, options)}" for name in options.names]
    lines.append(f"PartitionName=debug {partition} Default=YES MaxTime=INFINITE")
    lines.append(f"PartitionName=short {partition} MaxTime=00:05:00 DefaultTime=00:01:00")
    return "\n".join(lines) + "\n"


def _overridden(values: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Slurm takes keys in any case, but not twice."""
    given = {key.lower() for key in settings}
    return {key: value for key, value in values.items() if key.lower() not in given} | dict(
        settings
    )


def _node(name: str, options: Options) -> str:
    return (
        f"NodeAddr={address(name)} CPUs={options.cpus} Boards=1 SocketsPerBoard=1 "
        f"CoresPerSocket={options.cpus} ThreadsPerCore=1 RealMemory={options.memory} "
        "Gres=gpu:1 State=UNKNOWN"
    )


def _process_tracking(options: Options) -> dict[str, str]:
    if not options.cgroup:
        return {
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=2",
        }
    return {
        "ProctrackType": "proctrack/cgroup",
        "TaskPlugin": "task/cgroup,task/affinity" if _real_cpus(options) else "task/cgroup",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=2",
    }


def _real_cpus(options: Options) -> bool:
    """Jobs can be bound to their CPUs only when these exist."""
    return options.cpus <= len(os.sched_getaffinity(0))


def _cgroup_conf(options: Options) -> str:
    # slurmd wants a plugin even when nothing uses cgroups; this one then works without any.
    lines = ["CgroupPlugin=cgroup/v1", "CgroupAutomount=no"]
    if options.cgroup:
        lines.append("ConstrainRAMSpace=yes")
        lines += ["ConstrainCores=yes"] if _real_cpus(options) else []
    return "\n".join(lines) + "\n"


def _accounting(layout: Layout, options: Options) -> dict[str, str]:
    if not options.accounting:
        return {"AccountingStorageType": "accounting_storage/none"}
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": address(LOGIN),
        "AccountingStoragePort": str(DBD_PORT),
        # The munge socket once more; without it slurmctld ends with "no TRES".
        "AccountingStoragePass": str(layout.munge_socket),
    }


def _slurmdbd_conf(layout: Layout) -> str:
    values = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "DbdHost": LOGIN,
        "DbdAddr": address(LOGIN),
        "DbdPort": DBD_PORT,
        "SlurmUser": "root",
        "LogFile": layout.log("slurmdbd"),
        "PidFile": layout / "pid/slurmdbd",
        "DebugLevel": "verbose",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": DATABASE_PORT,
        "StorageUser": "slurm",
        "StoragePass": "slurm",
        "StorageLoc": "slurm_acct_db",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
