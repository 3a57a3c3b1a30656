"""The names of SmartRedis: a program needs another import and nothing else."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import hpcorch.client
from hpcorch.client import Client, ConfigOptions, RedisAddressError, RedisConnectionError
from hpcorch.client.util import Dtypes, init_default, typecheck
from hpcorch.errors import InputError, InputTypeError
from tests.unit.client.recording import RecordingServer

MODULES = {
    "client": ["Client"],
    "configoptions": ["ConfigOptions"],
    "dataset": ["Dataset"],
    "dataset_utils": ["DatasetConverter"],
    "error": [
        "RedisBadAllocError",
        "RedisConnectionError",
        "RedisDatabaseError",
        "RedisInternalError",
        "RedisKeyError",
        "RedisReplyError",
        "RedisRuntimeError",
        "RedisTimeoutError",
    ],
    "logcontext": ["LogContext"],
    "logger": ["log_data", "log_error", "log_warning"],
    "srobject": ["SRObject"],
}


@pytest.mark.parametrize("module", MODULES)
def test_sub_modules_hold_what_the_package_holds(module):
    found = importlib.import_module(f"hpcorch.client.{module}")
    for name in MODULES[module]:
        assert getattr(found, name) is getattr(hpcorch.client, name, getattr(found, name))
        assert name in getattr(found, "__all__", [name])


def test_levels_have_names():
    assert [hpcorch.client.LLQuiet.name, hpcorch.client.LLDeveloper.name] == [
        "LLQuiet",
        "LLDeveloper",
    ]


def test_names_of_types():
    assert Dtypes.tensor_from_numpy(np.zeros(1, np.float32)) == "FLOAT"
    assert Dtypes.metadata_from_numpy(np.zeros(1, np.uint64)) == "UINT64"
    assert Dtypes.from_string("UINT8") is np.uint8
    assert Dtypes.from_string("FLOAT") is np.float32
    assert Dtypes.from_string("STRING") is str
    for call in (
        lambda: Dtypes.tensor_from_numpy(np.zeros(1, np.uint64)),
        lambda: Dtypes.metadata_from_numpy(np.zeros(1, np.int8)),
        lambda: Dtypes.from_string("TEXT"),
        lambda: typecheck(3, "name", str),
        lambda: init_default([], 3, list),
    ):
        with pytest.raises(InputTypeError):
            call()
    assert init_default([1], None, list) == [1]
    assert init_default([1], [2], list) == [2]


@pytest.fixture
def address(monkeypatch):
    server = RecordingServer()
    monkeypatch.setenv("SSDB", server.address)
    monkeypatch.setenv("SR_DB_TYPE", "Standalone")
    yield server.address
    server.close()


def test_both_ways_to_make_a_client(address):
    options = ConfigOptions.create_from_environment("")
    for made in (
        Client(),
        Client(None),
        Client(options, "log"),
        Client(None, logger_name="log"),
        Client(config_options=options, logger_name="log"),
        Client(False),
        Client(False, address, "log"),
        Client(False, address=address),
        Client(cluster=False, logger_name="log"),
        Client(cluster=False, address=address, logger_name="log"),
    ):
        with made as client:
            assert not client.key_exists("x")
            assert str(client) != repr(client)


def test_the_order_of_old_programs_is_refused_with_the_one_of_today(address):
    arguments: tuple[Any, ...] = (None, False)
    with pytest.raises(InputTypeError, match=r"say Client\(cluster=False\)"):
        Client(*arguments)


def test_a_misspelled_variable_is_told(address, monkeypatch, capsys):
    for fine in ("SR_CONN_TIMEOUT_db", "SSDB_db", "SSH_TTY", "SR_THREAD_COUNT", "HPCORCH_INDEX"):
        monkeypatch.setenv(fine, "1")
    Client().close()
    assert capsys.readouterr().out == ""
    for wrong in ("SR_CONN_TIMOUT", "SSKEYOT", "HPCORCH_CREDENTIAL"):
        monkeypatch.setenv(wrong, "1")
    Client(False, address, "me").close()
    told = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(":")[2] for line in told) == [
        "WARNING: HPCORCH_CREDENTIAL is no option: is HPCORCH_CREDENTIALS meant?",
        "WARNING: SR_CONN_TIMOUT is no option: is SR_CONN_TIMEOUT meant?",
        "WARNING: SSKEYOT is no option: is SSKEYOUT meant?",
    ]


@pytest.mark.parametrize("text", [None, "", "not-an-address:6379;", "host", "unix://", "h:0", ","])
def test_no_usable_address(monkeypatch, text):
    if text is not None:
        monkeypatch.setenv("SSDB", text)
    for make in (Client, lambda: Client(False), lambda: Client(True)):
        with pytest.raises(RedisAddressError, match="SSDB"):
            make()
    assert issubclass(RedisAddressError, RedisConnectionError)
    assert issubclass(RedisAddressError, InputError)


@pytest.mark.parametrize("name", ["standard", "address"])
def test_what_a_replaced_construction_gives_is_checked(monkeypatch, name):
    monkeypatch.setattr(Client, f"_Client__{name}_construction", lambda self, *words: None)
    with pytest.raises(TypeError, match="made from a Start"):
        Client(*([None] if name == "standard" else [False, "h:1"]))


def test_options_without_a_source_lead_nowhere():
    with pytest.raises(RedisConnectionError, match="have no source"):
        Client(ConfigOptions())


@pytest.mark.parametrize(
    "options", [ConfigOptions(), ConfigOptions.create_from_environment("")], ids=["bare", "made"]
)
def test_names_of_options_are_strings(options):
    for call in (
        lambda: options.get_integer_option(42),
        lambda: options.get_string_option(42),
        lambda: options.is_configured(42),
        lambda: options.override_integer_option(42, 3),
        lambda: options.override_integer_option("name", "three"),
        lambda: options.override_string_option(42, "x"),
        lambda: options.override_string_option("name", 42),
    ):
        with pytest.raises(InputTypeError):
            call()
