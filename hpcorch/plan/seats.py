"""Who sits on which CPU of a node: the plan's own numbers, shown on the CPUs that a job may get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcorch.describe import cpus
from hpcorch.errors import InputError
from hpcorch.plan.jobs import DatabaseJob, Job, ModelJob

_CPUS_A_ROW = 16


@dataclass(frozen=True)
class Seats:
    """CPUs of a node that are dealt out together, and who gets which of them, by name."""

    title: str
    cpus: tuple[int, ...]
    places: tuple[tuple[str, tuple[int, ...]], ...]


def seats(
    job: Job, allowed: Sequence[int], domains: Mapping[int, Sequence[int]]
) -> tuple[Seats, ...]:
    """Return the seats of `job` on a node where it has the CPUs `allowed`.

    `domains` are the node's NUMA domains. Raises InputError when a planned CPU is not among them.
    """
    if isinstance(job, DatabaseJob):
        return (_shards(job, tuple(allowed)),)
    found = _domains(job, allowed, domains)
    return tuple(_model(job, title, near) for title, near in found)


def _domains(
    job: ModelJob, allowed: Sequence[int], domains: Mapping[int, Sequence[int]]
) -> list[tuple[str, tuple[int, ...]]]:
    whole = [("each node", tuple(allowed))]
    if job.colocation is None or job.colocation.per == "node":
        return whole
    parts = {
        number: tuple(cpu for cpu in allowed if cpu in mine) for number, mine in domains.items()
    }
    return [(f"NUMA domain {number}", near) for number, near in parts.items() if near] or whole


def _model(job: ModelJob, title: str, near: tuple[int, ...]) -> Seats:
    if job.colocation is None:
        return Seats(f"{job.name} on {title}", near, (("program", near),))
    wanted = job.colocation.cpus
    server = _chosen(job.name, wanted, near) if wanted else near
    others = tuple(cpu for cpu in near if cpu not in server)
    program = others if job.colocation.limit_app and wanted and others else near
    return Seats(f"{job.name} on {title}", near, (("server", server), ("program", program)))


def _shards(job: DatabaseJob, allowed: tuple[int, ...]) -> Seats:
    lists = [tuple(map(int, text.split())) for text in job.shard_cpus]
    places = [
        (f"shard {place}", _chosen(job.name, wanted, allowed)) for place, wanted in enumerate(lists)
    ]
    return Seats(f"{job.name} on each host", allowed, tuple(places) or (("shards", allowed),))


def _chosen(name: str, wanted: Sequence[int], allowed: Sequence[int]) -> tuple[int, ...]:
    if max(wanted) >= len(allowed):
        raise InputError(
            f"the database of {name} cannot have CPU number {max(wanted)}: the job has "
            f"{len(allowed)} CPUs ({cpus.format_list(allowed)}), numbered from 0"
        )
    return tuple(allowed[number] for number in wanted)


def picture(found: Sequence[Seats]) -> str:
    """Return the seats as text: a column for each CPU, # where somebody may run."""
    return "\n".join(line for item in found for line in _lines(item))


def _lines(item: Seats) -> list[str]:
    lines = [f"{item.title}, which has the CPUs {cpus.format_list(item.cpus)}:"]
    names = ["number", "CPU", *(name for name, _ in item.places)]
    left = max(map(len, names))
    for start in range(0, len(item.cpus), _CPUS_A_ROW):
        row = range(start, min(start + _CPUS_A_ROW, len(item.cpus)))
        cells = [[str(number) for number in row], [str(item.cpus[number]) for number in row]]
        cells += [
            ["#" if item.cpus[number] in mine else "." for number in row] for _, mine in item.places
        ]
        lines += [
            f"  {name:<{left}}" + "".join(f"{cell:>4}" for cell in line)
            for name, line in zip(names, cells, strict=True)
        ]
        lines.append("")
    return lines
