"""What nodes put into the directories of an ensemble's members, as lists that bash works off.

templates/lib/files.sh does what the lists say, when a member starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path

from hpcorch import rundir
from hpcorch.describe.files import AttachedFiles
from hpcorch.describe.model import Model
from hpcorch.errors import InputError
from hpcorch.placement import Placement, complaints, described, survey
from hpcorch.plan import NodeFiles
from hpcorch.plan.configure import configure
from hpcorch.plan.table import line

# So many files go to one call of cp: far below what a command line may hold.
_AT_ONCE = 200


def node_lists(name: str, marker: str) -> Callable[[Model], NodeFiles | None]:
    """Return what tells the list of a member of the ensemble `name`, looking at its files once.

    There is none for members whose files are put in place before they start, or which have neither
    files nor parameters to write down. What is returned raises what survey raises.
    """
    found: dict[tuple[AttachedFiles, tuple[str, ...]], NodeFiles] = {}

    def of(model: Model) -> NodeFiles | None:
        files, params = model.files, tuple(model.params)
        if (files and not files.on_node) or not (files or params):
            return None
        if (files, params) not in found:
            found[files, params] = _listed(name, files, params, marker)
        return found[files, params]

    return of


def _listed(name: str, files: AttachedFiles, params: tuple[str, ...], marker: str) -> NodeFiles:
    placement = survey(name, files)
    record = json.dumps(described(files, marker, placement.sources), ensure_ascii=False)[1:-1]
    lines = [("marker", marker), ("record", record), *_lines(placement)]
    return NodeFiles("".join(map(line, lines)), tuple(_odd(name, placement, params, marker)))


def _lines(placement: Placement) -> Iterator[tuple[str, ...]]:
    """Yield what is to be done: files for one folder together, links as what they lead to."""
    plain = [(target, path) for target, path in placement.copies.items() if Path(path).is_file()]
    for folder, group in groupby(sorted(plain, key=_folder), _folder):
        sources = (source for _, source in group)
        while some := tuple(islice(sources, _AT_ONCE)):
            yield ("copy", folder, *some)
    for target in placement.folders:
        yield ("folder", target)
    for target, source in (*placement.copies.items(), *placement.configured.items()):
        if not Path(source).is_file():
            yield ("link", target, rundir.link_text(target, Path(source)))
    for target, source in placement.links.items():
        yield ("link", target, source)
    for target, source in placement.configured.items():
        if Path(source).is_file():
            yield ("configure", target, source)


def _folder(item: tuple[str, str]) -> str:
    """Return the folder of a target inside the run directory, empty for the directory itself."""
    return item[0].rpartition("/")[0]


def _odd(name: str, placement: Placement, params: Iterable[str], marker: str) -> list[str]:
    used: set[str] = set()
    defaults: dict[str, None] = {}
    for source in placement.configured.values():
        if Path(source).is_file():
            done = configure(_bytes(source), dict.fromkeys(params, ""), marker)
            used |= done.used
            defaults.update(dict.fromkeys(done.defaults))
    return complaints(name, placement, params, used, list(defaults))


def _bytes(source: str) -> bytes:
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from error
