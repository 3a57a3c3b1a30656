"""Every refusal of user input: the field, the value, and what is allowed, in one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from hpcorch import Ensemble, Experiment, Model, Orchestrator, RunSettings
from hpcorch.describe import cpus
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import HpcorchError, InputError, InputTypeError, NotActive

NAMES = "1 to 64 of the letters A-Z a-z, digits, '_', '-' and '.', not starting with '-' or '.'"
RUN = RunSettings("true")


def model(**facts):
    return Model(**{"name": "m", "run_settings": RUN, **facts})


def tcp(**facts):
    model().colocate_db_tcp(**facts)


def uds(**facts):
    model().colocate_db_uds(**facts)


WRONG_VALUES = [
    (Orchestrator, "db_identifier", "a b", NAMES),
    (Orchestrator, "db_identifier", "", NAMES),
    (Orchestrator, "db_nodes", 0, "a whole number from 1 to 16384"),
    (Orchestrator, "db_nodes", 16385, "a whole number from 1 to 16384"),
    (Orchestrator, "port", 1023, "a whole number from 1024 to 65535"),
    (Orchestrator, "port", 65536, "a whole number from 1024 to 65535"),
    (Orchestrator, "interface", "ib 0", NAMES),
    (Orchestrator, "security", "strong", "one of password, tls, smartredis, open"),
    (Orchestrator, "threads", 0, "a whole number from 1 to 128"),
    (Orchestrator, "maxmemory", "3 gb", "a number with an optional unit k, kb, m, mb, g or gb"),
    (Orchestrator, "maxmemory", "gb", "a number with an optional unit k, kb, m, mb, g or gb"),
    (Orchestrator, "maxmemory", "٣gb", "a number with an optional unit k, kb, m, mb, g or gb"),
    (Orchestrator, "path", "", "a path that is not empty and has no control characters"),
    (Orchestrator, "path", "a\nb", "a path that is not empty and has no control characters"),
    (RunSettings, "exe", "", "a path that is not empty and has no control characters"),
    (
        RunSettings,
        "run_command",
        "srun2",
        "one of auto, none, srun, mpirun, mpiexec, orterun, aprun",
    ),
    (model, "name", "-m", NAMES),
    (model, "name", "a" * 65, NAMES),
    (tcp, "port", 80, "a whole number from 1024 to 65535"),
    (tcp, "ifname", "a/b", NAMES),
    (tcp, "db_cpus", 0, "a whole number from 1 to 4096"),
    (tcp, "db_identifier", "a b", NAMES),
    (tcp, "security", "tls", "one of password, smartredis, open"),
    (Orchestrator, "maxmemory", "8589934592gb", "less than 8 EiB"),
    (Orchestrator, "maxmemory", "9" * 20, "less than 8 EiB"),
    (tcp, "maxmemory", "many", "a number with an optional unit k, kb, m, mb, g or gb"),
    (uds, "socket_permissions", 800, "from 0o1 to 0o777, as in 0o700 (octal)"),
    (uds, "unix_socket", "relative", "an absolute path"),
    (uds, "unix_socket", "/" + "x" * 107, "at most 107 bytes long"),
    (uds, "unix_socket", "/" + "ü" * 54, "at most 107 bytes long"),
]
WRONG_TYPES = [
    (Orchestrator, "db_identifier", 5, "text"),
    (Orchestrator, "db_nodes", "3", "a whole number from 1 to 16384"),
    (Orchestrator, "db_nodes", True, "a whole number from 1 to 16384"),
    (Orchestrator, "db_nodes", 1.0, "a whole number from 1 to 16384"),
    (Orchestrator, "port", None, "a whole number from 1024 to 65535"),
    (Orchestrator, "interface", 5, "a name or a list of names"),
    (Orchestrator, "security", None, "one of password, tls, smartredis, open"),
    (Orchestrator, "maxmemory", 3, "text such as 512mb or 3gb"),
    (Orchestrator, "path", 5, "a path"),
    (Orchestrator, "path", b"x", "a path"),
    (Orchestrator, "module_paths", 5, "text or a list of texts"),
    (RunSettings, "exe", None, "a path"),
    (RunSettings, "exe_args", 5, "text or a list of texts"),
    (RunSettings, "env_vars", ["A=1"], "a mapping of variable names to values"),
    (model, "name", None, "text"),
    (model, "params", 5, "a mapping of parameter names to values"),
    (tcp, "port", "6379", "a whole number from 1024 to 65535"),
    (tcp, "limit_app_cpus", 1, "True or False"),
    (tcp, "debug", "yes", "True or False"),
    (tcp, "db_identifier", None, "text"),
    (tcp, "custom_pinning", "0,1", "a list such as"),
    (tcp, "custom_pinning", 5, "a list such as"),
    (uds, "unix_socket", 5, "a path"),
]


@pytest.mark.parametrize(("make", "field", "value", "allowed"), WRONG_VALUES)
def test_a_value_that_is_not_allowed_is_refused(make, field, value, allowed):
    more = {} if make is not RunSettings or field == "exe" else {"exe": "true"}
    with pytest.raises(InputError) as caught:
        make(**more, **{field: value})
    assert not isinstance(caught.value, InputTypeError)
    assert caught.value.message.startswith(f"{field} is {value!r}: it must be ")
    assert caught.value.message.endswith(allowed)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("make", "field", "value", "allowed"), WRONG_TYPES)
def test_a_value_of_another_type_is_refused(make, field, value, allowed):
    more = {} if make is not RunSettings or field == "exe" else {"exe": "true"}
    with pytest.raises(InputTypeError) as caught:
        make(**more, **{field: value})
    start = f"{field} is {value!r}, a {type(value).__name__}: it must be "
    assert caught.value.message.startswith(start)
    assert allowed in caught.value.message
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, HpcorchError)


@pytest.mark.parametrize(
    ("element", "kind"),
    [("x", InputTypeError), (True, InputTypeError), (1.0, InputTypeError), (-1, InputError)],
)
def test_pinning_names_the_element_at_fault(element, kind):
    for pinning in ([0, element], [0, [1, element]]):
        with pytest.raises(kind, match=f"custom_pinning holds {element!r}"):
            tcp(custom_pinning=pinning)


def test_items_of_lists_are_named_by_their_position():
    with pytest.raises(InputTypeError, match=r"exe_args\[1\] is 5, a int: it must be text"):
        RunSettings("true", ["a", 5])  # type: ignore[list-item]
    with pytest.raises(InputTypeError, match=r"interface\[1\] is None"):
        Orchestrator(interface=["lo", None])  # type: ignore[list-item]


@pytest.mark.parametrize("key", ["", "A=B", "A\0", 5])
def test_a_variable_that_cannot_be_one_is_refused(key):
    with pytest.raises(InputError, match="env_vars key is "):
        RunSettings("true", env_vars={key: "1"})


def test_numbers_of_numpy_and_paths_are_taken_where_numbers_and_text_are():
    settings = RunSettings("p", ["-i", Path("in put")], env_vars={"N": np.int64(3), "P": Path("/")})
    settings.update_env({"F": np.float32(0.1)})
    settings.set_nodes(np.int64(2))
    settings.set_cpu_bindings(np.arange(2))
    assert settings.exe_args == ("-i", "in put")
    assert settings.env_vars == {"N": "3", "P": "/", "F": "0.1"}
    assert (settings.nodes, settings.cpu_bindings) == (2, (0, 1))
    assert type(settings.nodes) is type(settings.cpu_bindings[0]) is int
    assert model(params={"x": np.int64(3), "y": np.float64(0.5)}).params == {"x": 3, "y": 0.5}
    assert Orchestrator(db_nodes=np.int64(3), port=np.int32(7000)).port == 7000
    attached = model()
    attached.attach_generator_files(Path("/a"), [Path("/b")], [Path("/c"), "/d"])
    assert attached.files.to_configure == ("/c", "/d")
    assert (attached.files.to_copy, attached.files.to_symlink) == (("/a",), ("/b",))


@pytest.mark.parametrize(
    "make", [model, Orchestrator, lambda **facts: Ensemble("e", run_settings=RUN, **facts)]
)
def test_batch_settings_must_be_batch_settings(make):
    with pytest.raises(InputTypeError, match="batch_settings is a str: it must come from"):
        make(batch_settings="--nodes=2")


@pytest.mark.parametrize("value", ["--nodes=2", ["nodes", 2], True])
def test_options_must_be_a_mapping(value):
    for make, field in (
        (lambda **it: RunSettings("p", **it), "run_args"),
        (BatchSettings, "batch_args"),
    ):
        with pytest.raises(InputTypeError, match=f"{field} is .*: it must be a mapping of options"):
            make(**{field: value})


def test_a_refusal_is_short_whatever_it_refuses():
    with pytest.raises(InputError, match=r"name is 'xxx.* … x*': it must be 1 to 64") as caught:
        model(name="x" * 100_000)
    assert len(str(caught.value)) < 400


def test_a_variable_s_value_must_be_text_or_a_number():
    assert RunSettings("true", env_vars={"A": 1, "B": 1.5}).env_vars == {"A": "1", "B": "1.5"}
    with pytest.raises(InputTypeError, match=r"env_vars\['A'\] is None"):
        RunSettings("true", env_vars={"A": None})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("method", "field"),
    [("set_nodes", "nodes"), ("set_tasks", "tasks"), ("set_tasks_per_node", "tasks_per_node")],
)
def test_counts_of_run_settings_are_checked(method, field):
    for value, kind in ((0, InputError), ("2", InputTypeError), (True, InputTypeError)):
        with pytest.raises(kind, match=f"^{field} is {value!r}"):
            getattr(RunSettings("true"), method)(value)


def test_tasks_win_over_nodes_times_tasks_per_node():
    settings = RunSettings("true")
    assert settings.task_count() == 1
    settings.set_nodes(3)
    settings.set_tasks_per_node(4)
    assert settings.task_count() == 12
    settings.set_tasks(5)
    assert settings.task_count() == 5


def test_one_text_of_arguments_is_split_and_a_list_is_not():
    assert RunSettings("true", " a  b\tc ").exe_args == ("a", "b", "c")
    assert RunSettings("true", ["a  b", ""]).exe_args == ("a  b", "")
    settings = RunSettings("true", "a")
    settings.add_exe_args(["b c"])
    assert settings.exe_args == ("a", "b c")


def test_options_of_the_launch_command_lose_their_dashes():
    settings = RunSettings("true", run_args={"--map-by": "node", "x": None, "n": 3})
    assert settings.run_args == {"map-by": "node", "x": None, "n": "3"}
    with pytest.raises(InputError, match="run_args key is "):
        settings.set("--")
    with pytest.raises(InputTypeError, match="run_args key is 5"):
        settings.set(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "value", "kind", "field"),
    [
        ("set_max_memory", "lots", InputError, "mem"),
        ("set_max_memory", 5, InputTypeError, "mem"),
        ("set_eviction_strategy", None, InputTypeError, "value"),
        ("set_max_clients", 0, InputError, "clients"),
        ("set_max_clients", "5", InputTypeError, "clients"),
        ("set_max_message_size", 1024, InputError, "size"),
    ],
)
def test_settings_of_a_database_are_checked_by_name(method, value, kind, field):
    described = Orchestrator()
    with pytest.raises(kind, match=f"^{field} is {value!r}"):
        getattr(described, method)(value)
    assert described.settings == {}


def test_settings_of_a_database_are_kept_for_its_start():
    described = Orchestrator()
    described.set_max_memory("3GB")
    described.set_eviction_strategy("allkeys-lru")
    described.set_max_clients()
    described.set_max_message_size()
    assert described.settings == {
        "maxmemory": "3gb",
        "maxmemory-policy": "allkeys-lru",
        "maxclients": "50000",
        "proto-max-bulk-len": "1073741824",
    }


def test_a_refused_setting_is_not_kept(mocker):
    described = Orchestrator()
    running = mocker.Mock()
    running.config_set.side_effect = HpcorchError("no")
    described.attach(running)
    with pytest.raises(HpcorchError):
        described.set_db_conf("maxmemory", "1")
    assert described.settings == {}


@pytest.mark.parametrize("call", ["get_address", "health", "client", "running"])
def test_what_needs_a_running_database_says_so(call):
    with pytest.raises(NotActive) as caught:
        getattr(Orchestrator(), call)()
    assert str(caught.value) == "database orchestrator is not active (start it first)"
    assert not Orchestrator().is_active()


def test_unknown_options_are_refused_by_name():
    with pytest.raises(TypeError, match="'no_such'"):
        tcp(no_such=1)
    with pytest.raises(TypeError, match="'no_such'"):
        Orchestrator(no_such=1)  # type: ignore[call-arg]


def test_run_settings_must_be_run_settings():
    with pytest.raises(
        InputTypeError, match="run_settings is a dict: it must come from create_run"
    ):
        Model("m", {})  # type: ignore[arg-type]


def test_only_databases_and_models_can_be_started(exp):
    for what in ("x", None, RUN):
        with pytest.raises(InputTypeError, match="a database, a model or an ensemble is expected"):
            exp.start(what)


@pytest.mark.parametrize("site", [5, b"x", "a\0b", ""])
def test_a_site_that_is_no_path_is_refused(exp_dir, site):
    with pytest.raises(InputError, match="site is"):
        Experiment("e", exp_dir, launcher="local", site=site)


def test_an_unknown_launcher_is_refused_with_the_known_ones(exp_dir):
    with pytest.raises(InputError, match="launcher is 'lsf': it must be auto or one of slurm"):
        Experiment("lab", exp_path=exp_dir, launcher="lsf")
    with pytest.raises(InputTypeError, match="launcher is None"):
        Experiment("lab", exp_path=exp_dir, launcher=None)  # type: ignore[arg-type]


def test_colocating_twice_warns_and_replaces():
    described = model()
    described.colocate_db_tcp()
    with pytest.warns(UserWarning, match="model m was colocated already"):
        described.colocate_db_uds()
    assert described.colocation.transport == "uds"


def test_pinning_defaults_to_the_first_cpus_and_may_be_none_or_chosen():
    for pinning, expected in (
        (None, (0, 1, 2)),
        ([], ()),
        ([7, 0, range(5, 8)], (0, 5, 6, 7)),
        ((item for item in (3, 1, 5)), (1, 3, 5)),
    ):
        described = model()
        described.colocate_db_tcp(db_cpus=3, custom_pinning=pinning)
        assert described.colocation.cpus == expected


def test_a_server_is_not_given_more_cpus_than_are_named():
    with pytest.raises(InputError, match="db_cpus is 3 and custom_pinning names 2 CPUs"):
        tcp(db_cpus=3, custom_pinning=[0, 1])


def test_a_port_beside_a_unix_socket_needs_a_network():
    with pytest.raises(InputError, match="port is 7000: beside a Unix socket it is for"):
        model().colocate_db_uds(port=7000)


def test_on_macos_pinning_is_warned_about_and_ignored(mocker):
    mocker.patch("sys.platform", "darwin")
    with pytest.warns(UserWarning, match="macOS"):
        tcp(custom_pinning=[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tcp()


@pytest.mark.parametrize("text", ["a", "1-", "1-b", "-1", "1,,x", "7-5", "²"])
def test_a_cpu_list_that_cannot_be_read_is_named(text):
    with pytest.raises(InputError) as caught:
        cpus.parse_list(text)
    assert f"CPU list {text!r} cannot be read" in caught.value.message


def test_the_old_name_of_colocate_db_tcp_is_warned_about():
    model = Model("m", RunSettings("/bin/true"))
    with pytest.warns(FutureWarning, match="use colocate_db_tcp"):
        model.colocate_db(port=7000, db_cpus=2)
    assert model.colocation is not None
    assert (model.colocation.transport, model.colocation.port) == ("tcp", 7000)
    assert model.colocation.cpus == (0, 1)


@pytest.mark.parametrize("value", ["00:00:00", "0:0:0", "0-00:00:00"])
def test_a_walltime_of_no_time_is_refused(value):
    with pytest.raises(InputError, match=f"time is '{value}': it must be above 0; leave it"):
        BatchSettings(time=value)
    with pytest.raises(InputError, match="must be above 0"):
        Orchestrator().set_walltime(value)
    BatchSettings(time="00:00:01")


def test_a_module_is_where_it_was_when_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    database = Orchestrator(module_paths=["lib/m.so", "/opt/n.so"])
    monkeypatch.chdir("/")
    assert database.module_paths == (str(tmp_path / "lib/m.so"), "/opt/n.so")


def test_printed_descriptions_show_what_was_said_and_no_values_of_variables():
    settings = RunSettings("echo", ["a b"], env_vars={"TOKEN": "secret"})
    settings.set_tasks(2)
    batch = BatchSettings(queue="debug")
    model = Model("m", settings, params={"x": 1}, batch_settings=batch)
    said = "exe='echo', exe_args=['a b'], run_command='auto', env_vars=['TOKEN'], tasks=2"
    assert repr(settings) == f"RunSettings({said})"
    assert str(batch) == "BatchSettings(queue='debug')"
    assert str(model) == (
        f"Model(name='m', run_settings=RunSettings({said}), params={{'x': 1}}, "
        "batch_settings=BatchSettings(queue='debug'))"
    )
    ensemble = Ensemble("e", run_settings=RunSettings("echo"), replicas=3)
    assert str(ensemble).startswith("Ensemble(name='e', members=3, run_settings=RunSettings(exe=")
    database = str(Orchestrator("db", db_nodes=3, port=7000))
    assert database.startswith("Orchestrator(db_identifier='db', db_nodes=3")
    assert "port=7000" in database
