"""What a cluster consists of, and where its files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.testbed.errors import ClusterError

LOGIN = "login"
NETWORK = "10.77.0"
PREFIX = "hpcorch-testbed"
# Not /tmp: that is private to each node.
BASE = Path("/var/tmp")
# slurmstepd makes sockets below the directory, and the path of one has at most 107 bytes.
LONGEST_DIRECTORY = 60
# `empty` and `staging` are used by mounts that only the cluster's own hosts see.
_DIRECTORIES = (
    "bin", "empty", "etc", "log", "munge", "pid", "shared", "slurmctld", "spool", "staging"
)  # fmt: skip
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Options:
    """What was asked for. `shared` are further directories below /tmp which all nodes shall see."""

    nodes: int = 4
    cpus: int = 4
    memory: int = 4000
    accounting: bool = False
    cgroup: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= 200:
            raise ClusterError(f"a test bed has 1 to 200 nodes, not {self.nodes}")
        if self.cpus < 1:
            raise ClusterError(f"a node has at least one CPU, not {self.cpus}")

    @property
    def names(self) -> list[str]:
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, text: str) -> Options:
        values = json.loads(text)
        values["shared"] = tuple(values["shared"])
        return cls(**values)


def last_byte(host: str) -> int:
    return 1 if host == LOGIN else 10 + int(host.removeprefix("node"))


def address(host: str) -> str:
    return f"{NETWORK}.{last_byte(host)}"


@dataclass(frozen=True)
class Layout:
    """The files of the cluster in `directory`."""

    directory: Path

    def __post_init__(self) -> None:
        if len(str(self.directory)) > LONGEST_DIRECTORY:
            raise ClusterError(
                f"{self.directory}: more than {LONGEST_DIRECTORY} characters, too long for the "
                "sockets that Slurm makes below it"
            )
        if self.directory.is_relative_to("/tmp"):
            raise ClusterError(f"{self.directory}: choose a directory outside /tmp, nodes hide it")

    def __truediv__(self, name: str) -> Path:
        return self.directory / name

    @property
    def shared(self) -> Path:
        return self / "shared"

    @property
    def conf(self) -> Path:
        return self / "slurm.conf"

    @property
    def control(self) -> Path:
        return self / "control.sock"

    @property
    def lock(self) -> Path:
        """Locked by the watchdog: the cluster lives as long as somebody has this lock."""
        return self / "lock"

    @property
    def munge_socket(self) -> Path:
        return self / "munge/socket"

    def log(self, name: str) -> Path:
        return self / f"log/{name}.log"

    def pid_file(self, host: str) -> Path:
        """Holds the process id, seen from outside, of the host's process 1."""
        return self / f"pid/{host}"

    def options(self) -> Options:
        return Options.load((self / "options.json").read_text())

    def make(self, options: Options) -> None:
        for name in _DIRECTORIES:
            (self / name).mkdir()
        self.directory.chmod(0o755)
        # Like /tmp, because jobs may run as any user.
        self.shared.chmod(0o1777)
        (self / "options.json").write_text(options.dump())

    def environment(self) -> dict[str, str]:
        """What programs need to find this cluster's Slurm."""
        return {
            "SLURM_CONF": str(self.conf),
            "HPCORCH_TESTBED_DIR": str(self.directory),
            "HPCORCH_TESTBED_SHARED": str(self.shared),
        }
