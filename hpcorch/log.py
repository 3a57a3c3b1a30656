"""Logging of drivers: `HH:MM:SS host hpcorch[pid] LEVEL message` on standard output."""

from __future__ import annotations

import logging
import os
import socket
import sys

_LEVELS = {"quiet": logging.ERROR, "info": logging.INFO, "debug": logging.DEBUG}
_FORMAT = "%(asctime)s {host} hpcorch[%(process)d] %(levelname)s %(message)s"


class _StandardOutput(logging.Handler):
    """Writes to the sys.stdout of the moment, so that redirecting it works at any time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record and flush."""
        sys.stdout.write(self.format(record) + "\n")
        sys.stdout.flush()


def get_logger(name: str) -> logging.Logger:
    """Return a logger for a driver script.

    The level comes from HPCORCH_LOG_LEVEL: quiet, info (default) or debug.
    """
    logger = logging.getLogger(f"hpcorch.driver.{name}")
    if not logger.handlers:
        handler = _StandardOutput()
        host = socket.gethostname().replace("%", "%%")
        handler.setFormatter(logging.Formatter(_FORMAT.format(host=host), datefmt="%H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(_LEVELS.get(os.environ.get("HPCORCH_LOG_LEVEL", "info").lower(), logging.INFO))
    return logger
