from __future__ import annotations

import pytest

from hpcorch.client import (
    ConfigOptions,
    RedisAddressError,
    RedisKeyError,
    RedisRuntimeError,
)
from hpcorch.client.settings import Address, parse_addresses, read_settings
from hpcorch.errors import InputError, InputTypeError


def options(suffix=""):
    return ConfigOptions.create_from_environment(suffix)


def test_bare_and_suffixed_names(monkeypatch):
    monkeypatch.setenv("SSDB", "a:1")
    monkeypatch.setenv("SSDB_two", "b:2")
    assert options().get_string_option("SSDB") == "a:1"
    assert options("two").get_string_option("SSDB") == "b:2"
    with pytest.raises(RedisKeyError, match="SSDB_three is not set"):
        options("three").get_string_option("SSDB")


def test_verbatim_suffix_comes_before_its_alias(monkeypatch):
    monkeypatch.setenv("SSDB_a_b", "alias:1")
    assert options("a-b").get_string_option("SSDB") == "alias:1"
    monkeypatch.setenv("SSDB_a-b", "verbatim:1")
    assert options("a-b").get_string_option("SSDB") == "verbatim:1"
    assert options("a_b").get_string_option("SSDB") == "alias:1"


@pytest.mark.parametrize("name", ["SR_LOG_FILE", "SR_LOG_LEVEL", "SR_MODEL_TIMEOUT"])
def test_options_that_take_no_suffix(monkeypatch, name):
    monkeypatch.setenv(name, "5")
    monkeypatch.setenv(f"{name}_db", "6")
    assert options("db").get_integer_option(name) == 5


def test_overrides_stay_out_of_the_environment(monkeypatch):
    mine = options("x")
    mine.override_string_option("SSDB", "h:1")
    mine.override_integer_option("SR_CONN_TIMEOUT", 7)
    assert mine.is_configured("SSDB")
    assert mine.get_integer_option("SR_CONN_TIMEOUT") == 7
    assert not options("x").is_configured("SSDB")


def test_options_without_a_source():
    with pytest.raises(RedisRuntimeError, match="create_from_environment"):
        ConfigOptions().get_string_option("SSDB")
    with pytest.raises(RedisRuntimeError):
        ConfigOptions().override_string_option("SSDB", "x:1")


def test_wrong_types():
    for call in (
        lambda: options(3),
        lambda: options().override_string_option("SSDB", 3),
        lambda: options().override_integer_option("SR_CONN_TIMEOUT", "3"),
        lambda: options().override_integer_option("SR_CONN_TIMEOUT", True),
    ):
        with pytest.raises(InputTypeError):
            call()


@pytest.mark.parametrize("value", ["soon", "1.5", "0", "-3", "2147483648"])
@pytest.mark.parametrize("name", ["SR_CONN_TIMEOUT", "SR_CMD_INTERVAL", "SR_SOCKET_TIMEOUT"])
def test_bad_times_name_the_variable_and_the_value(monkeypatch, name, value):
    monkeypatch.setenv("SSDB_d", "h:1")
    monkeypatch.setenv(f"{name}_d", value)
    with pytest.raises(ValueError, match=rf"{name}_d='?{value}'? is not allowed: it must be"):
        read_settings(options("d"))


def test_defaults_and_units(monkeypatch):
    monkeypatch.setenv("SSDB", "h:1")
    found = read_settings(options())
    assert found.addresses == (Address("h", 1),)
    assert found.clustered is None
    assert found.credentials is None
    assert (found.connect_timeout, found.connect_interval) == (100, 1.0)
    assert (found.command_timeout, found.command_interval) == (100, 1.0)
    assert found.socket_timeout == 100
    monkeypatch.setenv("SR_SOCKET_TIMEOUT", "250")
    assert read_settings(options()).socket_timeout == 0.25


@pytest.mark.parametrize(
    ("word", "ssdb", "expected"),
    [
        ("", "h:1", None),
        ("", "h:1,h:2", True),
        ("Clustered", "h:1", True),
        ("STANDALONE", "h:1", False),
        ("standalone", "unix:///x", False),
    ],
)
def test_database_type(monkeypatch, word, ssdb, expected):
    monkeypatch.setenv("SSDB", ssdb)
    monkeypatch.setenv("SR_DB_TYPE", word)
    assert read_settings(options()).clustered is expected


def test_unusable_types(monkeypatch):
    monkeypatch.setenv("SSDB", "unix:///x")
    monkeypatch.setenv("SR_DB_TYPE", "Sharded")
    with pytest.raises(InputError, match=r"SR_DB_TYPE='Sharded' is not allowed.*Clustered or"):
        read_settings(options())
    monkeypatch.setenv("SR_DB_TYPE", "Clustered")
    with pytest.raises(InputError, match="Unix socket"):
        read_settings(options())


def test_address_forms():
    assert parse_addresses("tcp://a.b:1, c-d:65535,[::1]:7,unix:///x y/z", "SSDB") == (
        Address("a.b", 1),
        Address("c-d", 65535),
        Address("::1", 7),
        Address(path="/x y/z"),
    )


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "h:", "h:0", "h:65536", "h:x", "h:1,", "unix://", "u@h:1", "http://h:1"],
)
def test_addresses_that_are_none(text):
    with pytest.raises(InputError, match=r"SSDB_x holds .* which is no address"):
        parse_addresses(text, "SSDB_x")


def test_a_cluster_has_no_unix_socket(monkeypatch):
    monkeypatch.setenv("SSDB_d", "unix:///tmp/s")
    monkeypatch.setenv("SR_DB_TYPE_d", "Clustered")
    with pytest.raises(RedisAddressError, match="SSDB_d names a Unix socket"):
        read_settings(ConfigOptions.create_from_environment("d"))


def test_no_address():
    with pytest.raises(RedisAddressError, match="SSDB_d is not set"):
        read_settings(options("d"))
