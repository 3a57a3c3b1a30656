"""The programs' side: a message to the server, and what is printed of its answer."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

VERSION = "23.06.06"
# What each program says when nobody listens, and its exit code.
_DOWN = {
    "qstat": ("qstat: cannot connect to server head (errno=15010)", 255),
    "qsub": ("qsub: cannot connect to server head (errno=15010)", 162),
    "qselect": ("qselect: cannot connect to server head (errno=15010)", 162),
    "qdel": ("Couldn't connect to cluster: head", 162),
    "pbsnodes": ("pbsnodes: cannot connect to server head, error=15010", 1),
}
_EMPTY = (
    '{\n\t"timestamp":\t%d,\n\t"pbs_version":\t"' + VERSION + '",\n\t"pbs_server":\t"head"\n}\n'
)


def root() -> Path:
    """Return the directory of the server, which pbs.conf is in."""
    return Path(os.environ["PBS_CONF_FILE"]).parent


def ask(message: dict[str, Any], where: Path | None = None) -> dict[str, Any]:
    """Return the server's answer; it may never come."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str((where or root()) / "socket"))
        connection.sendall(json.dumps(message).encode() + b"\n")
        with connection.makefile() as stream:
            found: dict[str, Any] = json.loads(stream.read())
    return found


def main() -> int:
    """Be the program whose name this process has."""
    program, argv = Path(sys.argv[0]).name, sys.argv[1:]
    if program in ("pbsdsh", "pbs_tmrsh"):
        return {"pbsdsh": pbsdsh, "pbs_tmrsh": pbs_tmrsh}[program](argv)
    if argv == ["--version"]:
        print(f"pbs_version = {VERSION}")
        return 0
    message = {
        "program": program,
        "argv": argv,
        "cwd": str(Path.cwd()),
        "environ": dict(os.environ),
        "user": pwd.getpwuid(os.getuid()).pw_name,
    }
    try:
        found = ask(message)
    except (ConnectionRefusedError, FileNotFoundError):
        words, code = _DOWN[program]
        if program == "qstat" and "json" in argv:
            print(_EMPTY % time.time(), end="")
        print(f"Connection refused\n{words}", file=sys.stderr)
        return code
    sys.stdout.write(found["out"])
    sys.stderr.write(found["err"])
    return int(found["code"])


def pbsdsh(argv: list[str]) -> int:
    """Run a command on one node of the job, or on all; ends with 0 whatever happened."""
    if "PBS_JOBID" not in os.environ:
        print("pbsdsh: not executing under PBS", file=sys.stderr)
        return 1
    node = None
    if argv[:1] == ["-n"]:
        node, argv = int(argv[1]), argv[2:]
    argv = argv[1:] if argv[:1] == ["--"] else argv
    nodes = _remote(do="nodes")["out"].splitlines()
    for number, code in enumerate(_run(range(len(nodes)) if node is None else [node], argv)):
        if code:
            print(f"pbsdsh: task 0x{number:08x} exit status {code}", file=sys.stderr)
    return 0


def pbs_tmrsh(argv: list[str]) -> int:
    """Run a command on a node by its name as PBS_NODEFILE spells it; ends with its exit code."""
    if "PBS_JOBID" not in os.environ:
        print("pbs_tmrsh: not executing under PBS", file=sys.stderr)
        return 255
    nodes = [f"{name}.cluster.test" for name in _remote(do="nodes")["out"].splitlines()]
    if argv[0] not in nodes:
        print(f'pbs_tmrsh: host "{argv[0]}" is not in the job', file=sys.stderr)
        return 255
    return _run([nodes.index(argv[0])], argv[1:])[0]


def _remote(**message: Any) -> dict[str, Any]:
    return ask({"program": "remote", "job": os.environ["PBS_JOBID"], **message})


def _run(nodes: range | list[int], argv: list[str]) -> list[int]:
    """Start a command on nodes, pass signals on to it, return its exit codes."""
    started = [_remote(do="start", node=node, argv=argv) for node in nodes]

    def pass_on(number: int, _: FrameType | None) -> None:
        for item in started:
            _remote(do="signal", pid=item["out"], number=number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    return [_code(item) for item in started]


def _code(started: dict[str, Any]) -> int:
    if started["code"]:
        return int(started["code"])
    while True:
        ended = _remote(do="poll", pid=started["out"])
        # A job that is gone takes its processes along.
        if ended["out"] or ended["code"]:
            return int(ended["out"] or 1)
        time.sleep(0.05)
