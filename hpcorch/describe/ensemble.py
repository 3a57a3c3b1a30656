"""Many programs that differ in parameters or nothing at all, run as one job array."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence

from hpcorch.describe import check
from hpcorch.describe.model import HasMembers, Model
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.describe.strategies import Combination, Strategy, Value, combinations
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
        params: Mapping[str, Value | Sequence[Value]] | None = None,
        batch_settings: BatchSettings | None = None,
        run_settings: RunSettings | None = None,
        replicas: int | None = None,
        perm_strategy: str | Strategy = "all_perm",
        path: str | None = None,
        params_as_args: Sequence[str] = (),
        n_models: int = 0,
        seed: int = 0,
        max_running: int | None = None,
    ) -> None:
        super().__init__()
        self.name = check.name("name", name)
        self.path = None if path is None else check.path("path", path)
        self.batch = batch_settings or BatchSettings()
        self.max_running = (
            None if max_running is None else check.integer("max_running", max_running, 1, 10**9)
        )
        _refuse_half(self.name, params, batch_settings, run_settings, replicas)
        self._replicas = 1 if replicas is None else check.integer("replicas", replicas, 1, 10**7)
        self._settings = None if run_settings is None else _copied(run_settings)
        self._combinations: list[Combination] = [{}] if run_settings is not None else []
        if params:
            wanted = check.integer("n_models", n_models, 0, _MOST_MEMBERS)
            chosen = check.integer("seed", seed, -(2**63), 2**63)
            lists = _values(params)
            self._combinations = combinations(lists, perm_strategy, wanted, chosen)
        self._as_args = check.texts("params_as_args", params_as_args)
        self._generated = len(self._combinations) * self._replicas
        check.integer("the number of members", self._generated, 0, _MOST_MEMBERS)
        self._touched: dict[int, Model] = {}
        self._added: list[Model] = []
        # What was said of all members, for those that nobody has looked at yet.
        self._said: list[Callable[[Model], None]] = []
        if self._generated:
            # What is wrong with the first member is wrong with all: it is said now.
            self._make(0)

    def __len__(self) -> int:
        return self._generated + len(self._added)

    def __iter__(self) -> Iterator[Model]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Model:
        """Return a member; what is changed in it counts when the ensemble is started."""
        position = range(len(self))[number]
        if position >= self._generated:
            return self._added[position - self._generated]
        if position not in self._touched:
            self._touched[position] = self._make(position)
        return self._touched[position]

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
        self._added.append(model)

    def _makes(self, name: str) -> bool:
        head, _, number = name.rpartition("_")
        return head == self.name and number.isdecimal() and int(number) < self._generated

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
        to_copy: str | Sequence[str] | None = None,
        to_symlink: str | Sequence[str] | None = None,
        to_configure: str | Sequence[str] | None = None,
    ) -> None:
        """Give every member these files, as Model.attach_generator_files does."""
        self._say(lambda model: model.attach_generator_files(to_copy, to_symlink, to_configure))

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


def _values(params: Mapping[str, Value | Sequence[Value]]) -> dict[str, list[Value]]:
    if not isinstance(params, Mapping):
        raise InputTypeError(f"params is {params!r}: it must be a mapping of names to values")
    found: dict[str, list[Value]] = {}
    for name, value in params.items():
        items = [value] if isinstance(value, (str, numbers.Real)) else value
        if not isinstance(name, str) or not isinstance(items, Sequence) or not items:
            raise InputTypeError(
                f"params[{name!r}] is {value!r}: it must be text, a number, or a list of them"
            )
        found[name] = [_plain(name, item) for item in items]
    return found


def _plain(name: str, value: object) -> Value:
    """Return what NumPy's numbers stand for; others as they are."""
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise InputTypeError(f"params[{name!r}] holds {value!r}: it must be text or a number")


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
