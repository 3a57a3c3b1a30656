"""The servers of one database, and which of them owns a key."""

from __future__ import annotations

import random
import time
from typing import NoReturn

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as NoConnection

from hpcorch.client.connection import Server, is_tls_refusal
from hpcorch.client.errors import RedisConnectionError, RedisRuntimeError
from hpcorch.client.retries import NOT_REACHED, PASSING, Attempts
from hpcorch.client.settings import Address, Settings

_SLOTS = 16384


class Topology:
    """Which server owns which slot, as far as is known. Connects at once.

    Raises RedisConnectionError when no server answers within `settings.connect_timeout`, or at
    once when the server refuses us.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._servers: dict[Address, Server] = {}
        # Without a slot map the database is one server: the one that answered.
        self._slots: list[Server] | None = None
        self._only = self._connect()

    @property
    def clustered(self) -> bool:
        """True when keys are spread over servers by slot."""
        return self._slots is not None

    def owner(self, key: bytes) -> Server:
        """Return the server that owns `key`."""
        return self._only if self._slots is None else self._slots[key_slot(key)]

    def owners(self) -> list[Server]:
        """Return the servers that own keys, in the order of their slots."""
        return [self._only] if self._slots is None else list(dict.fromkeys(self._slots))

    def first_slot(self, server: Server) -> int | None:
        """Return the lowest slot of `server`; None when the database is no cluster."""
        return None if self._slots is None else self._slots.index(server)

    def close(self) -> None:
        """Close all connections."""
        for server in list(self._servers.values()):
            server.close()

    def redirect(self, fault: Exception, server: Server, key: bytes) -> tuple[Server, bool]:
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
            if self._slots[key_slot(key)] is not target:
                self._slots[key_slot(key)] = target
                self._refresh(target)
        return self.owner(key), False

    def react(self, fault: Exception, server: Server) -> None:
        """Act upon `fault`, met at `server`, before anything is tried again."""
        if isinstance(fault, NOT_REACHED) and not isinstance(fault, PASSING):
            # Whatever broke one link has likely broken the idle ones.
            server.close()
        if isinstance(fault, (*NOT_REACHED, ClusterDownError)) and self._slots is not None:
            self._refresh(None)

    def raise_unwelcome(self, error: Exception, server: Server) -> NoReturn:
        """Raise the error for a server that wants another login than ours."""
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

    def _server(self, address: Address) -> Server:
        known = self._servers.get(address)
        # No lock: one that is held during a fork would stay held in the child.
        return known or self._servers.setdefault(address, Server(address, self._settings))

    def _connect(self) -> Server:
        settings = self._settings
        attempt = Attempts(settings.connect_timeout, settings.connect_interval, time.monotonic())
        while True:
            addresses = random.sample(settings.addresses, len(settings.addresses))
            for address in addresses:
                server = self._server(address)
                try:
                    if self._greet(server):
                        return server
                    fault: Exception = NoConnection("the cluster is not complete yet")
                except AuthenticationError as error:
                    self.raise_unwelcome(error, server)
                except (*PASSING, *NOT_REACHED) as error:
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
        except (AskError, *PASSING):
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
        try:
            for first, last, owner, *_replicas in ranges:
                host = (owner[0] or b"").decode()
                # An empty or unknown host stands for the one that was asked.
                host = server.address.host if host in ("", "?") else host
                target = self._server(Address(host, int(owner[1])))
                if not 0 <= first <= last < _SLOTS:
                    raise ValueError(f"slots {first} to {last}")
                slots[first : last + 1] = [target] * (last + 1 - first)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise InvalidResponse(f"its reply to CLUSTER SLOTS makes no sense: {error}") from error
        complete = [target for target in slots if target is not None]
        if len(complete) == _SLOTS:
            self._slots = complete
        return len(complete) == _SLOTS

    def _refresh(self, known: Server | None) -> None:
        """Read the slot map anew, from `known` or from the first server that gives it."""
        everyone = list(self._servers.values())
        for server in [known] if known else random.sample(everyone, len(everyone)):
            try:
                if self._read_slots(server):
                    return
            except (RedisError, OSError):
                # The next one may know; the command itself meets the deadline.
                continue
