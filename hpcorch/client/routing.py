"""Commands to the servers that own their keys, tried until a deadline, with honest errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from redis.exceptions import AskError, AuthenticationError, InvalidResponse, ResponseError

from hpcorch.client.connection import Link, Pipeline, Request, Server
from hpcorch.client.errors import (
    RedisAddressError,
    RedisInputError,
    RedisReplyError,
    RedisRuntimeError,
)
from hpcorch.client.retries import (
    NOT_REACHED,
    PASSING,
    Attempts,
    raise_spent,
    raise_unknown,
    refusal,
)
from hpcorch.client.settings import Address, Settings, parse_addresses
from hpcorch.client.topology import Topology

T = TypeVar("T")

# Where a command is to be run, and whether it must be announced by ASKING.
_Place = tuple[Server, bool]

_WORTH_ANOTHER_TRY = (AskError, *PASSING, *NOT_REACHED)
_REFUSALS = (ResponseError, InvalidResponse, RedisReplyError)


class Router:
    """Runs commands in one database. Connects at once; may be used by several threads.

    Raises RedisConnectionError when no server answers within `settings.connect_timeout`, or at
    once when the server refuses us.

    All `run…` methods try a command again, until `settings.command_timeout`, when its slot moves,
    the server is loading or the connection breaks; the last not when it is not `repeatable`, since
    it may have been done. They raise RedisConnectionError, RedisTimeoutError, RedisDatabaseError,
    RedisRuntimeError, RedisBadAllocError or RedisInternalError; the router can be used afterwards.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topology = Topology(settings)

    @property
    def clustered(self) -> bool:
        """True when keys are spread over servers by slot."""
        return self._topology.clustered

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers that hold keys, by slot: `host:port` or `unix://path` of each."""
        return tuple(str(server) for server in self._topology.owners())

    def place(self, key: bytes) -> Address:
        """Return the address of the server that owns `key`, as far as is known."""
        return self._topology.owner(key).address

    def run(self, key: bytes, operation: Callable[[Link], T], repeatable: bool = True) -> T:
        """Run `operation` at the server that owns `key` and return its result."""
        return self._run(self._topology.owner(key), key, operation, repeatable)

    def run_on(self, address: str, operation: Callable[[Link], T], repeatable: bool = True) -> T:
        """Run `operation` at the server with this address and return its result.

        `address` is one of `addresses`, also in another of the spellings that SSDB may have.
        Raises RedisInputError for what is no address, RedisRuntimeError for that of no such server.
        """
        return self._run(self._server_at(address), b"", operation, repeatable)

    def first_slot(self, address: str) -> int | None:
        """Return the lowest slot of the server with this address; None when there are no slots.

        Raises as run_on.
        """
        return self._topology.first_slot(self._server_at(address))

    def run_together(self, key: bytes, requests: Sequence[Request]) -> list[Any]:
        """Run commands on keys of `key`'s slot as one transaction (MULTI … EXEC).

        Returns what their `read` made of the replies. When the server does not take one of them,
        none is done; other clients see all of them or none. Raises the first refusal.
        """
        repeatable = all(request.repeatable for request in requests)
        return self.run(key, lambda link: link.transaction(requests), repeatable)

    def run_many(self, requests: Sequence[Request]) -> list[Any]:
        """Run commands and return what their `read` made of the replies, in the same order.

        Those for one shard go there in one round trip, and all shards work at the same time.
        Within a shard they run in their order, but for those that are tried again. A refusal does
        not stop the others: when all have been run, the first one is raised.
        """
        if len(requests) == 1:
            only = requests[0]
            return [
                self.run(
                    only.key, lambda link: link.bulk(only.arguments, only.read), only.repeatable
                )
            ]
        replies: dict[int, Any] = {}
        waiting: dict[int, _Place] = {
            index: (self._topology.owner(request.key), False)
            for index, request in enumerate(requests)
        }
        attempts = self._attempts(time.monotonic())
        while waiting:
            faults: dict[int, Exception] = {}
            for index, outcome in _one_round(requests, waiting).items():
                if isinstance(outcome, _WORTH_ANOTHER_TRY):
                    faults[index] = outcome
                elif isinstance(outcome, Exception):
                    replies[index] = refusal(outcome, waiting[index][0], requests[index].key)
                    replies[index].__cause__ = outcome
                else:
                    replies[index] = outcome
            waiting = self._next_places(requests, waiting, faults, attempts)
        in_order = [replies[index] for index in range(len(requests))]
        for reply in in_order:
            if isinstance(reply, Exception):
                raise reply
        return in_order

    def close(self) -> None:
        """Close all connections."""
        self._topology.close()

    def _server_at(self, address: str) -> Server:
        try:
            wanted = parse_addresses(address, "the address")
        except RedisAddressError as error:
            # Nothing is connected to here: it is an argument like others.
            raise RedisInputError(error.message, error.hint) from error
        for server in self._topology.owners():
            if wanted == (server.address,):
                return server
        raise RedisRuntimeError(
            f"{address} is no server of this database",
            hint=f"its servers are {', '.join(self.addresses)}",
        )

    def _run(
        self, server: Server, key: bytes, operation: Callable[[Link], T], repeatable: bool
    ) -> T:
        began = time.monotonic()
        attempts: Attempts | None = None
        asking = False
        while True:
            try:
                return server.exchange(operation, asking, repeatable)
            except _WORTH_ANOTHER_TRY as error:
                fault: Exception = error
            except _REFUSALS as error:
                raise refusal(error, server, key) from error
            self._check(fault, server, key, repeatable)
            attempts = attempts or self._attempts(began)
            if not attempts.again(fault):
                raise_spent(fault, server, key, attempts)
            self._topology.react(fault, server)
            if key:
                server, asking = self._topology.redirect(fault, server, key)

    def _next_places(
        self,
        requests: Sequence[Request],
        places: Mapping[int, _Place],
        faults: Mapping[int, Exception],
        attempts: Attempts,
    ) -> dict[int, _Place]:
        """Wait as `faults` call for, and say where to run the commands that met them."""
        for index, fault in faults.items():
            self._check(fault, places[index][0], requests[index].key, requests[index].repeatable)
        # One broken link is the same fault for all commands that were on it.
        distinct = {id(fault): (fault, *places[index]) for index, fault in faults.items()}
        for index, fault in list(faults.items())[:1]:
            if not attempts.again(fault):
                raise_spent(fault, places[index][0], requests[index].key, attempts)
        for fault, server, _asking in distinct.values():
            self._topology.react(fault, server)
        return {
            index: self._topology.redirect(fault, places[index][0], requests[index].key)
            for index, fault in faults.items()
        }

    def _attempts(self, began: float) -> Attempts:
        return Attempts(self._settings.command_timeout, self._settings.command_interval, began)

    def _check(self, fault: Exception, server: Server, key: bytes, repeatable: bool) -> None:
        """Raise when nothing can be gained, or something spoilt, by another try after `fault`."""
        if isinstance(fault, AuthenticationError):
            self._topology.raise_unwelcome(fault, server)
        # What redis-py raises comes from connecting: the command was not sent then.
        if not repeatable and isinstance(fault, OSError):
            raise_unknown(fault, server, key)


def _one_round(requests: Sequence[Request], places: Mapping[int, _Place]) -> dict[int, Any]:
    """Send each command that has a place there; return its result or what it met, by its index."""
    shares: dict[Server, list[int]] = {}
    for index, (server, _asking) in places.items():
        shares.setdefault(server, []).append(index)
    pipelines = {
        server: Pipeline(server, [requests[i] for i in share], [places[i][1] for i in share])
        for server, share in shares.items()
    }
    found: dict[int, Any] = {}
    try:
        for pipeline in pipelines.values():
            pipeline.send()
        for server, pipeline in pipelines.items():
            found |= zip(shares[server], pipeline.outcomes(), strict=True)
    finally:
        for pipeline in pipelines.values():
            pipeline.close()
    return found
