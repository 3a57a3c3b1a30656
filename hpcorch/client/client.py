"""Client: data in and out of a database and AI models run on them, for programs and drivers."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, overload

from hpcorch.client.config import ConfigOptions, misspelled
from hpcorch.client.errors import RedisAddressError, RedisRuntimeError
from hpcorch.client.lists import ListCalls
from hpcorch.client.log import LLInfo, LogContext
from hpcorch.client.nodes import NodeCalls
from hpcorch.client.raw_bytes import ByteCalls
from hpcorch.client.scripts import ScriptCalls
from hpcorch.client.session import Start
from hpcorch.client.settings import legacy_settings, read_settings
from hpcorch.client.tensors import TensorCalls
from hpcorch.errors import InputTypeError


class Client(TensorCalls, ByteCalls, ListCalls, NodeCalls, ScriptCalls):
    """A connection to a database, cluster or single server; connects at once.

    `Client(config_options=None, logger_name="Default")` takes its options from the environment
    unless it is given some. `Client(cluster, address=None, logger_name="Default")` is told what the
    database is; `address` is `host:port`, a comma list of those or `unix://path`, by default that
    of SSDB. The environment is never changed. May be used by several threads, and closed by
    `close()` or a `with` statement.

    Raises InputError and InputTypeError for arguments or variables that are not allowed,
    RedisAddressError without a usable address, SecurityError for a credentials file that others
    can read, RedisConnectionError when the database cannot be reached within SR_CONN_TIMEOUT.
    """

    @overload
    def __init__(
        self, config_options: ConfigOptions | None = None, logger_name: str = "Default"
    ) -> None: ...

    @overload
    def __init__(
        self, cluster: bool, address: str | None = None, logger_name: str = "Default"
    ) -> None: ...

    # Only the overloads are public: what stands second depends on what stands first.
    def __init__(self, *args: Any, **named: Any) -> None:
        told = isinstance(args[0], bool) if args else "cluster" in named or "address" in named
        if not told and any(isinstance(argument, bool) for argument in args[1:2]):
            # Old programs name the address first, as in Client(None, False).
            raise InputTypeError(
                "the logger name must be a string, not bool", "say Client(cluster=False)"
            )
        construction = self.__address_construction if told else self.__standard_construction
        start = construction(*args, **named)
        for name, meant in misspelled(os.environ).items():
            start.log.log_warning(LLInfo, f"{name} is no option: is {meant} meant?")
        super().__init__(start)

    def __str__(self) -> str:
        kind = "Clustered" if self._router.clustered else "Standalone"
        return f"Client {self._log_name!r} of {self._place} ({kind})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # These two are named as in SmartRedis, whose tests replace them.
    def __address_construction(
        self, cluster: bool | None = None, address: str | None = None, logger_name: str = "Default"
    ) -> Start:
        if not isinstance(cluster, bool):
            raise InputTypeError(f"cluster must be True or False, not {type(cluster).__name__}")
        if address is not None and not isinstance(address, str):
            raise InputTypeError(f"address must be a string, not {type(address).__name__}")
        log = LogContext(logger_name)
        options = ConfigOptions.create_from_environment("")
        return Start(legacy_settings(cluster, address), options, log)

    @staticmethod
    def __standard_construction(
        config_options: ConfigOptions | None = None, logger_name: str = "Default"
    ) -> Start:
        if config_options is None:
            config_options = ConfigOptions.create_from_environment("")
        if not isinstance(config_options, ConfigOptions):
            raise InputTypeError(
                f"config_options must be ConfigOptions, not {type(config_options).__name__}"
            )
        log = LogContext(logger_name)
        try:
            return Start(read_settings(config_options), config_options, log)
        except RedisRuntimeError as error:
            # Options without a source: there is nothing to connect to.
            raise RedisAddressError(error.message, error.hint) from error
