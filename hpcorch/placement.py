"""Attached files into run directories: everything is looked at before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcorch import rundir
from hpcorch.describe import check
from hpcorch.describe.files import AttachedFiles
from hpcorch.describe.model import Model
from hpcorch.errors import InputError
from hpcorch.plan.configure import DEFAULT_MARKER, configure

# What hpcorch itself writes into a run directory.
_OURS = frozenset(
    {
        *("exit", "logs", "shards", "tls", "credentials", "admin-credentials"),
        *("job.sh", "job.sbatch", "job.pbs", "job.json", "address.env", "address.json"),
        *("task-table", rundir.PARAMETERS),
    }
)
# Further scripts of a run that one array cannot hold.
_SCRIPT = re.compile(r"job\.\d+\.(sh|sbatch|pbs)")


# How names of files become bytes.
_BYTES = ("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Placement:
    """What goes into a run directory: source by target, a path inside the directory.

    `folders` are those that hold nothing: a program may expect them all the same. `sources` tells
    whether a source was changed since.
    """

    files: AttachedFiles
    copies: Mapping[str, str]
    links: Mapping[str, str]
    configured: Mapping[str, str]
    folders: tuple[str, ...] = ()
    sources: str = ""


@dataclass(frozen=True)
class Order:
    """What to put where: checked, and not done yet. `owner` is the ensemble, or the program."""

    placement: Placement
    directory: Path
    owner: str
    name: str
    params: Mapping[str, str]
    marker: str


def survey_all(
    programs: Iterable[tuple[str, Model, Path]], marker: str | None = None
) -> list[Order]:
    """Look at the files of programs, each with its owner and directory; raises what survey raises.

    Without a marker those that are there already are left out. What several members of an ensemble
    want is looked at once.
    """
    orders = []
    found: dict[tuple[str, AttachedFiles], Placement] = {}
    sources: dict[AttachedFiles, str] = {}
    for owner, model, where in programs:
        params = {key: str(value) for key, value in model.params.items()}
        if model.files not in sources:
            sources[model.files] = _fingerprint(model.files)
        chosen = marker or generated_marker(where, params, model.files, sources[model.files])
        if chosen is not None and (params or model.files):
            key = (owner, model.files)
            if key not in found:
                found[key] = survey(*key)
            orders.append(Order(found[key], where, owner, model.name, params, chosen))
    return orders


def carry_out(order: Order) -> list[str]:
    """Put the files into the run directory, and write down the parameters.

    Files of those names are replaced, each at once. Returns warnings: parameters that no file uses,
    markers that no parameter names. Raises StorageError.
    """
    placement, directory = order.placement, order.directory
    rundir.make_private(directory)
    for target in placement.folders:
        rundir.put_folder(directory, target)
    for target, source in placement.copies.items():
        rundir.put_copy(directory, target, Path(source))
    for target, source in placement.links.items():
        rundir.put_link(directory, target, source)
    used: set[str] = set()
    defaults: dict[str, None] = {}
    for target, source in placement.configured.items():
        if not Path(source).is_file():
            rundir.put_copy(directory, target, Path(source))
            continue
        done = configure(Path(source).read_bytes(), order.params, order.marker)
        rundir.put_copy(directory, target, Path(source), done.data)
        used |= done.used
        defaults.update(dict.fromkeys(done.defaults))
    of_files = described(placement.files, order.marker, placement.sources)
    record = {"name": order.name, "params": dict(order.params), **of_files}
    rundir.write_whole(directory / rundir.PARAMETERS, json.dumps(record, indent=1) + "\n")
    return complaints(order.owner, placement, order.params, used, list(defaults))


def survey(name: str, files: AttachedFiles) -> Placement:
    """Find every file of `files` that the entity `name` wants; nothing is written.

    What is configured wins over a copy with the same target. Raises InputError that names the field
    and the path when one is missing, cannot be read, or would take the place of hpcorch's own.
    """
    configured = _by_target("to_configure", name, _found("to_configure", name, files.to_configure))
    copies = _by_target("to_copy", name, _found("to_copy", name, files.to_copy))
    for path in files.to_symlink:
        if not Path(path).exists():
            raise _missing("to_symlink", name, path)
    links = _by_target("to_symlink", name, ((Path(path).name, path) for path in files.to_symlink))
    empty = _empty_folders((*files.to_copy, *files.to_configure))
    inside = {str(it) for name in (*copies, *configured, *empty) for it in Path(name).parents}
    folders = {*inside, *empty}
    for target in (*copies, *configured, *links):
        _refuse_ours(name, target)
        if target in folders or (target in links and target in {*copies, *configured}):
            raise InputError(f"two attached files of {name} are to be at {target}")
    return Placement(
        files,
        {target: path for target, path in copies.items() if target not in configured},
        links,
        configured,
        tuple(sorted(empty)),
        _fingerprint(files),
    )


def note_marker(directory: Path, name: str, marker: str) -> None:
    """Write down that an ensemble was generated: its nodes ask for the marker later."""
    text = json.dumps({"name": name, "marker": marker}, indent=1) + "\n"
    rundir.write_whole(directory / rundir.PARAMETERS, text)


def noted_marker(directory: Path) -> str:
    """Return the marker of an ensemble's files, the usual one if it was not generated."""
    return str(rundir.parameters(directory).get("marker") or DEFAULT_MARKER)


def is_generated(directory: Path) -> bool:
    """Say whether files were put into this directory before."""
    return (directory / rundir.PARAMETERS).exists()


def generated_marker(
    directory: Path, params: Mapping[str, str], files: AttachedFiles, sources: str
) -> str | None:
    """Return the marker to generate a directory with, None if it was generated from all this.

    `sources` is how the files are now. Those that were removed meanwhile are not missed.
    """
    known = rundir.parameters(directory)
    marker = str(known.get("marker") or DEFAULT_MARKER)
    unknown = not sources or "sources" not in known
    seen = str(known.get("sources")) if unknown else sources
    wanted = {"params": dict(params), **described(files, marker, seen)}
    if unknown:
        del wanted["sources"]
    if not (params or files) or all(known.get(key) == value for key, value in wanted.items()):
        return None
    return marker


def _fingerprint(files: AttachedFiles) -> str:
    """Return what changes when a source does: of times and sizes. Empty when one is missing."""
    found = hashlib.sha256()
    try:
        for path in (*files.to_copy, *files.to_configure):
            for source in _walked(path):
                found.update(f"{source}\0{_state(source)}\0".encode(*_BYTES))
    except OSError:
        return ""
    return found.hexdigest()


def _walked(path: str) -> Iterator[str]:
    yield os.path.realpath(path)
    for folder, directories, names in os.walk(path):
        directories.sort()
        yield from (f"{folder}/{name}" for name in sorted((*directories, *names)))


def _state(source: str) -> str:
    path = Path(source)
    if path.is_dir():
        # Its time tells of files that have come and gone as well.
        return ""
    known = path.stat() if path.exists() else path.lstat()
    return f"{known.st_mtime_ns} {known.st_size}"


def described(files: AttachedFiles, marker: str, sources: str) -> dict[str, object]:
    """Return what is written down of files that were put into a run directory."""
    return {
        "marker": marker,
        "sources": sources,
        "to_copy": list(files.to_copy),
        "to_symlink": list(files.to_symlink),
        "to_configure": list(files.to_configure),
    }


def checked_marker(tag: object) -> str:
    """Return the text that stands on both sides of a marker; None means the usual one."""
    if tag is None:
        return DEFAULT_MARKER
    found = check.line("tag", tag)
    if not found:
        raise InputError("tag is '': it must be at least one character")
    return found


def complaints(
    name: str, placement: Placement, params: Iterable[str], used: set[str], defaults: list[str]
) -> list[str]:
    """Return warnings: parameters that no file uses, markers that no parameter names."""
    found = []
    unused = [key for key in params if key not in used]
    if placement.configured and unused:
        found.append(f"params of {name} are in none of its configured files: {_some(unused)}")
    if defaults:
        found.append(
            f"markers of {name} that no parameter names keep their text: {_some(defaults)}"
        )
    return found


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if names[10:] else "")


def _found(field: str, name: str, paths: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield target and source of every file; those in directories by their paths inside."""
    for path in map(Path, paths):
        if not path.exists():
            raise _missing(field, name, str(path))
        if not path.is_dir():
            yield path.name, _readable(field, name, path)
            continue
        for folder, directories, names in os.walk(path, onerror=_raise):
            inside = (item for item in directories if Path(folder, item).is_symlink())
            for item in sorted((*names, *inside)):
                source = Path(folder, item)
                yield str(source.relative_to(path)), _readable(field, name, source)


def _empty_folders(paths: Iterable[str]) -> set[str]:
    """Return the folders below `paths` that hold nothing, without those that hpcorch makes."""
    found = set()
    for path in paths:
        for folder, directories, names in os.walk(path):
            if folder != path and not directories and not names:
                found.add(str(Path(folder).relative_to(path)))
    return {target for target in found if Path(target).parts[0] not in _OURS}


def _by_target(field: str, name: str, found: Iterable[tuple[str, str]]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for target, source in found:
        if sources.setdefault(target, source) != source:
            raise InputError(
                f"{field} of {name} holds {sources[target]!r} and {source!r}: both are to be at "
                f"{target}"
            )
    return sources


def _raise(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def _readable(field: str, name: str, path: Path) -> str:
    """Return `path` if it can be copied: an ordinary file, or a link that leads to no file."""
    if path.is_file():
        if not os.access(path, os.R_OK):
            raise InputError(f"{field} of {name} holds {str(path)!r}: you may not read it")
    elif not path.is_symlink():
        raise InputError(f"{field} of {name} holds {str(path)!r}: it is no ordinary file")
    return str(path)


def _missing(field: str, name: str, path: str) -> InputError:
    return InputError(f"{field} of {name} holds {path!r}: there is no such file or directory")


def _refuse_ours(name: str, target: str) -> None:
    first = Path(target).parts[0]
    if first in {*_OURS, f"{name}.out", f"{name}.err"} or _SCRIPT.fullmatch(target):
        raise InputError(
            f"an attached file of {name} is to be at {target}: hpcorch writes that name itself"
        )
