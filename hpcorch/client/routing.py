"""From a key to the server that owns it, with retries until a deadline and honest errors."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

from hpcorch.client.connection import Link, Server, is_tls_refusal
from hpcorch.client.errors import (
    RedisBadAllocError,
    RedisConnectionError,
    RedisInternalError,
    RedisReplyError,
    RedisRuntimeError,
    RedisTimeoutError,
)
from hpcorch.client.settings import Address, Settings

T = TypeVar("T")

_SLOTS = 16384
_FIRST_PAUSE = 0.02
# A command meets more redirections than this only while slots are on the move.
_QUICK_REDIRECTS = 5
_NOT_REACHED = (NoConnection, NoAnswer, OSError)
_PASSING = (BusyLoadingError, ClusterDownError, TryAgainError)


class Router:
    """The servers of one database. Connects at once.

    Raises RedisConnectionError when no server answers within `settings.connect_timeout`, or at
    once when the server refuses us.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._servers: dict[Address, Server] = {}
        # Without a slot map the database is one server: the one that answered.
        self._slots: list[Server] | None = None
        self._only = self._connect()

    @property
    def clustered(self) -> bool:
        """True when keys are spread over servers by slot."""
        return self._slots is not None

    def place(self, key: bytes) -> Address:
        """Return the address of the server that owns `key`, as far as is known."""
        return self._owner(key).address

    def run(self, key: bytes, operation: Callable[[Link], T]) -> T:
        """Run `operation` at the server that owns `key` and return its result.

        It is run again, until `settings.command_timeout`, when the connection breaks, the slot
        moves or the server is loading; so it must be harmless to repeat. Raises
        RedisConnectionError, RedisTimeoutError, RedisRuntimeError, RedisBadAllocError or
        RedisInternalError.
        """
        settings = self._settings
        attempt = _Attempts(settings.command_timeout, settings.command_interval)
        server, asking = self._owner(key), False
        while True:
            try:
                return server.exchange(operation, asking)
            except AuthenticationError as error:
                self._raise_unwelcome(error, server)
            except (AskError, *_PASSING, *_NOT_REACHED) as error:
                fault: Exception = error
            except RedisReplyError as error:
                text = f"{_name(key)} on {server} was not read: {error.message}"
                raise type(error)(text, error.hint) from error
            except (ResponseError, InvalidResponse) as error:
                _raise_refusal(error, server, key)
            if not attempt.again(fault):
                _raise_spent(fault, server, key, attempt)
            server, asking = self._next(fault, server, key)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for server in self._servers.values():
                server.close()

    def _owner(self, key: bytes) -> Server:
        return self._only if self._slots is None else self._slots[key_slot(key)]

    def _server(self, address: Address) -> Server:
        with self._lock:
            if address not in self._servers:
                self._servers[address] = Server(address, self._settings)
            return self._servers[address]

    def _next(self, fault: Exception, server: Server, key: bytes) -> tuple[Server, bool]:
        """Say where to run a command again after `fault`, and whether by ASKING."""
        if isinstance(fault, AskError):
            if self._slots is None:
                raise RedisRuntimeError(
                    f"{server} is part of a cluster, but was said to stand alone",
                    hint="set SR_DB_TYPE=Clustered, or Client(cluster=True, …)",
                ) from fault
            # A server that does not know its own address leaves the host out.
            target = self._server(Address(fault.host or server.address.host, fault.port))
            if not isinstance(fault, MovedError):
                return target, True
            self._slots[key_slot(key)] = target
            self._refresh(target)
        elif isinstance(fault, _NOT_REACHED):
            # Whatever broke this link has likely broken the idle ones.
            server.close()
        if isinstance(fault, (*_NOT_REACHED, ClusterDownError)) and self._slots is not None:
            self._refresh(None)
        return self._owner(key), False

    def _connect(self) -> Server:
        settings = self._settings
        attempt = _Attempts(settings.connect_timeout, settings.connect_interval)
        while True:
            addresses = random.sample(settings.addresses, len(settings.addresses))
            for address in addresses:
                server = self._server(address)
                try:
                    if self._greet(server):
                        return server
                    fault: Exception = NoConnection("the cluster is not complete yet")
                except AuthenticationError as error:
                    self._raise_unwelcome(error, server)
                except (*_PASSING, *_NOT_REACHED) as error:
                    if is_tls_refusal(error):
                        raise RedisConnectionError(
                            f"no TLS connection to {server} is possible: {error}",
                            hint="the credentials file names the certificates that are used",
                        ) from error
                    fault = error
                except RedisError as error:
                    raise RedisConnectionError(f"{server} refused us: {error}") from error
            if not attempt.again(fault):
                raise RedisConnectionError(
                    f"no server answered at {', '.join(map(str, settings.addresses))} "
                    f"within {settings.connect_timeout:g} s; the last one said: {fault}",
                    hint="SR_CONN_TIMEOUT sets how long to wait for a database that is starting",
                ) from fault

    def _greet(self, server: Server) -> bool:
        """Find out whether `server` is ready, and in a cluster where the slots are."""
        if self._settings.clustered is False:
            server.exchange(lambda link: link.command("PING"))
            return True
        try:
            return self._read_slots(server)
        except (AskError, *_PASSING):
            raise
        except ResponseError as error:
            if self._settings.clustered is None:
                return True
            raise RedisConnectionError(
                f"{server} is no cluster, but was said to be one: {error}",
                hint="set SR_DB_TYPE=Standalone, or Client(cluster=False, …)",
            ) from error

    def _read_slots(self, server: Server) -> bool:
        """Take over the slot map that `server` knows, if it covers all slots."""
        ranges = server.exchange(lambda link: link.command("CLUSTER", "SLOTS"))
        slots: list[Server | None] = [None] * _SLOTS
        for first, last, owner, *_replicas in ranges:
            host = (owner[0] or b"").decode()
            # An empty or unknown host stands for the one that was asked.
            host = server.address.host if host in ("", "?") else host
            target = self._server(Address(host, int(owner[1])))
            slots[first : last + 1] = [target] * (last + 1 - first)
        complete = [target for target in slots if target is not None]
        if len(complete) == _SLOTS:
            self._slots = complete
        return len(complete) == _SLOTS

    def _refresh(self, known: Server | None) -> None:
        """Read the slot map anew, from `known` or from the first server that gives it."""
        with self._lock:
            everyone = list(self._servers.values())
        for server in [known] if known else random.sample(everyone, len(everyone)):
            try:
                if self._read_slots(server):
                    return
            except (RedisError, OSError):
                # The next one may know; the command itself meets the deadline.
                continue

    def _raise_unwelcome(self, error: Exception, server: Server) -> NoReturn:
        login, variable = self._settings.credentials, self._settings.credentials_variable
        if login is None or not login.password:
            raise RedisConnectionError(
                f"{server} asks for a password and we have none",
                hint=f"set {variable} to the path of the database's credentials file",
            ) from error
        raise RedisConnectionError(
            f"{server} does not accept the password for user {login.user or 'default'!r} "
            f"from {login.source}: {error}",
            hint=f"set {variable} to the path of this database's credentials file",
        ) from error


class _Attempts:
    """Counts tries against a deadline and waits between them, longer each time."""

    def __init__(self, timeout: float, interval: float) -> None:
        self.timeout = timeout
        self.count = 0
        self._deadline = time.monotonic() + timeout
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
        time.sleep(min(self._pause, left))
        self._pause = min(2 * self._pause, self._interval)
        return True


def _name(key: bytes) -> str:
    return f"key {key.decode('utf-8', 'backslashreplace')!r}"


def _raise_refusal(error: Exception, server: Server, key: bytes) -> NoReturn:
    text = f"{server} refused a command on {_name(key)}: {error}"
    if isinstance(error, OutOfMemoryError):
        raise RedisBadAllocError(text) from error
    if isinstance(error, InvalidResponse):
        raise RedisInternalError(text) from error
    large = "invalid bulk length" in str(error)
    hint = "the server's proto-max-bulk-len limits the size of one value" if large else ""
    raise RedisRuntimeError(text, hint) from error


def _raise_spent(fault: Exception, server: Server, key: bytes, attempt: Any) -> NoReturn:
    text = (
        f"{server} did not complete a command on {_name(key)} "
        f"within {attempt.timeout:g} s ({attempt.count} tries): {fault}"
    )
    lost = isinstance(fault, (NoConnection, OSError)) and not isinstance(
        fault, (BusyLoadingError, TimeoutError)
    )
    raise (RedisConnectionError if lost else RedisTimeoutError)(text) from fault
