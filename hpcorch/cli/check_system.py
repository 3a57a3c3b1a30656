"""Checks of the machine: interfaces, limits, and kernel settings that databases feel."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from hpcorch.cli.finding import Finding, judged

_GET_ADDRESS = 0x8915  # SIOCGIFADDR
# maxclients of a database, and the file descriptors that a server keeps for itself.
_NEEDED_FILES = 50_000 + 32
_NEEDED_PROCESSES = 1024
_NEEDED_BACKLOG = 4096
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_BACKLOG = Path("/proc/sys/net/core/somaxconn")


def system(wanted: Sequence[str]) -> list[Finding]:
    """Return all findings about the machine; `wanted` are the interfaces to listen on."""
    return [
        *interfaces(wanted, addresses()),
        *limits(),
        *huge_pages(_text(_HUGE_PAGES)),
        *overcommit(_text(_OVERCOMMIT)),
        *backlog(_text(_BACKLOG)),
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def addresses() -> dict[str, str]:
    """Return the IPv4 address of every interface that has one."""
    import fcntl

    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            question = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(asker.fileno(), _GET_ADDRESS, question)
            except OSError:
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return found


def interfaces(wanted: Sequence[str], here: dict[str, str]) -> list[Finding]:
    """Judge whether the interfaces to listen on have an address."""
    listing = ", ".join(f"{name} {ip}" for name, ip in here.items()) or "none"
    lacking = [
        Finding(
            "interface",
            "fail",
            f"{name} has no IPv4 address on this machine",
            f"use one of these: {listing}",
        )
        for name in wanted
        if name not in here
    ]
    cure = "configure the network of this machine, its loopback interface included"
    return [judged("interfaces", bool(here), listing, cure, "fail"), *lacking]


def limits() -> list[Finding]:
    """Judge the limits that jobs started from here inherit."""
    import resource

    # A server raises its own soft limit as far as the hard one allows.
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return [
        limit("nofile", files, _NEEDED_FILES, "a database for 50000 clients"),
        limit("nproc", processes, _NEEDED_PROCESSES, "a database of many shards on one machine"),
    ]


def limit(name: str, value: int, needed: int, user: str) -> Finding:
    """Judge one resource limit, of which `user` may need so much; negative means unlimited."""
    shown = "unlimited" if value < 0 else str(value)
    return judged(
        f"limit {name}",
        value < 0 or value >= needed,
        shown,
        f"raise {name} in /etc/security/limits.conf or in the batch system",
        problem=f"{shown}, and {user} may need {needed}",
    )


def huge_pages(text: str) -> list[Finding]:
    """Judge what transparent huge pages are set to."""
    chosen = re.search(r"\[(\w+)\]", text)
    if chosen is None:
        return []
    return [
        judged(
            "huge pages",
            chosen[1] != "never",
            f"transparent huge pages: {chosen[1]}",
            f"as root: echo madvise > {_HUGE_PAGES}",
            problem="transparent huge pages are off: large tensors are slower",
        )
    ]


def overcommit(text: str) -> list[Finding]:
    """Judge whether the kernel may refuse memory that a server reserves."""
    if not text:
        return []
    return [
        judged(
            "overcommit_memory",
            text != "2",
            f"vm.overcommit_memory is {text}",
            "as root: sysctl vm.overcommit_memory=1",
            problem="vm.overcommit_memory is 2: a server that saves its data may be refused memory",
        )
    ]


def backlog(text: str) -> list[Finding]:
    """Judge how many connections may wait for a server."""
    if not text.isdigit():
        return []
    return [
        judged(
            "somaxconn",
            int(text) >= _NEEDED_BACKLOG,
            f"net.core.somaxconn is {text}",
            f"as root: sysctl net.core.somaxconn={_NEEDED_BACKLOG}",
            problem=f"net.core.somaxconn is {text}: when many programs connect at once, some wait",
        )
    ]
