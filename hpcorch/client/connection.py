"""Open connections to one server: made by redis-py, used by one command at a time."""

from __future__ import annotations

import os
import select
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from redis.exceptions import AskError, MovedError, RedisError, ResponseError, TryAgainError

from hpcorch.client import wire
from hpcorch.client.errors import RedisReplyError
from hpcorch.client.replies import ERROR_REPLIES, ReplyReader
from hpcorch.client.settings import Address, Settings
from hpcorch.client.text import to_bytes

T = TypeVar("T")

# A host that drops packets must not use up the time for the other addresses.
_LONGEST_CONNECT = 10.0
# What servers let a client send at once, unless they are told otherwise.
_QUERY_BUFFER_BYTES = 2**30

# After one of these the link is still in step: the server has answered in full.
_ANSWERED = (*ERROR_REPLIES, RedisReplyError)


@dataclass(frozen=True)
class Request:
    """One command: the `key` that says which server runs it, its `arguments` from the name on.

    `read` makes the result from the reply, by default a value of small size. A command that must
    not be done twice (RPUSH, INCR) is not `repeatable`: it is given up when its connection breaks.
    """

    key: bytes
    arguments: wire.Command
    read: Callable[[ReplyReader], Any] = ReplyReader.value
    repeatable: bool = True


class Link:
    """One connection: redis-py opens it, with AUTH and TLS; hpcorch's wire and replies go over it.

    redis-py's parser is kept out, since it would keep bytes that it received too many. After any
    exception but a server's error and a RedisReplyError the link is out of step and must be closed.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._connection.connect()
        self._socket = connection._sock
        wire.set_timeout(self._socket, connection.socket_timeout)
        self._reader = ReplyReader(self._socket)
        self._broken: OSError | None = None
        self._much = False

    @property
    def usable(self) -> bool:
        """False after a connection broke, even if the server's last words could be read."""
        return self._broken is None

    def hung_up(self) -> bool:
        """Tell whether the server has closed the connection, which must be idle."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def command(self, *words: bytes | str | int) -> Any:
        """Send one small command; return the reply: bytes, int, None or a list of those."""
        return self.bulk([_encoded(word) for word in words], ReplyReader.value)

    def bulk(self, arguments: wire.Command, read: Callable[[ReplyReader], T]) -> T:
        """Send one command without copying its large arguments; return what `read` makes of it."""
        self.send([arguments])
        return self.receive(read)

    def send(self, commands: Iterable[wire.Command]) -> None:
        """Send commands; each must then be answered by one `receive`."""
        pieces = wire.pack(commands)
        self._much = len(pieces) > 1 and sum(map(len, pieces)) > _QUERY_BUFFER_BYTES
        try:
            wire.send(self._socket, pieces)
        except (BrokenPipeError, ConnectionResetError) as broken:
            # A server that refuses a command half-way says why before it hangs up.
            self._broken = broken

    def receive(self, read: Callable[[ReplyReader], T]) -> T:
        """Return what `read` makes of the next reply."""
        try:
            return self._reader.one(read)
        except OSError as error:
            # What broke the sending says more than that there is nothing to receive.
            self._broken = self._broken or error
            if self._much and isinstance(self._broken, ConnectionError):
                # To send it all again, until the time is up, would help nobody.
                raise ResponseError("it hung up while more than 1 GiB was sent to it") from error
            if self._broken is error:
                raise
            raise self._broken from error

    def refusal(self) -> Exception | None:
        """Read the next reply; return the server's error, None for any other reply."""
        try:
            self.receive(ReplyReader.value)
        except ERROR_REPLIES as error:
            return error
        return None

    def transaction(self, requests: Sequence[Request]) -> list[Any]:
        """Run `requests` in MULTI … EXEC; return their results. Raises the first refusal."""
        self.send([(b"MULTI",), *(request.arguments for request in requests), (b"EXEC",)])
        refused = [self.refusal() for _ in range(1 + len(requests))]
        try:
            return self.receive(lambda reply: _read_each(reply, requests))
        except _ANSWERED as error:
            first = next((one for one in refused if one is not None), error)
            if isinstance(first, AskError) and not isinstance(first, MovedError):
                # Only single commands can follow a slot that is on the move.
                raise TryAgainError(str(first)) from first
            raise first from error

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._connection.disconnect()


class Server:
    """One server and the idle links to it. Safe for threads; a forked child makes its own links."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = address
        self._settings = settings
        self._idle: deque[Link] = deque()
        self._process = os.getpid()

    def __str__(self) -> str:
        return str(self.address)

    def exchange(
        self, operation: Callable[[Link], T], asking: bool = False, repeatable: bool = True
    ) -> T:
        """Run `operation` on a link that nobody else uses; `asking` announces it by ASKING.

        Raises what the operation, redis-py or the socket raises: OSError only when a connection
        broke that had been there. An idle link that is dead is not used for what is not
        `repeatable`.
        """
        link = self.take(repeatable)
        try:
            if asking:
                link.command("ASKING")
            result = operation(link)
        except _ANSWERED:
            self.give_back(link)
            raise
        except BaseException:
            link.close()
            raise
        self.give_back(link)
        return result

    def close(self) -> None:
        """Close the idle links; the server can be used again afterwards."""
        while self._idle:
            self._idle.pop().close()

    def take(self, repeatable: bool = True) -> Link:
        """Return a link for the caller alone, who must `give_back` or close it."""
        if self._process != os.getpid():
            # The parent goes on using the sockets that we inherited.
            self._idle, self._process = deque(), os.getpid()
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return Link(_connection(self.address, self._settings))
            if repeatable or not link.hung_up():
                return link
            link.close()

    def give_back(self, link: Link) -> None:
        """Keep a link that is in step for the next one who needs it."""
        if link.usable:
            self._idle.append(link)
        else:
            link.close()


class Pipeline:
    """Commands on one link to one server: all are sent before the first reply is read.

    What happens to each is an outcome: its result, or the exception that it met.
    """

    def __init__(self, server: Server, requests: Sequence[Request], asking: Sequence[bool]) -> None:
        self._server = server
        self._requests = requests
        self._asking = asking
        self._link: Link | None = None
        self._fault: Exception | None = None

    def send(self) -> None:
        """Send all commands; trouble is kept for `outcomes`."""
        try:
            self._link = self._server.take(all(one.repeatable for one in self._requests))
            self._link.send(self._commands())
        except (RedisError, OSError) as fault:
            self._give_up(fault)

    def outcomes(self) -> list[Any]:
        """Read the replies to all commands."""
        found = [self._outcome(*one) for one in zip(self._requests, self._asking, strict=True)]
        if self._link is not None:
            self._server.give_back(self._link)
            self._link = None
        return found

    def close(self) -> None:
        """Close the link if it is still in use."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _commands(self) -> Iterable[wire.Command]:
        for request, asking in zip(self._requests, self._asking, strict=True):
            if asking:
                yield (b"ASKING",)
            yield request.arguments

    def _outcome(self, request: Request, asking: bool) -> Any:
        if self._link is None:
            return self._fault
        try:
            if asking:
                # Should ASKING be refused, then the command itself will be too.
                self._link.refusal()
            return self._link.receive(request.read)
        except _ANSWERED as error:
            return error
        except (RedisError, OSError) as fault:
            self._give_up(fault)
            return fault

    def _give_up(self, fault: Exception) -> None:
        self.close()
        self._fault = fault


def _read_each(reply: ReplyReader, requests: Sequence[Request]) -> list[Any]:
    """Read the reply to EXEC; raise the first refusal in it once all of it has been read."""
    reply.array_size()
    found: list[Any] = []
    refused: list[Exception] = []
    for request in requests:
        try:
            found.append(reply.one(request.read))
        except _ANSWERED as error:
            refused.append(error)
    if refused:
        raise refused[0]
    return found


def is_tls_refusal(error: BaseException) -> bool:
    """Tell whether `error` means that TLS failed for good: trying again would not help."""
    passing = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, passing):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _encoded(word: bytes | str | int) -> bytes:
    return word if isinstance(word, bytes) else to_bytes(str(word))


def _connection(address: Address, settings: Settings) -> Any:
    library: Any = redis
    # RESP2: the server then sends nothing that was not asked for, so replies cannot mix.
    common: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": settings.socket_timeout,
        "socket_connect_timeout": min(settings.socket_timeout, _LONGEST_CONNECT),
    }
    login = settings.credentials
    if login is not None and login.password:
        common |= {"username": login.user or None, "password": login.password}
    if address.path:
        return library.UnixDomainSocketConnection(path=address.path, **common)
    common |= {"host": address.host, "port": address.port, "socket_keepalive": True}
    if login is None or login.tls_ca is None:
        return library.Connection(**common)
    # The private CA signs nothing but this database, hence the host name proves nothing more.
    return library.SSLConnection(
        ssl_ca_certs=str(login.tls_ca),
        ssl_certfile=None if login.tls_cert is None else str(login.tls_cert),
        ssl_keyfile=None if login.tls_key is None else str(login.tls_key),
        ssl_cert_reqs="required",
        ssl_check_hostname=False,
        **common,
    )
