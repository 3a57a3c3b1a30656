"""Checks of file systems: what run directories rely on is really tried, in a private directory."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hpcorch import paths
from hpcorch.cli.finding import Finding, judged
from hpcorch.errors import HpcorchError
from hpcorch.sites import Site, template_dirs

# sockaddr_un holds 108 bytes, one of them the terminating NUL.
_LONGEST_SOCKET_PATH = 107
# The longest socket that a colocated job makes below TMPDIR; the X stand for its random name.
_SOCKET = "hpcorch.XXXXXXXXXXXX.{node}/server0/worker.0.socket"
_MOST_SKEW_SECONDS = 2.0
_LITTLE_SPACE = 2**30
_OTHER_PLACE = "choose another file system with --path"


def files(environ: Mapping[str, str], site: Site, directory: Path) -> list[Finding]:
    """Return all findings about files."""
    return [
        *run_directory(directory),
        *temporary(environ.get("TMPDIR") or "/tmp"),
        *templates(site, environ),
    ]


def run_directory(directory: Path) -> list[Finding]:
    """Try on the file system of `directory` what the coordination of jobs relies on."""
    name = "run directory"
    if not directory.is_dir():
        cure = f"mkdir -p {directory}"
        return [Finding(name, "fail", f"{directory} is no directory", cure)]
    try:
        private = Path(tempfile.mkdtemp(prefix=".hpcorch-doctor.", dir=directory))
    except OSError as error:
        detail = f"{directory} cannot be written: {error.strerror}"
        return [Finding(name, "fail", detail, "choose a directory of yours with --path")]
    try:
        tried = [_tried(check, probe, private) for check, probe in _PROBES.items()]
        clock = _clock(private)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return [Finding(name, "ok", str(directory)), *tried, clock, space(directory)]


def _tried(check: str, probe: Callable[[Path], bool], private: Path) -> Finding:
    try:
        problem = "" if probe(private) else "it did not do what POSIX says"
    except OSError as error:
        problem = error.strerror or str(error)
    return judged(check, not problem, "works", _OTHER_PLACE, "fail", f"{private.parent}: {problem}")


def _renames(private: Path) -> bool:
    old, new = private / "old", private / "new"
    old.write_text("old")
    new.write_text("new")
    new.replace(old)
    return old.read_text() == "new" and not new.exists()


def _creates_exclusively(private: Path) -> bool:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(os.open(private / "exclusive", flags, 0o600))
    try:
        os.close(os.open(private / "exclusive", flags, 0o600))
    except FileExistsError:
        return True
    return False


def _links(private: Path) -> bool:
    first, second = private / "first", private / "second"
    first.write_text("first")
    second.hardlink_to(first)
    try:
        second.hardlink_to(first)
    except FileExistsError:
        return first.stat().st_nlink == 2
    return False


def _symlinks(private: Path) -> bool:
    link = private / "link"
    link.symlink_to("nowhere")
    return str(link.readlink()) == "nowhere"


def _keeps_modes(private: Path) -> bool:
    file = private / "secret"
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (private, file)]
    return modes == [0o700, 0o600]


_PROBES: dict[str, Callable[[Path], bool]] = {
    "rename": _renames,
    "exclusive create": _creates_exclusively,
    "hard links": _links,
    "symbolic links": _symlinks,
    "private modes": _keeps_modes,
}


def _clock(private: Path) -> Finding:
    mark = private / "clock"
    before = time.time()
    try:
        mark.write_text("now")
    except OSError as error:
        problem = f"{private.parent}: {error.strerror}"
        return Finding("clock", "fail", problem, _OTHER_PLACE)
    # A slow file system is no wrong clock: it may have written at any time until now.
    after, written = time.time(), mark.stat().st_mtime
    return skew(min(written - before, 0.0) + max(written - after, 0.0))


def skew(seconds: float) -> Finding:
    """Judge how far the file system's clock is ahead of this machine's."""
    return judged(
        "clock",
        abs(seconds) <= _MOST_SKEW_SECONDS,
        "file system and machine agree",
        "let this machine and the file server follow the same time server",
        problem=f"the file system's clock is {seconds:+.1f} s from this machine's",
    )


def space(directory: Path) -> Finding:
    """Judge the free space for logs and checkpoints."""
    free = shutil.disk_usage(directory).free
    detail = f"{free / 2**30:.1f} GiB are free"
    return judged("free space", free >= _LITTLE_SPACE, detail, _OTHER_PLACE)


def temporary(tmpdir: str) -> list[Finding]:
    """Look at the directory for sockets: it must be there, be writable and have a short path."""
    name = _SOCKET.format(node=platform.node().partition(".")[0])
    path = f"{tmpdir.rstrip('/')}/{name}"
    length = len(os.fsencode(path))
    cure = "export TMPDIR=/tmp, or another short path"
    usable = os.access(tmpdir, os.W_OK | os.X_OK) and Path(tmpdir).is_dir()
    return [
        judged("TMPDIR", usable, tmpdir, cure, "fail", f"{tmpdir} is no directory you can write"),
        judged(
            "socket paths",
            length <= _LONGEST_SOCKET_PATH,
            f"{length} of {_LONGEST_SOCKET_PATH} bytes",
            cure,
            "fail",
            f"{path} has {length} bytes, and {_LONGEST_SOCKET_PATH} are allowed",
        ),
    ]


def templates(site: Site, environ: Mapping[str, str]) -> list[Finding]:
    """Look at the template directories: the shipped one, the profile's, and others that exist."""
    from hpcorch.render import refuse_if_others_may_write

    try:
        found = [Finding("templates", "ok", f"{paths.templates_dir()} (shipped)")]
    except HpcorchError as error:
        found = [Finding("templates", "fail", error.message, error.hint)]
    for name in template_dirs(site, environ):
        try:
            refuse_if_others_may_write(Path(name))
            found.append(Finding("templates", "ok", f"{name}: hpcorch template lint checks it"))
        except HpcorchError as error:
            cure = error.hint or f"chown {name}"
            found.append(Finding("templates", "fail", error.message, cure))
        except OSError as error:
            origin = site.origins["template_dirs"]
            cure = f"correct template_dirs in {origin}"
            found.append(Finding("templates", "fail", f"{name}: {error.strerror}", cure))
    return found
