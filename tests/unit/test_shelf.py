"""What a worker keeps loaded while models are replaced, without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
from pytest_mock import MockerFixture

from hpcorch.client.errors import RedisReplyError
from hpcorch.client.model_bytes import Hold
from hpcorch.client.model_store import Stored
from hpcorch.inference.shelf import Shelf

T = TypeVar("T")


class OneScript:
    """A store of the script `f`, to which `meanwhile` happens while it is read."""

    def __init__(self) -> None:
        self.version = "first"
        self.reads = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def _stored(self, source: bytes) -> Stored:
        return Stored("script", "f", self.version, "PYTHON", "CPU", len(source), 1024)

    def _source(self) -> bytes:
        return f"def told(x):\n    return np.array([{self.version!r}])\n".encode()

    def find(self, kind: str, name: str) -> Stored | None:
        return self._stored(self._source()) if self.version else None

    def read_by(self, kind: str, name: str, hold: Hold[T]) -> tuple[Stored, T]:
        if not self.version:
            raise RedisReplyError("the script 'f' is not stored", "")
        self.reads += 1
        source = self._source()
        stored = self._stored(source)

        def fill(view: memoryview) -> bool:
            view[:] = source
            return True

        held = hold(len(source), fill)
        assert held is not None
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()
        return stored, held


@pytest.fixture
def store() -> OneScript:
    return OneScript()


@pytest.fixture
def shelf(store) -> Shelf:
    return Shelf(store, threads=1, turn=0)


def told(shelf: Shelf) -> str:
    (found,) = shelf.get("script", "f").run([np.arange(1)], 1.0, "told")
    return str(found[0])


def test_late_word_of_what_is_loaded_already_loads_nothing_anew(store, shelf):
    store.meanwhile = lambda: shelf.hear("script", "f")
    assert [told(shelf), told(shelf)] == ["first", "first"]
    shelf.hear("script", "f")
    assert told(shelf) == "first"
    assert store.reads == 1


@pytest.mark.parametrize("replaced", ["second", ""])
def test_what_is_replaced_later_is_unloaded(store, shelf, replaced):
    assert told(shelf) == "first"
    store.version = replaced
    shelf.hear("script", "other")
    assert shelf.find("script", "f", "", "") is not None
    shelf.hear("script", "f")
    assert shelf.find("script", "f", "", "") is None


@pytest.mark.parametrize("replaced", ["second", ""])
def test_what_is_replaced_while_it_is_loaded_serves_no_other_request(store, shelf, replaced):
    def change() -> None:
        store.version = replaced
        shelf.hear("script", "f")

    store.meanwhile = change
    assert told(shelf) == "first"
    assert shelf.find("script", "f", "", "") is None
    if replaced:
        assert [told(shelf), told(shelf)] == ["second", "second"]
        assert store.reads == 2


def test_what_is_replaced_while_it_is_looked_at_again_is_looked_at_once_more(
    store: OneScript, shelf: Shelf, mocker: MockerFixture
) -> None:
    looked: list[str] = []
    look = store.find

    def change_once(kind: str, name: str) -> Stored | None:
        found = look(kind, name)
        if not looked:
            store.version = "second"
            shelf.hear("script", "f")
        looked.append(store.version)
        return found

    mocker.patch.object(store, "find", change_once)
    store.meanwhile = lambda: shelf.hear("script", "f")
    assert [told(shelf), told(shelf)] == ["first", "second"]
    assert len(looked) == 2
