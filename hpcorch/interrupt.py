"""SIGTERM as an exception, so that what was started can be stopped before the process ends."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import Any

# By then whatever has dropped an exception has returned.
_AGAIN_SECONDS = 0.05


class Terminated(SystemExit):
    """Somebody has sent SIGTERM; uncaught, it ends the process with the usual 143."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated on SIGTERM, unless the program has its own way with it.

    Neither it nor the KeyboardInterrupt of Ctrl-C gets lost, whatever the signal came into.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with ExitStack() as restored:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _raise)
            restored.callback(signal.signal, signal.SIGTERM, signal.SIG_DFL)
        restored.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
        sys.unraisablehook = partial(_say_again, sys.unraisablehook)
        yield


def _raise(number: int, frame: FrameType | None) -> None:
    del frame
    raise Terminated(128 + number)


def _say_again(usual: Callable[[Any], object], dropped: sys.UnraisableHookArgs) -> None:
    """Send the signal anew whose exception Python has dropped, as it does in any `__del__`."""
    if isinstance(dropped.exc_value, Terminated):
        number = signal.SIGTERM
    elif isinstance(dropped.exc_value, KeyboardInterrupt):
        number = signal.SIGINT
    else:
        usual(dropped)
        return
    main = threading.main_thread().ident
    threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (main, number)).start()
