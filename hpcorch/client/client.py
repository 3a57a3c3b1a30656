"""Client: tensors in and out of a database, from user programs and drivers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from hpcorch.client.codecs import Codec, NpyCodec, Tensor
from hpcorch.client.config import ConfigOptions
from hpcorch.client.connection import Link
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.client.inference import Inference
from hpcorch.client.log import LogContext
from hpcorch.client.routing import Router
from hpcorch.client.scripts import ScriptMethods
from hpcorch.client.settings import Settings, legacy_settings, read_settings
from hpcorch.client.wire import ReplyReader
from hpcorch.errors import InputError, InputTypeError


class Client(ScriptMethods):
    """A connection to a database, cluster or single server; connects at once.

    `Client(config_options=None, logger_name="Default")` takes its options from the environment
    unless it is given some. `Client(cluster, address=None, logger_name="Default")`, also with
    `cluster` by name, is told what the database is; `address` is `host:port`, a comma list of
    those or `unix://path`, by default that of SSDB. The environment is never changed. May be used
    by several threads, and closed by `close()` or a `with` statement.

    Raises InputError and InputTypeError for arguments or variables that are not allowed,
    RedisKeyError without an address, SecurityError for a credentials file that others can read,
    RedisConnectionError when the database cannot be reached within SR_CONN_TIMEOUT.
    """

    def __init__(
        self,
        config_options: ConfigOptions | bool | None = None,
        address: str | None = None,
        logger_name: str = "Default",
        *,
        cluster: bool | None = None,
    ) -> None:
        self._log = LogContext(logger_name)
        settings = _settings_of(config_options, address, cluster)
        self._router = Router(settings)
        self._inference = Inference(self._router, settings)
        self._codec: Codec = NpyCodec()
        self._place = ",".join(str(one) for one in settings.addresses)

    def __str__(self) -> str:
        kind = "Clustered" if self._router.clustered else "Standalone"
        return f"Client {self._log.name!r} of {self._place} ({kind})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; harmless when repeated."""
        self._inference.close()
        self._router.close()

    def put_tensor(self, name: str, data: Tensor) -> None:
        """Store the numpy array `data` (any shape, any dtype without objects) under `name`.

        An older value is replaced. Raises InputTypeError for anything that is not such an array,
        RedisBadAllocError when the server has no room, and what all commands raise.
        """
        key = _key(name)
        arguments = self._codec.store_command(key, data)
        self._router.run(key, lambda link: link.bulk(arguments, ReplyReader.value))

    def get_tensor(self, name: str) -> Tensor:
        """Return the tensor `name` as a new array with the dtype, shape and order it was put in.

        Raises RedisRuntimeError when there is no such key or it holds no tensor.
        """
        key = _key(name)
        arguments = self._codec.fetch_command(key)
        tensor = self._router.run(key, lambda link: link.bulk(arguments, self._codec.read_tensor))
        if tensor is None:
            raise RedisRuntimeError(f"there is no tensor {name!r} in the database {self._place}")
        return tensor

    def delete_tensor(self, name: str) -> None:
        """Remove the tensor `name`; nothing happens when there is none."""
        self._command(name, b"UNLINK")

    def tensor_exists(self, name: str) -> bool:
        """Tell whether there is a tensor `name`."""
        return self.key_exists(name)

    def key_exists(self, key: str) -> bool:
        """Tell whether the database holds `key`, exactly as it is written."""
        return self._command(key, b"EXISTS") > 0

    def poll_tensor(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Look for the tensor `name` up to `num_tries` times, `poll_frequency_ms` apart.

        Returns True as soon as it is there, False when it never was.
        """
        return _poll(lambda: self.tensor_exists(name), poll_frequency_ms, num_tries)

    def poll_key(self, key: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """As poll_tensor, for `key` exactly as it is written."""
        return _poll(lambda: self.key_exists(key), poll_frequency_ms, num_tries)

    def log_data(self, level: int, text: str) -> None:
        """Write `text` to the log under this client's name (see hpcorch.client.log)."""
        self._log.log_data(level, text)

    def log_warning(self, level: int, text: str) -> None:
        """As log_data, for a warning."""
        self._log.log_warning(level, text)

    def log_error(self, level: int, text: str) -> None:
        """As log_data, for an error."""
        self._log.log_error(level, text)

    def _command(self, name: str, word: bytes) -> int:
        key = _key(name)

        def ask(link: Link) -> int:
            return int(link.command(word, key))

        return self._router.run(key, ask)


def _settings_of(
    options: ConfigOptions | bool | None, address: str | None, cluster: bool | None
) -> Settings:
    if isinstance(options, bool):
        if cluster is not None:
            raise InputTypeError("cluster is given twice")
        options, cluster = None, options
    if address is not None and not isinstance(address, str):
        raise InputTypeError(f"address must be a string, not {type(address).__name__}")
    if cluster is not None:
        if not isinstance(cluster, bool):
            raise InputTypeError(f"cluster must be True or False, not {type(cluster).__name__}")
        if options is not None:
            raise InputTypeError("give either config_options or cluster, not both")
        return legacy_settings(cluster, address)
    if address is not None:
        raise InputTypeError("an address needs cluster=True or cluster=False beside it")
    if options is None:
        options = ConfigOptions.create_from_environment("")
    if not isinstance(options, ConfigOptions):
        raise InputTypeError(f"config_options must be ConfigOptions, not {type(options).__name__}")
    return read_settings(options)


def _key(name: str) -> bytes:
    if not isinstance(name, str):
        raise InputTypeError(f"a name must be a string, not {type(name).__name__}")
    return name.encode("utf-8")


def _poll(there: Callable[[], bool], frequency_ms: int, tries: int) -> bool:
    for value, what in ((frequency_ms, "poll_frequency_ms"), (tries, "num_tries")):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputTypeError(f"{what} must be an integer, not {type(value).__name__}")
        if value < 0:
            raise InputError(f"{what}={value} is not allowed: it must not be below 0")
    for attempt in range(tries):
        if attempt:
            time.sleep(frequency_ms / 1000)
        if there():
            return True
    return False
