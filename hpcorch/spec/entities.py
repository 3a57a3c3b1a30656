"""The tables database, model and ensemble of a spec file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpcorch.describe import check
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.describe.settings import BatchSettings
from hpcorch.nearest import suggestion
from hpcorch.spec.attachments import ATTACHMENT_KEYS, attach, workers
from hpcorch.spec.settings import BATCH_KEYS, RUN_KEYS, batch_settings, run_settings
from hpcorch.spec.table import Table, pinning

# The arguments of create_database that go to Orchestrator as they are.
_DATABASE_PLAIN = (
    *("db_nodes", "port", "interface", "security", "threads", "maxmemory", "ai_commands"),
    *("layout", "shards_per_host", "db_cpus", "checkpoint", "batch", "run_command", "single_cmd"),
)
_DATABASE_BATCH = ("time", "queue", "account", "hosts")
DATABASE_ARGUMENTS = (
    *(*_DATABASE_PLAIN, *_DATABASE_BATCH, "path", "module_paths", "custom_pinning", "restore"),
    "workers",
)
DATABASE_SETTERS: Mapping[str, Callable[[Orchestrator, Any], None]] = {
    "cpus": Orchestrator.set_cpus,
    "eviction_strategy": Orchestrator.set_eviction_strategy,
    "max_clients": Orchestrator.set_max_clients,
    "max_message_size": Orchestrator.set_max_message_size,
    "enable_checkpoints": Orchestrator.enable_checkpoints,
}
DATABASE_KEYS = (
    *(*DATABASE_ARGUMENTS, *DATABASE_SETTERS, *ATTACHMENT_KEYS),
    *("batch_settings", "db_conf", "run_arg"),
)
MODEL_ARGUMENTS = ("run_settings", "params", "path", "enable_key_prefixing", "batch_settings")
_PROGRAM_KEYS = (
    *(*ATTACHMENT_KEYS, "attach_generator_files", "register_incoming_entity"),
    *("colocate_db_tcp", "colocate_db_uds"),
)
MODEL_KEYS = (*MODEL_ARGUMENTS, *_PROGRAM_KEYS, "params_to_args")
_ENSEMBLE_PLAIN = (
    *("params", "replicas", "perm_strategy", "params_as_args", "n_models", "seed"),
    "max_running",
)
ENSEMBLE_ARGUMENTS = (*_ENSEMBLE_PLAIN, "run_settings", "batch_settings", "path")
ENSEMBLE_KEYS = (*ENSEMBLE_ARGUMENTS, *_PROGRAM_KEYS, "enable_key_prefixing", "model")
# What a member reads is said of all members at once.
MEMBER_KEYS = tuple(key for key in MODEL_KEYS if key != "register_incoming_entity")
FILE_KEYS = ("to_copy", "to_symlink", "to_configure")
ENSEMBLE_FILE_KEYS = (*FILE_KEYS, "on_node")
TCP_KEYS = (
    *("port", "ifname", "db_cpus", "custom_pinning", "debug", "db_identifier", "limit_app_cpus"),
    *("maxmemory", "security", "workers", "per"),
)
UDS_KEYS = ("unix_socket", "socket_permissions", *TCP_KEYS)
COLOCATIONS = {"colocate_db_tcp": TCP_KEYS, "colocate_db_uds": UDS_KEYS}


def database(name: str, table: Table) -> Orchestrator:
    """Return the database of the table [database.NAME]; raises InputError."""
    facts = table.some(_DATABASE_PLAIN)
    for key in ("path", "module_paths", "restore"):
        if key in table:
            facts[key] = table.anchored(table.get(key))
    if "custom_pinning" in table:
        with table.blamed("custom_pinning"):
            facts["custom_pinning"] = pinning(table.get("custom_pinning"))
    facts["workers"] = workers(table)
    facts["batch_settings"] = _database_batch(table)
    with table.blamed():
        found = Orchestrator(name, **facts)
    table.apply(found, DATABASE_SETTERS)
    for key, value in table.options("db_conf").items():
        with table.blamed(f"db_conf.{key}"):
            found.set_db_conf(key, "yes" if value is None else str(value))
    for key, value in table.options("run_arg").items():
        with table.blamed(f"run_arg.{key}"):
            found.set_run_arg(key, None if value is None else str(value))
    attach(table, found)
    return found


def _database_batch(table: Table) -> BatchSettings:
    """Return what the database asks for: in keys of its own, and in [database.NAME.batch_settings].

    Those of its own are the ones that create_database has.
    """
    inside = table.table("batch_settings", BATCH_KEYS)
    found = batch_settings(inside) or BatchSettings()
    setters: dict[str, Callable[[BatchSettings, Any], None]] = {
        "time": BatchSettings.set_walltime,
        "queue": BatchSettings.set_queue,
        "account": BatchSettings.set_account,
        "hosts": BatchSettings.set_hostlist,
    }
    for key in _DATABASE_BATCH:
        twin = "hostlist" if key == "hosts" else key
        if inside is not None and key in table and twin in inside:
            raise table.fault(f"{key} is here, and {twin} in [{inside.name}]: leave one out")
    table.apply(found, setters)
    return found


def model(name: str, table: Table) -> Model:
    """Return the program of the table [model.NAME]; raises InputError."""
    inside = table.table("run_settings", RUN_KEYS)
    if inside is None:
        raise table.fault("run_settings is missing", f"[{table.name}.run_settings] names the exe")
    settings = run_settings(inside)
    batch = batch_settings(table.table("batch_settings", BATCH_KEYS))
    with table.blamed():
        found = Model(
            name,
            settings,
            table.get("params"),
            table.anchored(table.get("path")),
            batch,
            table.get("enable_key_prefixing", False),
        )
    chosen = table.get("params_to_args", False)
    if chosen is not False:
        with table.blamed("params_to_args"):
            found.params_to_args(None if chosen is True else chosen)
    _colocate(table, [found])
    _files(table, found)
    attach(table, found)
    return found


def ensemble(name: str, table: Table) -> Ensemble:
    """Return the ensemble of the table [ensemble.NAME] with its members; raises InputError."""
    inside = table.table("run_settings", RUN_KEYS)
    settings = None if inside is None else run_settings(inside)
    batch = batch_settings(table.table("batch_settings", BATCH_KEYS))
    members = table.named("model", MEMBER_KEYS)
    if members and batch is None:
        batch = BatchSettings()
    with table.blamed():
        found = Ensemble(
            name,
            run_settings=settings,
            batch_settings=batch,
            path=table.anchored(table.get("path")),
            **table.some(_ENSEMBLE_PLAIN),
        )
    for member, values in members.items():
        made = model(member, values)
        with values.blamed():
            found.add_model(made)
    with table.blamed():
        if not check.flag("enable_key_prefixing", table.get("enable_key_prefixing", True)):
            found.disable_key_prefixing()
    if any(key in table for key in COLOCATIONS):
        _colocate(table, list(found))
    _files(table, found)
    attach(table, found)
    return found


def incoming(table: Table, entity: Model | Ensemble, known: Mapping[str, Model | Ensemble]) -> None:
    """Register the entities whose keys this one reads; raises InputError."""
    with table.blamed("register_incoming_entity"):
        names = check.texts("names", table.get("register_incoming_entity", ()))
    for name in names:
        if name not in known:
            raise table.fault(
                f"register_incoming_entity holds {name!r}: there is no such model or ensemble",
                suggestion(name, known, "there are: "),
            )
        with table.blamed("register_incoming_entity"):
            entity.register_incoming_entity(known[name])


def _colocate(table: Table, programs: Sequence[Model]) -> None:
    """Put a database beside each of the programs, if the table says so."""
    tcp, uds = (table.table(*item) for item in COLOCATIONS.items())
    if tcp is not None and uds is not None:
        raise table.fault("colocate_db_tcp and colocate_db_uds are both here: leave one out")
    inside = tcp or uds
    if inside is None:
        return
    facts = inside.some(UDS_KEYS)
    if "custom_pinning" in facts:
        with inside.blamed("custom_pinning"):
            facts["custom_pinning"] = pinning(facts["custom_pinning"])
    facts["workers"] = workers(inside)
    for program in programs:
        with inside.blamed():
            (program.colocate_db_uds if tcp is None else program.colocate_db_tcp)(**facts)


def _files(table: Table, entity: Model | Ensemble) -> None:
    keys = ENSEMBLE_FILE_KEYS if isinstance(entity, Ensemble) else FILE_KEYS
    inside = table.table("attach_generator_files", keys)
    if inside is not None:
        facts = {key: inside.anchored(value) for key, value in inside.some(keys).items()}
        with inside.blamed():
            entity.attach_generator_files(**facts)
