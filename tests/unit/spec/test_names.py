"""A spec file has a key for everything that the Python API takes, under the API's name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest

from hpcorch import Container, Ensemble, Experiment, Model, Orchestrator, RunSettings, Workers
from hpcorch.describe.settings import BatchSettings
from hpcorch.spec import attachments, entities, reader, settings


def arguments(call: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(call).parameters) - {"self"}


def changing(kind: type) -> set[str]:
    """The methods that change a description: `set_X` as X, the others by their names."""
    told = {
        "client",
        "get_address",
        "health",
        "is_active",
        "peek",
        "peek_equipped",
        "number_of",
        "task_count",
    }
    told |= {"attach", "settle", "running", "wanted", "set"}
    return {
        name.removeprefix("set_")
        for name, item in vars(kind).items()
        if inspect.isfunction(item) and not name.startswith("_") and name not in told
    }


# Said in another way: in the place of the method, the table or key that says it.
OTHERWISE: dict[type, dict[str, str | None]] = {
    Orchestrator: {
        "batch_arg": "batch_settings",
        "hosts": "hosts",
        "max_memory": "maxmemory",
        "walltime": "time",
        "remove_stale_files": None,  # acts on files, describes nothing
    },
    Model: {
        "colocate_db": "colocate_db_tcp",
        "disable_key_prefixing": "enable_key_prefixing",
        "query_key_prefixing": None,
        "print_attached_files": None,
    },
    Ensemble: {
        "add_attachment": "add_ml_model",
        "add_model": "model",
        "disable_key_prefixing": "enable_key_prefixing",
        "query_key_prefixing": None,
        "print_attached_files": None,
    },
    RunSettings: {"add_exe_args": "exe_args", "update_env": "env_vars", "time": "walltime"},
    BatchSettings: {"partition": "queue", "walltime": "time"},
}


@pytest.mark.parametrize(
    ("call", "keys", "by_name"),
    [
        (Experiment, reader.EXPERIMENT_KEYS, ()),
        (Experiment.create_database, entities.DATABASE_KEYS, ["db_identifier"]),
        (Experiment.create_model, entities.MODEL_KEYS, ["name"]),
        (Experiment.create_ensemble, entities.ENSEMBLE_KEYS, ["name"]),
        (RunSettings, settings.RUN_KEYS, ()),
        (BatchSettings, settings.BATCH_KEYS, ()),
        (Container, settings.CONTAINER_KEYS, ()),
        (Workers, attachments.WORKER_KEYS, ()),
        (Model.colocate_db_tcp, entities.TCP_KEYS, ()),
        (Model.colocate_db_uds, entities.UDS_KEYS, ()),
        (Model.attach_generator_files, entities.FILE_KEYS, ()),
        (Ensemble.attach_generator_files, entities.ENSEMBLE_FILE_KEYS, ()),
        # Bytes of a model are in no text file.
        (Model.add_ml_model, attachments.ML_MODEL_KEYS, ["model"]),
        (Model.add_script, attachments.SCRIPT_KEYS, ()),
        (Model.add_function, attachments.FUNCTION_KEYS, ()),
    ],
)
def test_every_argument_is_a_key(
    call: Callable[..., Any], keys: Collection[str], by_name: Iterable[str]
) -> None:
    missing = arguments(call) - {*by_name} - {*keys}
    assert not missing, f"hpcorch/spec does not know {missing} of {call.__qualname__}"


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (Orchestrator, entities.DATABASE_KEYS),
        (Model, entities.MODEL_KEYS),
        (Ensemble, entities.ENSEMBLE_KEYS),
        (RunSettings, settings.RUN_KEYS),
        (BatchSettings, settings.BATCH_KEYS),
    ],
)
def test_every_setter_is_a_key(kind: type, keys: Collection[str]) -> None:
    for name in changing(kind):
        key = OTHERWISE[kind].get(name, name)
        assert key is None or key in keys, f"hpcorch/spec does not know {kind.__name__}.{name}"


@pytest.mark.parametrize(
    ("known", "call"),
    [
        (entities.DATABASE_ARGUMENTS, Experiment.create_database),
        (entities.MODEL_ARGUMENTS, Experiment.create_model),
        (entities.ENSEMBLE_ARGUMENTS, Experiment.create_ensemble),
        (settings.RUN_ARGUMENTS, RunSettings),
        (settings.BATCH_ARGUMENTS, BatchSettings),
        (entities.UDS_KEYS, Model.colocate_db_uds),
        (entities.TCP_KEYS, Model.colocate_db_tcp),
        (attachments.ML_MODEL_KEYS, Model.add_ml_model),
    ],
)
def test_no_key_is_made_up(known: Collection[str], call: Callable[..., Any]) -> None:
    assert {*known} <= arguments(call)
