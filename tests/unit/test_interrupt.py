"""Signals end what a driver waits for, whatever it does at that moment."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from hpcorch.interrupt import Terminated, terminable
from tests.helpers import DEADLINE, until


class Interrupted:
    """Gets a signal while it is finalised, where Python drops every exception."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_whose_exception_was_dropped_is_raised_again(number, error):
    usual = sys.unraisablehook

    def waits() -> None:
        interrupted = Interrupted(number)
        del interrupted
        until(lambda: False, "a signal")

    with pytest.raises(error), terminable():
        waits()
    assert sys.unraisablehook is usual
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_other_dropped_exceptions_are_told_as_ever(monkeypatch):
    told: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("mine")

    with terminable():
        broken = Broken()
        del broken
    assert [str(item.exc_value) for item in told] == ["mine"]
