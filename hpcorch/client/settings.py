"""Everything a client needs to know before it connects, checked and in plain units."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hpcorch.client.config import ConfigOptions
from hpcorch.client.credentials import Credentials, read_credentials
from hpcorch.client.errors import RedisAddressError
from hpcorch.client.registry import find_credentials
from hpcorch.errors import InputError

_CONNECT_SECONDS = 100
_COMMAND_SECONDS = 100
_INTERVAL_MS = 1000
# SmartRedis gives up after 250 ms without a byte, which a large array or a busy server exceeds.
_SOCKET_MS = 100_000
_MODEL_MS = 60_000
# As in SmartRedis: 24 days in ms; clocks and sockets take no time of any length.
_LONGEST = 2**31 - 1


@dataclass(frozen=True)
class Address:
    """Where one server listens: `host` and `port`, or the `path` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """How to reach a database.

    `clustered` is None when nobody said: the server is asked. Times are in seconds:
    `connect_timeout` and `command_timeout` bound all tries together, `connect_interval` and
    `command_interval` the pause between two, `socket_timeout` the time without a single byte,
    `model_timeout` one run of an AI model.
    `credentials_variable` is the environment variable to name when the server wants a password.
    """

    addresses: tuple[Address, ...]
    clustered: bool | None = None
    credentials: Credentials | None = None
    credentials_variable: str = "HPCORCH_CREDENTIALS"
    connect_timeout: float = _CONNECT_SECONDS
    connect_interval: float = _INTERVAL_MS / 1000
    command_timeout: float = _COMMAND_SECONDS
    command_interval: float = _INTERVAL_MS / 1000
    socket_timeout: float = _SOCKET_MS / 1000
    model_timeout: float = _MODEL_MS / 1000


def read_settings(options: ConfigOptions) -> Settings:
    """Return what `options` say about a database.

    Raises RedisAddressError without a usable address, InputError for a value that is not allowed,
    and what `read_credentials` raises.
    """
    path = _optional(options, "HPCORCH_CREDENTIALS")
    return _settings(options, path)


def legacy_settings(cluster: bool, address: str | None) -> Settings:
    """Return the settings for `Client(cluster, address)`; `address` None means SSDB's.

    Credentials: HPCORCH_CREDENTIALS when SSDB is this very database, else those of a database at
    that address which this user started, else HPCORCH_CREDENTIALS. Raises as `read_settings`.
    """
    options = ConfigOptions.create_from_environment("")
    named = _optional(options, "SSDB")
    wanted = _optional(options, "SSDB") if address is None else address
    if wanted is None:
        raise _no_address("SSDB")
    addresses = parse_addresses(wanted, "SSDB" if address is None else "address")
    options.override_string_option("SSDB", wanted)
    options.override_string_option("SR_DB_TYPE", "Clustered" if cluster else "Standalone")
    path = _optional(options, "HPCORCH_CREDENTIALS")
    if path is None or named is None or wanted not in (named, *named.split(",")):
        path = _registered(addresses, os.environ) or path
    return _settings(options, path)


def parse_addresses(text: str, source: str) -> tuple[Address, ...]:
    """Return the addresses in a comma-separated list.

    Raises RedisAddressError for anything else; `source` names it in the message.
    """
    return tuple(_parse_address(item.strip(), source) for item in text.split(","))


def _settings(options: ConfigOptions, credentials: str | None) -> Settings:
    variable = options.variable("SSDB")
    if not options.is_configured("SSDB"):
        raise _no_address(variable)
    addresses = parse_addresses(options.get_string_option("SSDB"), variable)
    clustered = _clustered(options, len(addresses))
    if clustered and any(address.path for address in addresses):
        raise RedisAddressError(
            f"{variable} names a Unix socket, which a clustered database cannot have"
        )
    return Settings(
        addresses=addresses,
        clustered=clustered,
        credentials=None if credentials is None else read_credentials(credentials),
        credentials_variable=options.variable("HPCORCH_CREDENTIALS"),
        connect_timeout=_positive(options, "SR_CONN_TIMEOUT", _CONNECT_SECONDS),
        connect_interval=_positive(options, "SR_CONN_INTERVAL", _INTERVAL_MS) / 1000,
        command_timeout=_positive(options, "SR_CMD_TIMEOUT", _COMMAND_SECONDS),
        command_interval=_positive(options, "SR_CMD_INTERVAL", _INTERVAL_MS) / 1000,
        socket_timeout=_positive(options, "SR_SOCKET_TIMEOUT", _SOCKET_MS) / 1000,
        model_timeout=_positive(options, "SR_MODEL_TIMEOUT", _MODEL_MS) / 1000,
    )


def _no_address(variable: str) -> RedisAddressError:
    return RedisAddressError(
        f"{variable} is not set: it holds the address of the database",
        hint="hpcorch sets it in the programs that it starts; elsewhere give host:port",
    )


def _parse_address(text: str, source: str) -> Address:
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if path:
            return Address(path=path)
    else:
        host, _, port = text.removeprefix("tcp://").rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        legal = port.isascii() and port.isdigit() and 0 < int(port) < 65536
        if legal and host and not set(host) & set("/ []@"):
            return Address(host=host, port=int(port))
    raise RedisAddressError(
        f"{source} holds {text!r}, which is no address",
        hint="allowed are host:port, tcp://host:port and unix://path, separated by commas",
    )


def _clustered(options: ConfigOptions, addresses: int) -> bool | None:
    word = _optional(options, "SR_DB_TYPE")
    if word is None:
        return True if addresses > 1 else None
    known = {"clustered": True, "standalone": False}
    if word.lower() not in known:
        raise InputError(
            f"{options.variable('SR_DB_TYPE')}={word!r} is not allowed: "
            "it must be Clustered or Standalone"
        )
    return known[word.lower()]


def _positive(options: ConfigOptions, name: str, default: int) -> int:
    if not options.is_configured(name):
        return default
    value = options.get_integer_option(name)
    if not 0 < value <= _LONGEST:
        allowed = "above 0" if value <= 0 else f"{_LONGEST} or less"
        raise InputError(f"{options.variable(name)}={value} is not allowed: it must be {allowed}")
    return value


def _optional(options: ConfigOptions, name: str) -> str | None:
    return options.get_string_option(name) if options.is_configured(name) else None


def _registered(addresses: tuple[Address, ...], environ: Mapping[str, str]) -> str | None:
    for address in addresses:
        found = find_credentials(str(address), environ)
        if found is not None:
            return str(found)
    return None
