"""Orders to a running cluster: one line of JSON over a Unix socket, and one back."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress

from tests.testbed.errors import ClusterError
from tests.testbed.layout import Layout

# What each order does, for the command line's help.
NODE_ORDERS = {
    "node-down": "power off: everything on the node dies at once",
    "node-up": "power on again",
    "net-down": "pull the node's network cable",
    "net-up": "plug it in again",
    "slurmd-stop": "stop slurmd; jobs on the node go on",
    "slurmd-start": "start it again",
}
SERVICE_ORDERS = {
    "slurmctld-stop": "stop the controller",
    "slurmctld-start": "start it again, with the state it had",
    "slurmdbd-stop": "stop the accounting daemon",
    "slurmdbd-start": "start it again",
    "restore": "undo all of the above",
}
# A controller that is stopped saves its state, and one that starts reads it.
PATIENCE = 90.0


def listen(layout: Layout) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(layout.control))
    server.listen()
    return server


def order(layout: Layout, action: str, node: str = "") -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(layout.control))
        except OSError:
            raise ClusterError(f"no cluster is up in {layout.directory}") from None
        client.sendall(json.dumps({"action": action, "node": node}).encode() + b"\n")
        with client.makefile() as answers:
            answer = answers.readline()
    error = json.loads(answer)["error"] if answer else "the cluster ended"
    if error:
        raise ClusterError(f"{action}: {error}")


def answer(server: socket.socket, obey: Callable[[str, str], None]) -> None:
    """Take one order and carry it out."""
    connection, _ = server.accept()
    # Whoever asked may have gone meanwhile.
    with suppress(OSError), connection, connection.makefile("rw") as stream:
        connection.settimeout(30)
        stream.write(json.dumps({"error": _carry_out(stream.readline(), obey)}) + "\n")
        stream.flush()


def _carry_out(line: str, obey: Callable[[str, str], None]) -> str | None:
    try:
        request = json.loads(line)
        obey(request["action"], request["node"])
    except (ClusterError, LookupError, OSError, ValueError) as error:
        return str(error) or repr(error)
    return None
