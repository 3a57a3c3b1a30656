"""Attached files into run directories: everything is looked at before anything is written."""

from __future__ import annotations

import json
import os
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
        *("task-table.json", "task-table.tsv", rundir.PARAMETERS),
    }
)


@dataclass(frozen=True)
class Placement:
    """What goes into a run directory: source by target, a path inside the directory."""

    files: AttachedFiles
    copies: Mapping[str, str]
    links: Mapping[str, str]
    configured: Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """What to put where: checked, and not done yet."""

    placement: Placement
    directory: Path
    name: str
    params: Mapping[str, str]
    marker: str


def survey_all(programs: Iterable[tuple[Model, Path]], marker: str | None = None) -> list[Order]:
    """Look at the files of programs, each with its directory; raises what survey raises.

    Without a marker those that are there already are left out.
    """
    orders = []
    for model, where in programs:
        params = {key: str(value) for key, value in model.params.items()}
        chosen = marker or generated_marker(where, params, model.files)
        if chosen is not None and (params or model.files):
            found = survey(model.name, model.files)
            orders.append(Order(found, where, model.name, params, chosen))
    return orders


def carry_out(order: Order) -> list[str]:
    """Do what was surveyed; returns warnings, raises StorageError: see write."""
    rundir.make_private(order.directory)
    return write(order.placement, order.directory, order.name, order.params, order.marker)


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
    folders = {str(parent) for target in (*copies, *configured) for parent in Path(target).parents}
    for target in (*copies, *configured, *links):
        _refuse_ours(name, target)
        if target in folders or (target in links and target in {*copies, *configured}):
            raise InputError(f"two attached files of {name} are to be at {target}")
    return Placement(
        files,
        {target: path for target, path in copies.items() if target not in configured},
        links,
        configured,
    )


def write(
    placement: Placement,
    directory: Path,
    name: str,
    params: Mapping[str, str],
    marker: str = DEFAULT_MARKER,
) -> list[str]:
    """Put the files into a run directory that exists, and write down the parameters.

    Files of those names are replaced, each at once. Returns warnings: parameters that no file uses,
    markers that no parameter names. Raises StorageError.
    """
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
        done = configure(Path(source).read_bytes(), params, marker)
        rundir.put_copy(directory, target, Path(source), done.data)
        used |= done.used
        defaults.update(dict.fromkeys(done.defaults))
    record = {"name": name, "marker": marker, **_described(params, placement.files)}
    rundir.write_whole(directory / rundir.PARAMETERS, json.dumps(record, indent=1) + "\n")
    return list(_warnings(name, placement, params, used, list(defaults)))


def is_generated(directory: Path) -> bool:
    """Say whether files were put into this directory before."""
    return (directory / rundir.PARAMETERS).exists()


def generated_marker(
    directory: Path, params: Mapping[str, str], files: AttachedFiles
) -> str | None:
    """Return the marker to generate a directory with, None if it was generated from all this."""
    known = rundir.parameters(directory)
    wanted = _described(params, files)
    if not (params or files) or all(known.get(key) == value for key, value in wanted.items()):
        return None
    return str(known.get("marker") or DEFAULT_MARKER)


def _described(params: Mapping[str, str], files: AttachedFiles) -> dict[str, object]:
    return {
        "params": dict(params),
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


def _warnings(
    name: str, placement: Placement, params: Mapping[str, str], used: set[str], defaults: list[str]
) -> Iterator[str]:
    unused = [key for key in params if key not in used]
    if placement.configured and unused:
        yield f"params of {name} are in none of its configured files: {_some(unused)}"
    if defaults:
        yield f"markers of {name} that no parameter names keep their text: {_some(defaults)}"


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
    if Path(target).parts[0] in {*_OURS, f"{name}.out", f"{name}.err"}:
        raise InputError(
            f"an attached file of {name} is to be at {target}: hpcorch writes that name itself"
        )
