"""How long a command is tried, and what is told when it did not succeed."""

from __future__ import annotations

import time
from typing import NoReturn

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    OutOfMemoryError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

from hpcorch.client.errors import (
    RedisBadAllocError,
    RedisConnectionError,
    RedisDatabaseError,
    RedisInternalError,
    RedisReplyError,
    RedisRuntimeError,
    RedisTimeoutError,
)

# redis-py turns all trouble with connecting into the first two; OSError is a connection that broke.
NOT_REACHED = (NoConnection, NoAnswer, OSError)
PASSING = (BusyLoadingError, ClusterDownError, TryAgainError)

# Which setting of the server makes it refuse a large value with these words.
_LIMITS = {
    "invalid bulk length": "proto-max-bulk-len",
    "it hung up while more than 1 GiB": "client-query-buffer-limit",
}
# A server that answers with one of these takes no writes at present, whatever the key.
_UNFIT = ("MISCONF ", "NOREPLICAS ", "READONLY ")
_FIRST_PAUSE = 0.02
# A command meets more redirections than this only while slots are on the move.
_QUICK_REDIRECTS = 5


class Attempts:
    """Counts tries against a deadline and waits between them, longer each time.

    The first one `began` then, by time.monotonic.
    """

    def __init__(self, timeout: float, interval: float, began: float) -> None:
        self.timeout = timeout
        self.count = 0
        self._deadline = began + timeout
        self._interval = interval
        self._redirects = 0
        self._pause = min(_FIRST_PAUSE, interval)

    def again(self, fault: Exception) -> bool:
        """Wait as `fault` calls for; False when the time is up."""
        self.count += 1
        left = self._deadline - time.monotonic()
        if left <= 0:
            return False
        if isinstance(fault, AskError):
            self._redirects += 1
            if self._redirects <= _QUICK_REDIRECTS:
                return True
        # Longer each time, and never past the deadline.
        time.sleep(min(self._pause, left))
        self._pause = min(2 * self._pause, self._interval)
        return True


def refusal(error: Exception, server: object, key: bytes) -> RedisReplyError:
    """Return what to raise when `server` answered a command on `key` with `error`."""
    if isinstance(error, RedisReplyError):
        return type(error)(f"{_name(key)} on {server} was not read: {error.message}", error.hint)
    text = f"{server} refused {_command(key)}: {error}"
    if isinstance(error, OutOfMemoryError):
        return RedisBadAllocError(text)
    if isinstance(error, InvalidResponse):
        return RedisInternalError(text)
    if str(error).startswith(_UNFIT):
        return RedisDatabaseError(text)
    limit = next((setting for words, setting in _LIMITS.items() if words in str(error)), "")
    return RedisRuntimeError(
        text, f"the server's {limit} limits the size of one value" * bool(limit)
    )


def raise_spent(fault: Exception, server: object, key: bytes, attempts: Attempts) -> NoReturn:
    """Raise the error for a command that met `fault` until its time was up."""
    text = (
        f"{server} did not complete {_command(key)} "
        f"within {attempts.timeout:g} s ({attempts.count} tries): {fault}"
    )
    # A server that is loading is reached, though redis-py has that as a broken connection.
    if isinstance(fault, PASSING):
        raise RedisDatabaseError(text) from fault
    lost = isinstance(fault, NOT_REACHED) and not isinstance(fault, TimeoutError)
    raise (RedisConnectionError if lost else RedisTimeoutError)(text) from fault


def raise_unknown(fault: Exception, server: object, key: bytes) -> NoReturn:
    """Raise the error for a command that may have been done, and must not be done twice."""
    text = (
        f"the connection to {server} broke in {_command(key)}, "
        f"which may have been done or not: {fault}"
    )
    late = isinstance(fault, TimeoutError)
    raise (RedisTimeoutError if late else RedisConnectionError)(text) from fault


def _name(key: bytes) -> str:
    return f"key {key.decode('utf-8', 'backslashreplace')!r}"


def _command(key: bytes) -> str:
    return f"a command on {_name(key)}" if key else "a command"
