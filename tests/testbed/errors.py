"""What the test bed raises."""

from __future__ import annotations

import shlex
import subprocess


class ClusterError(Exception):
    """Something that a person can act on, said in one sentence."""


class NotAllowed(ClusterError):
    """The machine lacks what makes a cluster possible."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"this machine does not let us make namespaces, mounts and network devices ({error}); "
            "CAP_SYS_ADMIN and CAP_NET_ADMIN are needed (in a container: --privileged), and a "
            "kernel with bridge and veth devices"
        )


class CommandFailed(subprocess.CalledProcessError):
    """A command in the cluster ended with a status other than 0; says what it printed."""

    def __str__(self) -> str:
        command = self.cmd if isinstance(self.cmd, str) else shlex.join(self.cmd)
        return (
            f"exit status {self.returncode} of: {command}\n"
            f"--- stdout\n{self.stdout or ''}\n--- stderr\n{self.stderr or ''}"
        )
