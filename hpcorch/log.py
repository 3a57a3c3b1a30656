"""Logging of drivers: `HH:MM:SS host hpcorch[pid] LEVEL message` on standard output.

The command line's results are there, so that its messages go to standard error.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import suppress

_LEVELS = {"quiet": logging.ERROR, "info": logging.INFO, "debug": logging.DEBUG}
_FORMAT = "%(asctime)s {host} hpcorch[%(process)d] %(levelname)s %(message)s"


class _Output(logging.Handler):
    """Writes to the sys.stdout of the moment, so that redirecting it works at any time.

    With `errors` it is sys.stderr.
    """

    def __init__(self, errors: bool) -> None:
        super().__init__()
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record and flush; a driver goes on when nobody reads its messages any more."""
        stream = sys.stderr if self._errors else sys.stdout
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = self.format(record).encode(encoding, "backslashreplace").decode(encoding)
        # The terminal or the pipe is gone, or the stream was closed.
        with suppress(OSError, ValueError, AttributeError):
            stream.write(text + "\n")
            stream.flush()


def get_logger(name: str, *, errors: bool = False) -> logging.Logger:
    """Return a logger for a driver script.

    The level comes from HPCORCH_LOG_LEVEL: quiet, info (default) or debug. The first call for a
    name decides where its messages go: to standard output, or with `errors` to standard error.
    """
    logger = logging.getLogger(f"hpcorch.driver.{name}")
    if not logger.handlers:
        handler = _Output(errors)
        host = socket.gethostname().replace("%", "%%")
        handler.setFormatter(logging.Formatter(_FORMAT.format(host=host), datefmt="%H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(_LEVELS.get(os.environ.get("HPCORCH_LOG_LEVEL", "info").lower(), logging.INFO))
    return logger
