"""The programs that a cluster needs, and the Debian packages that bring them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.testbed.errors import ClusterError
from tests.testbed.layout import SYSTEM_PATH

# Programs, and the package each is in.
BASE = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    # Slurm's own qsub, qstat and qdel; others may stand under these names.
    "generate_pbs_nodefile": "slurm-wlm-torque",
    "munged": "munge",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
# Only the -core packages: no database server of the machine's own is set up.
ACCOUNTING = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",
}
# A plugin of slurmdbd, not a program.
PLUGIN = "accounting_storage_mysql.so"
PLUGIN_PACKAGE = "slurm-wlm-mysql-plugin"


def program(name: str) -> str:
    """The path of a program that is there (see require())."""
    return shutil.which(name, path=SYSTEM_PATH) or name


def missing_packages(accounting: bool = True) -> list[str]:
    wanted = BASE | (ACCOUNTING if accounting else {})
    missing = {
        package for name, package in wanted.items() if not shutil.which(name, path=SYSTEM_PATH)
    }
    if accounting and not _has_plugin():
        missing.add(PLUGIN_PACKAGE)
    return sorted(missing)


def all_packages() -> list[str]:
    return sorted({*BASE.values(), *ACCOUNTING.values(), PLUGIN_PACKAGE})


def install_line(packages: list[str]) -> str:
    return "apt-get install -y --no-install-recommends " + " ".join(packages)


def require(accounting: bool) -> None:
    missing = missing_packages(accounting)
    if missing:
        raise ClusterError(f"packages are missing, install them with: {install_line(missing)}")


def _has_plugin() -> bool:
    return any(Path("/usr/lib").glob(f"*/slurm*/{PLUGIN}"))
