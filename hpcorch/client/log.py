"""Log lines of user programs: `name@HH-MM-SS:message`, to SR_LOG_FILE or standard output.

SR_LOG_LEVEL is QUIET, INFO, DEBUG or DEVELOPER (any case, default INFO). A message is printed when
its level is not above that; QUIET prints nothing. Warnings and errors begin with `WARNING: ` and
`ERROR: `, as in SmartRedis. Both variables are read when a context or client is made.
"""

from __future__ import annotations

import os
import sys
import time
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from hpcorch.errors import InputError, InputTypeError


class SRLoggingLevel(IntEnum):
    """How much must be wanted for a message to be printed."""

    LLQuiet = 1
    LLInfo = 2
    LLDebug = 3
    LLDeveloper = 4


LLQuiet = SRLoggingLevel.LLQuiet
LLInfo = SRLoggingLevel.LLInfo
LLDebug = SRLoggingLevel.LLDebug
LLDeveloper = SRLoggingLevel.LLDeveloper

_LEVELS = {"QUIET": LLQuiet, "INFO": LLInfo, "DEBUG": LLDebug, "DEVELOPER": LLDeveloper}


class Logs(Protocol):
    """Anything that log lines can be written through: a LogContext, a Client or a Dataset."""

    def log_data(self, level: int, data: str) -> None:
        """Write a plain line."""

    def log_warning(self, level: int, data: str) -> None:
        """Write a warning."""

    def log_error(self, level: int, data: str) -> None:
        """Write an error."""


class SRObject:
    """What a client and a dataset have in common: a name to log under.

    `context` is that name or a LogContext. Raises InputTypeError when it is neither.
    """

    def __init__(self, context: str | LogContext) -> None:
        if not isinstance(context, (str, LogContext)):
            raise InputTypeError(f"the name must be a string, not {type(context).__name__}")
        self._log: str | LogContext = context

    def log_data(self, level: int, data: str) -> None:
        """Write `data` to the log if `level` (LLQuiet … LLDeveloper) is within SR_LOG_LEVEL."""
        log_data(self._log, level, data)

    def log_warning(self, level: int, data: str) -> None:
        """As log_data, for a warning."""
        log_warning(self._log, level, data)

    def log_error(self, level: int, data: str) -> None:
        """As log_data, for an error."""
        log_error(self._log, level, data)


class LogContext(SRObject):
    """A name to log under, with the level and the file that the environment says now.

    Raises InputError when SR_LOG_LEVEL is no known level or SR_LOG_FILE cannot be written,
    InputTypeError when `context`, the name, is not a string.
    """

    def __init__(self, context: str = "Default") -> None:
        if not isinstance(context, str):
            raise InputTypeError(f"the logger name must be a string, not {type(context).__name__}")
        super().__init__(context)
        self.name = context
        self._threshold = _threshold(os.environ.get("SR_LOG_LEVEL", ""))
        self._path = os.environ.get("SR_LOG_FILE", "")
        if self._path:
            _check_writable(self._path)

    def log_data(self, level: int, data: str) -> None:
        """Write `data` if `level` (LLQuiet … LLDeveloper) is within SR_LOG_LEVEL."""
        _check_arguments(level, data)
        if self._threshold == LLQuiet or level > self._threshold:
            return
        self._write(f"{self.name}@{time.strftime('%H-%M-%S')}:{data}\n")

    def log_warning(self, level: int, data: str) -> None:
        """As log_data, for a warning."""
        _check_arguments(level, data)
        self.log_data(level, f"WARNING: {data}")

    def log_error(self, level: int, data: str) -> None:
        """As log_data, for an error."""
        _check_arguments(level, data)
        self.log_data(level, f"ERROR: {data}")

    def _write(self, line: str) -> None:
        if self._path:
            try:
                with Path(self._path).open("a", encoding="utf-8") as stream:
                    stream.write(line)
                return
            except OSError:
                # A full disk must not end a simulation: the line goes to standard output.
                pass
        sys.stdout.write(line)
        sys.stdout.flush()


def log_data(context: Logs | str, level: int, data: str) -> None:
    """Write `data` under the name of `context` (a LogContext, Client, Dataset or just a name)."""
    _logs(context).log_data(level, data)


def log_warning(context: Logs | str, level: int, data: str) -> None:
    """As log_data, for a warning."""
    _logs(context).log_warning(level, data)


def log_error(context: Logs | str, level: int, data: str) -> None:
    """As log_data, for an error."""
    _logs(context).log_error(level, data)


def _logs(context: Logs | str) -> Logs:
    if isinstance(context, str):
        return LogContext(context)
    if not hasattr(context, "log_data"):
        raise InputTypeError(
            f"the context must be a LogContext, a Client or a name, not {type(context).__name__}"
        )
    return context


def _threshold(word: str) -> int:
    try:
        return _LEVELS[word.upper()] if word else LLInfo
    except KeyError:
        raise InputError(
            f"SR_LOG_LEVEL={word!r} is not allowed: it must be one of " + ", ".join(_LEVELS)
        ) from None


def _check_writable(path: str) -> None:
    try:
        with Path(path).open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise InputError(f"SR_LOG_FILE={path!r} cannot be written: {error.strerror}") from error


def _check_arguments(level: int, data: str) -> None:
    if not isinstance(level, int) or not isinstance(data, str):
        raise InputTypeError("a log call takes a level (LLQuiet … LLDeveloper) and a string")
    if level not in _LEVELS.values():
        raise InputError(f"log level {level} is not allowed: it must be 1 (LLQuiet) to 4")
