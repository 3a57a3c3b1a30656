from __future__ import annotations

from typing import Any

import pytest

from hpcorch.client import ConfigOptions, RedisInternalError, RedisRuntimeError
from hpcorch.client.keys import Keys, dataset_of_entry
from hpcorch.errors import InputError, InputTypeError


def keys(suffix=""):
    return Keys(ConfigOptions.create_from_environment(suffix))


def test_without_prefixes():
    for kind in ("tensor", "list", "model"):
        assert keys().to_read(kind, "n") == keys().to_write(kind, "n") == b"n"
    assert keys().to_read("dataset", "n") == b"{n}"


def test_with_prefixes(monkeypatch):
    monkeypatch.setenv("SSKEYIN", "a,b")
    monkeypatch.setenv("SSKEYOUT", "o")
    made = keys()
    assert made.to_read("tensor", "n") == b"a.n"
    assert made.to_write("tensor", "n") == b"o.n"
    assert made.to_read("dataset", "n") == b"a.{n}"
    assert made.to_write("list", "n") == b"o.n"
    assert made.to_write("model", "n") == b"n"
    made.choose_source("b")
    assert made.to_read("tensor", "n") == b"b.n"
    made.use_prefix("tensor", False)
    made.use_prefix("model", True)
    assert made.to_read("tensor", "n") == b"n"
    assert made.to_read("model", "n") == b"b.n"
    assert made.to_read("dataset", "n") == b"b.{n}"


def test_prefixes_of_a_database_with_a_suffix(monkeypatch):
    monkeypatch.setenv("SSKEYOUT", "plain")
    assert keys("db").to_write("tensor", "n") == b"n"
    monkeypatch.setenv("SSKEYOUT_db", "mine")
    assert keys("db").to_write("tensor", "n") == b"mine.n"


@pytest.mark.parametrize("source", ["c", "", "a,b"])
def test_unknown_source(monkeypatch, source):
    monkeypatch.setenv("SSKEYIN", "a,b")
    with pytest.raises(RedisRuntimeError, match="SSKEYIN names 'a', 'b'"):
        keys().choose_source(source)


def test_no_source_at_all():
    with pytest.raises(RedisRuntimeError, match="SSKEYIN names none"):
        keys().choose_source("a")


def test_bad_arguments():
    wrong: Any = 3
    for call in (
        lambda: keys().choose_source(wrong),
        lambda: keys().use_prefix("list", wrong),
        lambda: keys().to_read("tensor", wrong),
    ):
        with pytest.raises(InputTypeError):
            call()
    for name in ("", "}x"):
        with pytest.raises(InputError, match="dataset must not be empty or begin with"):
            keys().to_read("dataset", name)
    # SmartRedis has one error for this, and we have another: it is both.
    for expected in (RedisRuntimeError, InputError):
        for kind in ("tensor", "dataset", "list", "model"):
            with pytest.raises(expected, match=f"the name of a {kind} must not be empty"):
                keys().to_write(kind, "")


def test_names_that_are_no_text():
    assert keys().to_read("tensor", "\udce9") == b"\xe9"
    with pytest.raises(InputError, match=r"'\\ud800' cannot be stored"):
        keys().to_read("tensor", "\ud800")


def test_entries_of_lists():
    assert dataset_of_entry(b"{n}") == "n"
    assert dataset_of_entry(b"pre.{a}b}") == "a}b"
    for entry in (b"", b"n", b"{n", b"n}", b"}n{"):
        with pytest.raises(RedisInternalError, match="names no dataset"):
            dataset_of_entry(entry)
