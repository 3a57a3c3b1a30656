"""Open connections to one server: made by redis-py, used by one command at a time."""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from redis.exceptions import ResponseError

from hpcorch.client import wire
from hpcorch.client.settings import Address, Settings

T = TypeVar("T")

# A host that drops packets must not use up the time for the other addresses.
_LONGEST_CONNECT = 10.0


class Link:
    """One connection: redis-py opens it, with AUTH and TLS; hpcorch.client.wire talks over it.

    redis-py's parser is kept out, since it would keep bytes that it received too many. After any
    exception but a redis-py ResponseError the link is out of step and must be closed.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._connection.connect()
        self._socket = connection._sock
        self._reader = wire.ReplyReader(self._socket)

    def command(self, *words: bytes | str | int) -> Any:
        """Send one small command; return the reply: bytes, int, None or a list of those."""
        return self.bulk([_encoded(word) for word in words], wire.ReplyReader.value)

    def bulk(self, arguments: Sequence[wire.Argument], read: Callable[[wire.ReplyReader], T]) -> T:
        """Send one command without copying its large arguments; return what `read` makes of it."""
        try:
            wire.send(self._socket, wire.pack(arguments))
        except (BrokenPipeError, ConnectionResetError) as broken:
            # A server that refuses a command half-way says why before it hangs up.
            self._raise_last_words(broken)
        return read(self._reader)

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._connection.disconnect()

    def _raise_last_words(self, broken: OSError) -> None:
        try:
            header = self._reader.line()
        except OSError:
            raise broken from None
        raise self._reader.error(header) from broken


class Server:
    """One server and the idle links to it. Safe for threads; a forked child makes its own links."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self.address = address
        self._settings = settings
        self._idle: deque[Link] = deque()
        self._process = os.getpid()

    def __str__(self) -> str:
        return str(self.address)

    def exchange(self, operation: Callable[[Link], T], asking: bool = False) -> T:
        """Run `operation` on a link that nobody else uses; `asking` announces it by ASKING.

        Raises what the operation, redis-py or the socket raises.
        """
        link = self._take()
        try:
            if asking:
                link.command("ASKING")
            result = operation(link)
        except ResponseError:
            # The server answered in full, so that the link is still in step.
            self._idle.append(link)
            raise
        except BaseException:
            link.close()
            raise
        self._idle.append(link)
        return result

    def close(self) -> None:
        """Close the idle links; the server can be used again afterwards."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Link:
        if self._process != os.getpid():
            # The parent goes on using the sockets that we inherited.
            self._idle, self._process = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return Link(_connection(self.address, self._settings))


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
    return word if isinstance(word, bytes) else str(word).encode()


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
