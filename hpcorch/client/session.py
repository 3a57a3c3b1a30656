"""What all calls of a client share: the connection, the keys and the kind of server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hpcorch.client.config import ConfigOptions
from hpcorch.client.connection import Link
from hpcorch.client.keys import Keys, encoded
from hpcorch.client.layouts import DatasetLayout, HashLayout, RedisAILayout
from hpcorch.client.log import LogContext, SRObject
from hpcorch.client.routing import Router
from hpcorch.client.settings import Settings
from hpcorch.errors import InputError, InputTypeError


@dataclass(frozen=True)
class Start:
    """What a session starts from: where to connect, where to read prefixes, how to log."""

    settings: Settings
    options: ConfigOptions
    log: LogContext


class Session(SRObject):
    """An open connection to a database. Connects at once; may be used by several threads."""

    def __init__(self, start: Start) -> None:
        if not isinstance(start, Start):
            raise InputTypeError(f"a client is made from a Start, not {type(start).__name__}")
        super().__init__(start.log)
        self._log_name = start.log.name
        self._keys = Keys(start.options)
        self._router = Router(start.settings)
        self._known_layout: DatasetLayout | None = None
        self._place = ",".join(str(one) for one in start.settings.addresses)

    def close(self) -> None:
        """Close the connections; harmless when repeated."""
        self._router.close()

    def key_exists(self, key: str) -> bool:
        """Tell whether the database holds `key`, exactly as it is written."""
        return self._command(b"EXISTS", encoded(key)) > 0

    def poll_key(self, key: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Look for `key`, exactly as it is written, up to `num_tries` times.

        Between two tries `poll_frequency_ms` milliseconds pass. Returns True as soon as it is
        there, False when it never was.
        """
        # A wrong type is told even when there is nothing to try.
        encoded(key)
        return poll(lambda: self.key_exists(key), poll_frequency_ms, num_tries)

    def set_data_source(self, source_id: str) -> None:
        """Read with the prefix `source_id` from now on, which must be one that SSKEYIN names.

        Raises RedisRuntimeError otherwise.
        """
        self._keys.choose_source(source_id)

    def use_tensor_ensemble_prefix(self, use_prefix: bool) -> None:
        """Say whether the names of tensors take the prefixes of SSKEYIN and SSKEYOUT (default)."""
        self._keys.use_prefix("tensor", use_prefix)

    def use_dataset_ensemble_prefix(self, use_prefix: bool) -> None:
        """As use_tensor_ensemble_prefix, for datasets."""
        self._keys.use_prefix("dataset", use_prefix)

    def use_list_ensemble_prefix(self, use_prefix: bool) -> None:
        """As use_tensor_ensemble_prefix, for aggregation lists."""
        self._keys.use_prefix("list", use_prefix)

    def use_model_ensemble_prefix(self, use_prefix: bool) -> None:
        """As use_tensor_ensemble_prefix, for models and scripts; the default is not to."""
        self._keys.use_prefix("model", use_prefix)

    def _layout(self, key: bytes) -> DatasetLayout:
        """Return the layout for this kind of server; the one that owns `key` is asked once."""
        if self._known_layout is None:
            self._known_layout = layout_at(self._router, key)
        return self._known_layout

    def _command(self, word: bytes, key: bytes) -> int:
        """Run a command that takes a key and returns a number, and may be repeated."""

        def ask(link: Link) -> int:
            return int(link.command(word, key))

        return self._router.run(key, ask)


def layout_at(router: Router, key: bytes) -> DatasetLayout:
    """Return the layout for the kind of server that owns `key`, which is asked."""
    return RedisAILayout() if router.run(key, _has_tensor_commands) else HashLayout()


def poll(condition: Callable[[], bool], frequency_ms: int, tries: int) -> bool:
    """Ask for `condition` up to `tries` times, `frequency_ms` apart; True as soon as it holds."""
    check_number(frequency_ms, "poll_frequency_ms", 0)
    check_number(tries, "num_tries", 0)
    for attempt in range(tries):
        if attempt:
            # The pause is what the caller has asked for.
            time.sleep(frequency_ms / 1000)
        if condition():
            return True
    return False


def check_number(value: int, what: str, least: int | None = None) -> None:
    """Raise InputTypeError unless `value` is an integer, InputError if it is below `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputTypeError(f"{what} must be an integer, not {type(value).__name__}")
    if least is not None and value < least:
        raise InputError(f"{what}={value} is not allowed: it must not be below {least}")


def _has_tensor_commands(link: Link) -> bool:
    reply = link.command("COMMAND", "INFO", "AI.TENSORSET")
    return isinstance(reply, list) and any(reply)
