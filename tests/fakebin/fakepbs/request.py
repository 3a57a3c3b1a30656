"""What qsub was asked for, on its command line and by `#PBS` lines, and what PBS refuses."""

from __future__ import annotations

import getopt
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_OPTIONS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
_RESOURCES = {"select", "place", "walltime", "ncpus", "nodes", "mem", "filesystems", "nodect"}
_CHUNK_RESOURCES = {"ncpus", "mpiprocs", "ompthreads", "mem", "host", "vnode"}
_PLACES = {"free", "pack", "scatter", "vscatter", "excl", "exclhost", "shared"}
USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version
"""


class Refused(Exception):
    """A call that PBS refuses: what it says, and its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Chunk:
    """One piece of a job, which runs on one node."""

    ncpus: int = 1
    mpiprocs: int = 1
    ompthreads: int | None = None
    host: str = ""


@dataclass(frozen=True)
class Request:
    """A submission that was understood. `indices` is None for a job that is no array."""

    script: str
    name: str
    chunks: tuple[Chunk, ...]
    select: str
    place: str
    arguments: str
    indices: tuple[int, ...] | None = None
    submitted_indices: str = ""
    max_running: int | None = None
    walltime: int | None = None
    queue: str = ""
    account: str = ""
    output: str = ""
    error: str = ""
    join: str = "n"
    keep: str = "n"
    shell: str = ""
    held: bool = False
    variables: dict[str, str] = field(default_factory=dict)


def parse(argv: list[str], cwd: str, environ: dict[str, str]) -> Request:
    """Read a command line and the script that it names; raises Refused as PBS does."""
    try:
        given, rest = getopt.getopt(argv, _OPTIONS)
    except getopt.GetoptError as error:
        raise Refused(f"qsub: invalid option -- '{error.opt}'\n{USAGE}", 2) from error
    if len(rest) > 1:
        raise Refused(USAGE, 2)
    text, name = _script(rest[0] if rest else "", cwd)
    options = [*_directives(text), *given]
    last = {key[1]: value for key, value in options}
    resources = _resources(options)
    indices = _indices(last["J"]) if "J" in last else None
    if indices is not None and last.get("r") == "n":
        raise Refused(f"qsub:  cannot submit non-rerunable Array Job\n{USAGE}", 2)
    select, place, chunks = _chunks(resources)
    return Request(
        script=text,
        name=_name(last.get("N", name)),
        chunks=chunks,
        select=select,
        place=place,
        arguments=" ".join(argv),
        indices=indices,
        submitted_indices=last.get("J", "").partition("%")[0],
        max_running=int(last["J"].partition("%")[2]) if "%" in last.get("J", "") else None,
        walltime=_seconds(resources["walltime"]) if "walltime" in resources else None,
        queue=last.get("q", ""),
        account=last.get("A", ""),
        output=last.get("o", ""),
        error=last.get("e", ""),
        join=last.get("j", "n"),
        keep=last.get("k", "n"),
        shell=last.get("S", ""),
        held="h" in last,
        variables=_variables(last, environ),
    )


def _script(named: str, cwd: str) -> tuple[str, str]:
    if not named:
        return "", "STDIN"
    path = Path(cwd, named)
    if path.is_dir():
        raise Refused("qsub: script not a file\n", 1)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise Refused(f"qsub: script file:: {error.strerror}\n", 1) from error
    if "\r\n" in text:
        raise Refused("qsub: script contains cr, lf\n", 1)
    return text, path.name


def _directives(script: str) -> Iterable[tuple[str, str]]:
    """Yield the options of the header: it ends with the first line that is no comment."""
    for line in script.splitlines():
        words = line.strip()
        if words.startswith("#PBS "):
            text = words.removeprefix("#PBS ").strip()
            try:
                found, rest = getopt.getopt(shlex.split(text), _OPTIONS)
            except getopt.GetoptError as error:
                problem = f"qsub: invalid option -- '{error.opt}'\nqsub: directive error: {text} \n"
                raise Refused(problem, 1) from error
            if rest:
                raise Refused(f"qsub: directive error: {text} \n", 1)
            yield from found
        elif words and not words.startswith(("#", ":")):
            return


def _resources(options: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in options:
        for item in value.split(",") if key == "-l" else ():
            name, _, amount = item.partition("=")
            if name not in _RESOURCES:
                raise Refused(f"qsub: Unknown resource Resource_List.{name}\n", 187)
            found[name] = amount
    if "select" in found or "place" in found:
        if "nodes" in found:
            raise Refused("qsub: Cannot be used with select or place: nodes\n", 6)
        if "ncpus" in found:
            reason = 'qsub: "-lresource=" cannot be used with "select" or "place", resource is: '
            raise Refused(f"{reason}ncpus\n", 5)
    return found


def _chunks(resources: dict[str, str]) -> tuple[str, str, tuple[Chunk, ...]]:
    place = resources.get("place", "pack")
    if set(place.split(":")) - _PLACES:
        raise _illegal("place")
    select = resources.get("select", f"1:ncpus={resources.get('ncpus', '1')}")
    if "nodes" in resources:
        count, _, processes = resources["nodes"].partition(":ppn=")
        processes = processes or "1"
        select = f"{count}:ncpus={processes}:mpiprocs={processes}"
        place = "scatter"
    chunks: list[Chunk] = []
    for part in select.split("+"):
        first, *facts = part.split(":")
        if not first.isdigit():
            first, facts = "1", [first, *facts]
        values = dict(fact.partition("=")[::2] for fact in facts)
        for name, value in values.items():
            if name not in _CHUNK_RESOURCES:
                raise Refused(f"qsub: Unknown resource: {name}\n", 187)
            if not value:
                raise _illegal("select")
        threads = values.get("ompthreads")
        chunk = Chunk(
            int(values.get("ncpus", "1")),
            int(values.get("mpiprocs", "1")),
            int(threads) if threads else None,
            values.get("host", ""),
        )
        chunks += [chunk] * int(first)
    return select, place, tuple(chunks)


def _illegal(name: str) -> Refused:
    return Refused(f"qsub: Illegal attribute or resource value Resource_List.{name}\n", 166)


def _indices(text: str) -> tuple[int, ...]:
    found = re.fullmatch(r"(\d+)-(\d+)(?::([1-9]\d*))?(?:%[1-9]\d*)?", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise Refused(f"qsub: illegal -J value\n{USAGE}", 2)
    return tuple(range(int(found[1]), int(found[2]) + 1, int(found[3] or 1)))


def _name(text: str) -> str:
    if len(text) > 230:
        raise Refused("qsub: Job name is too long \n", 2)
    if not re.fullmatch(r"[^\s/@\[\]]+", text) or not text.isascii():
        raise Refused(f"qsub: illegal -N value\n{USAGE}", 2)
    return text


def _seconds(text: str) -> int:
    if not re.fullmatch(r"(\d+:){0,2}\d+", text):
        raise _illegal("walltime")
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total


def _variables(last: dict[str, str], environ: dict[str, str]) -> dict[str, str]:
    found = dict(environ) if "V" in last else {}
    for word in filter(None, last.get("v", "").split(",")):
        name, equals, value = word.partition("=")
        if not equals and name not in environ:
            raise Refused("qsub: cannot send environment with the job\n", 1)
        found[name] = value if equals else environ[name]
    return found
