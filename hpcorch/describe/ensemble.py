"""Many programs that differ in parameters or nothing at all, run as one job array."""

from __future__ import annotations

import copy
import numbers
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os.path import abspath
from typing import overload

from hpcorch.describe import check
from hpcorch.describe.files import AttachedFiles, Paths, attached
from hpcorch.describe.model import HasMembers, Model
from hpcorch.describe.settings import BatchSettings, RunSettings, checked_batch
from hpcorch.describe.strategies import Combination, Strategy, Value, combinations
from hpcorch.describe.told import told
from hpcorch.describe.workers import Attachment, Attachments
from hpcorch.errors import InputError, InputTypeError

_MOST_MEMBERS = 10_000_000


class Ensemble(Attachments):
    """Description of programs `name_0`, `name_1`, … that start together.

    `params` gives each parameter one value or a list of values; `perm_strategy` makes members of
    them: all_perm (every combination), step (the first values, the second ones, …), random
    (`n_models` distinct combinations, the same ones for the same `seed`), or a callable that takes
    the names, the lists and n_models and returns a list of mappings. There are `replicas` members
    of each combination. `params_as_args` names parameters that are added to the arguments, as
    `--name=value` or `-n value`. Every member gets a copy of `run_settings`; `batch_settings` is
    what each member asks a batch system for. At most `max_running` members run at once (None: as
    the batch system likes; on one machine as many as it has CPUs). With `batch_settings` alone the
    ensemble is empty, and `add_model` fills it. The members' keys begin with their names.
    Raises InputError or InputTypeError that names the field.
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, Value | Iterable[Value]] | None = None,
        batch_settings: BatchSettings | None = None,
        run_settings: RunSettings | None = None,
        replicas: int | None = None,
        perm_strategy: str | Strategy = "all_perm",
        path: str | None = None,
        params_as_args: Sequence[str] | None = None,
        n_models: int | None = None,
        seed: int | None = None,
        max_running: int | None = None,
    ) -> None:
        super().__init__()
        self.name = check.name("name", name)
        self.path = None if path is None else abspath(check.path("path", path))
        self.batch = checked_batch(batch_settings)
        self.max_running = (
            None if max_running is None else check.integer("max_running", max_running, 1, 10**9)
        )
        _refuse_half(self.name, params, batch_settings, run_settings, replicas)
        self._replicas = 1 if replicas is None else check.integer("replicas", replicas, 1, 10**7)
        self._settings = None if run_settings is None else _copied(run_settings)
        self._combinations: list[Combination] = [{}] if run_settings is not None else []
        wanted = check.integer("n_models", n_models or 0, 0, _MOST_MEMBERS)
        chosen = check.integer("seed", seed or 0, -(2**63), 2**63)
        if params:
            lists = _values(params)
            self._combinations = combinations(lists, perm_strategy, wanted, chosen)
        elif wanted or chosen or perm_strategy != "all_perm":
            raise InputError(
                f"n_models, seed or perm_strategy of {self.name} is set: they choose from params, "
                "and there are none"
            )
        self._as_args = check.texts("params_as_args", params_as_args or ())
        self._generated = len(self._combinations) * self._replicas
        check.integer("the number of members", self._generated, 0, _MOST_MEMBERS)
        self._files = AttachedFiles()
        self._touched: dict[int, Model] = {}
        self._added: list[Model] = []
        # What was said of all members, for those that nobody has looked at yet.
        self._said: list[Callable[[Model], None]] = []
        if self._generated:
            # What is wrong with the first member is wrong with all: it is said now.
            self._make(0)

    def __repr__(self) -> str:
        facts = {"members": len(self), "run_settings": self._settings, "path": self.path}
        return told("Ensemble", {"name": self.name, **facts})

    def __len__(self) -> int:
        return self._generated + len(self._added)

    def __iter__(self) -> Iterator[Model]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, key: int | str) -> Model: ...

    @overload
    def __getitem__(self, key: slice) -> list[Model]: ...

    def __getitem__(self, key: int | str | slice) -> Model | list[Model]:
        """Return a member by number or name; what is changed in it counts when all are started."""
        if isinstance(key, slice):
            return [self[place] for place in range(len(self))[key]]
        number = self._named(key) if isinstance(key, str) else key
        position = range(len(self))[number]
        if position >= self._generated:
            return self._added[position - self._generated]
        if position not in self._touched:
            self._touched[position] = self._make(position)
        return self._touched[position]

    def _named(self, name: str) -> int:
        if self._makes(name):
            return int(name.rpartition("_")[2])
        for place, known in enumerate(self._added):
            if known.name == name:
                return self._generated + place
        raise InputError(f"{name!r} is no member of {self.name}: {self._told_names()}")

    def _told_names(self) -> str:
        names = self.member_names
        return f"it has {names[0]} to {names[-1]}" if names else "it is empty"

    def settle(self, directory: str) -> None:
        """Say where the ensemble has its directory; members without a path run inside it."""
        self.path = directory
        for model in [*self._touched.values(), *self._added]:
            if not model.has_own_path:
                model.settle(f"{directory}/{model.name}")

    @property
    def models(self) -> list[Model]:
        """All members."""
        return list(self)

    @property
    def entities(self) -> list[Model]:
        """All members; another name of `models`."""
        return self.models

    def peek(self) -> Iterator[Model]:
        """Yield the members without keeping those that nobody has looked at."""
        for number in range(self._generated):
            yield self._touched.get(number) or self._make(number)
        yield from self._added

    def peek_equipped(self) -> Iterator[Model]:
        """Yield the members that have files which are not their nodes' business, as peek does."""
        usual = self._files and not self._files.on_node
        # Of the others only those that somebody has looked at may differ.
        touched = (self._touched[number] for number in sorted(self._touched))
        for model in self.peek() if usual else (*touched, *self._added):
            if model.files and not model.files.on_node:
                yield model

    @property
    def member_names(self) -> list[str]:
        """The names of all members, in their order."""
        made = [f"{self.name}_{number}" for number in range(self._generated)]
        return made + [model.name for model in self._added]

    def number_of(self, model: Model) -> int | None:
        """Return the number of a member, None for a model that is none."""
        for number, known in self._touched.items():
            if known is model:
                return number
        for place, known in enumerate(self._added):
            if known is model:
                return self._generated + place
        return None

    def add_model(self, model: Model) -> None:
        """Add a program described by itself; raises InputError when the name is taken."""
        if not isinstance(model, Model):
            raise InputTypeError(f"{model!r} is a {type(model).__name__}: a model is expected")
        if any(model.name == known.name for known in self._added) or self._makes(model.name):
            raise InputError(f"name is {model.name!r}: a member of {self.name} has it already")
        for say in self._said:
            say(model)
        if not model.has_own_path:
            model.path = self.path and f"{self.path}/{model.name}"
        self._added.append(model)

    def _makes(self, name: str) -> bool:
        head, _, number = name.rpartition("_")
        made = number.isdecimal() and int(number) < self._generated and str(int(number)) == number
        return head == self.name and made

    def enable_key_prefixing(self) -> None:
        """Let each member's keys begin with its name, as they do from the start."""
        self._say(Model.enable_key_prefixing)

    def disable_key_prefixing(self) -> None:
        """Let the members' keys be as the programs say: all write the same keys."""
        self._say(Model.disable_key_prefixing)

    def query_key_prefixing(self) -> bool:
        """Whether the keys of all members begin with their names."""
        return all(model.query_key_prefixing() for model in self.peek())

    def register_incoming_entity(self, incoming_entity: HasMembers) -> None:
        """Let every member read what a model or ensemble writes; see Model."""
        self._say(lambda model: model.register_incoming_entity(incoming_entity))

    def attach_generator_files(
        self,
        to_copy: Paths = None,
        to_symlink: Paths = None,
        to_configure: Paths = None,
        on_node: bool = False,
    ) -> None:
        """Give every member these files, as Model.attach_generator_files does.

        With `on_node` neither generate nor start writes them: each member puts its own in place
        when it starts, on its node, every time anew. Use it for many members.
        """
        self._files = files = attached(to_copy, to_symlink, to_configure, on_node=on_node)

        def give(model: Model) -> None:
            model.files = files

        self._say(give)

    @property
    def attached_files_table(self) -> str:
        """A table of the files attached to each member; a sentence without members."""
        from tabulate import tabulate

        if not len(self):
            return "The ensemble is empty, no files to show."
        rows = [(model.name, model.attached_files_table) for model in self.peek()]
        return str(tabulate(rows, headers=("Model name", "Files"), tablefmt="grid"))

    def print_attached_files(self) -> None:
        """Print that table."""
        sys.stdout.write(self.attached_files_table + "\n")

    def add_attachment(self, item: Attachment) -> None:
        """Attach a model or script to every member; raises InputError when the name is taken."""
        self._say(lambda model: model.add_attachment(item))
        super().add_attachment(item)

    def _say(self, what: Callable[[Model], None]) -> None:
        """Do something to every member, now or when it is made."""
        for model in [*self._touched.values(), *self._added]:
            what(model)
        if not self._touched and self._generated:
            # A member that is made only to be thrown away tells whether it can be done.
            what(self._make(0))
        self._said.append(what)

    def _make(self, number: int) -> Model:
        assert self._settings is not None
        params = self._combinations[number // self._replicas]
        settings = _copied(self._settings)
        for name in self._as_args:
            if name not in params:
                known = ", ".join(params) or "none"
                raise InputError(f"params_as_args holds {name!r}: the parameters are {known}")
            settings.add_exe_args(_as_args(name, params[name]))
        model = Model(f"{self.name}_{number}", settings, params, enable_key_prefixing=True)
        model.path = self.path and f"{self.path}/{model.name}"
        for say in self._said:
            say(model)
        return model


def _refuse_half(name: str, params: object, batch: object, run: object, replicas: object) -> None:
    """Refuse what describes no member, or members without a program."""
    if run is not None and not isinstance(run, RunSettings):
        raise InputTypeError(
            f"run_settings is a {type(run).__name__}: it must come from create_run_settings"
        )
    if run is None and (params or replicas is not None):
        raise InputError(f"run_settings of {name} is None: its members need a program")
    if run is not None and not params and replicas is None:
        raise InputError(f"params and replicas of {name} are None: one of them is needed")
    if run is None and batch is None:
        raise InputError(
            f"ensemble {name} has no members: run_settings with params or replicas makes some, "
            "and with batch_settings alone add_model adds them"
        )


def _values(params: Mapping[str, Value | Iterable[Value]]) -> dict[str, list[Value]]:
    if not isinstance(params, Mapping):
        raise InputTypeError(f"params is {params!r}: it must be a mapping of names to values")
    found: dict[str, list[Value]] = {}
    for name, value in params.items():
        single = isinstance(value, (str, numbers.Real, os.PathLike))
        items = [value] if single else check.listed(value)
        if not isinstance(name, str) or not items:
            raise InputTypeError(
                f"params[{name!r}] is {value!r}: it must be text, a number, or a list of them"
                " that is not empty"
            )
        found[name] = [
            check.plain(f"params[{name!r}][{at}]", item) for at, item in enumerate(items)
        ]
    return found


def _as_args(name: str, value: Value) -> list[str]:
    if name.startswith("--"):
        return [f"{name}={value}"]
    if name.startswith("-"):
        return [name, str(value)]
    return ["-" + name, str(value)] if len(name) == 1 else [f"--{name}={value}"]


def _copied(settings: RunSettings) -> RunSettings:
    """Return settings that share no list and no mapping with the given ones."""
    made = copy.copy(settings)
    for name, value in vars(made).items():
        if isinstance(value, (list, dict)):
            setattr(made, name, value.copy())
    return made
