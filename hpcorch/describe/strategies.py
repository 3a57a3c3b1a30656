"""How the parameters of an ensemble's members follow from lists of values."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

from hpcorch.errors import InputError, InputTypeError

Value = str | int | float
Combination = dict[str, Value]
# Takes the names, the list of values of each, and the wanted number (0: not said).
Strategy = Callable[[list[str], list[list[Value]], int], Sequence[Mapping[str, Value]]]
NAMES = ("all_perm", "step", "random")


def combinations(
    params: Mapping[str, Sequence[Value]], strategy: str | Strategy, n_models: int, seed: int
) -> list[Combination]:
    """Return the parameters of each member; raises InputError or InputTypeError."""
    names, values = list(params), [list(items) for items in params.values()]
    if strategy == "random":
        return _random(names, values, n_models, seed)
    if seed:
        raise InputError(f"seed is {seed}: only the strategy random draws anything")
    if callable(strategy):
        return _asked(strategy, names, values, n_models)
    if strategy not in NAMES:
        known = ", ".join(NAMES)
        raise InputError(f"perm_strategy is {strategy!r}: it must be a callable or one of {known}")
    rows = product(*values) if strategy == "all_perm" else _step(names, values)
    found = [dict(zip(names, row, strict=True)) for row in rows]
    if n_models not in (0, len(found)):
        raise InputError(f"n_models is {n_models}: the strategy {strategy} makes {len(found)}")
    return found


def _step(names: list[str], values: list[list[Value]]) -> Iterable[tuple[Value, ...]]:
    lengths = {name: len(items) for name, items in zip(names, values, strict=True)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} of {name}" for name, length in lengths.items())
        raise InputError(f"params has {told}: the strategy step needs equally many values of each")
    return zip(*values, strict=True)


def _random(
    names: list[str], values: list[list[Value]], n_models: int, seed: int
) -> list[Combination]:
    """Draw distinct combinations by their number in the product, which is never built."""
    total = math.prod(len(items) for items in values)
    if n_models > total:
        raise InputError(f"n_models is {n_models}: params has {total} combinations")
    chosen = _draw(random.Random(seed), total, n_models or total)
    return [dict(zip(names, _row(values, number), strict=True)) for number in chosen]


def _draw(source: random.Random, total: int, count: int) -> Sequence[int]:
    if total <= sys.maxsize:
        return source.sample(range(total), count)
    # Too many for a range; two draws are as good as never equal, and a repeated one is not kept.
    found: dict[int, None] = {}
    while len(found) < count:
        found[source.randrange(total)] = None
    return list(found)


def _row(values: list[list[Value]], number: int) -> list[Value]:
    """Return row `number` of the product of `values`, in which the last one changes first."""
    row: list[Value] = []
    for items in reversed(values):
        number, place = divmod(number, len(items))
        row.append(items[place])
    return row[::-1]


def _asked(
    strategy: Strategy, names: list[str], values: list[list[Value]], n_models: int
) -> list[Combination]:
    answer: object = strategy(names, values, n_models)
    made = answer if isinstance(answer, (list, tuple)) else [answer]
    found = [dict(item) for item in made if isinstance(item, Mapping)]
    if len(found) < len(made):
        raise InputTypeError(
            f"perm_strategy returned {answer!r}: it must return a list of mappings of parameter "
            "names to values"
        )
    return found
