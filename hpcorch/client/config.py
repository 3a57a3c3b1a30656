"""Where a client gets its options from: environment variables, with overrides.

| option                    | default   | meaning                                               |
|---------------------------|-----------|-------------------------------------------------------|
| SSDB                      | required  | `host:port`, a comma list, `tcp://…` or `unix://path` |
| SR_DB_TYPE                | see below | `Clustered` or `Standalone`, any case                 |
| HPCORCH_CREDENTIALS       | none      | path of the credentials file                          |
| SSKEYIN                   | none      | prefixes of names to read, a comma list               |
| SSKEYOUT                  | none      | prefix of names to write                              |
| SR_CONN_TIMEOUT           | 100       | seconds to keep trying to connect                     |
| SR_CONN_INTERVAL          | 1000      | longest pause between those tries, ms                 |
| SR_CMD_TIMEOUT            | 100       | seconds to keep trying one command                    |
| SR_CMD_INTERVAL           | 1000      | longest pause between those tries, ms                 |
| SR_SOCKET_TIMEOUT         | 100000    | ms without a single byte before a command is given up |
| SR_MODEL_TIMEOUT          | 60000     | ms that one run of an AI model may take; no suffix    |
| SR_LOG_FILE, SR_LOG_LEVEL | see log   | never take a suffix                                   |

Without SR_DB_TYPE, several addresses mean a cluster, and a single server is asked what it is.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping

from hpcorch.client.errors import RedisKeyError, RedisRuntimeError
from hpcorch.errors import InputError, InputTypeError

_NEVER_SUFFIXED = frozenset({"SR_LOG_FILE", "SR_LOG_LEVEL", "SR_MODEL_TIMEOUT"})
# SR_THREAD_COUNT is SmartRedis': this client has no threads of its own.
_KNOWN = (
    *("SSDB", "SSKEYIN", "SSKEYOUT", "SR_DB_TYPE", "HPCORCH_CREDENTIALS", "SR_THREAD_COUNT"),
    *("SR_CONN_TIMEOUT", "SR_CONN_INTERVAL", "SR_CMD_TIMEOUT", "SR_CMD_INTERVAL"),
    *("SR_SOCKET_TIMEOUT", *sorted(_NEVER_SUFFIXED)),
)
# From here on two names are taken for one and a slip of the fingers.
_ALIKE = 0.85


class ConfigOptions:
    """Options of one database, looked up by name when they are needed.

    Make one with `ConfigOptions.create_from_environment(db_suffix)`. One made by calling the class
    directly knows no source: reading from it raises RedisRuntimeError.
    """

    def __init__(self) -> None:
        self._suffix: str | None = None
        self._overrides: dict[str, str] = {}

    @classmethod
    def create_from_environment(cls, db_suffix: str) -> ConfigOptions:
        """Return options that read `NAME_<db_suffix>` from the environment ("" reads `NAME`).

        The suffix is used verbatim. Where that variable is absent, the spelling with every
        character outside [A-Za-z0-9_] replaced by `_` is read instead: a shell cannot export the
        first. Raises InputTypeError when `db_suffix` is not a string.
        """
        if not isinstance(db_suffix, str):
            raise InputTypeError(f"db_suffix must be a string, not {type(db_suffix).__name__}")
        options = cls()
        options._suffix = db_suffix
        return options

    def variable(self, name: str) -> str:
        """Return the environment variable that option `name` is read from."""
        suffix = self._checked_suffix(name)
        return name if name in _NEVER_SUFFIXED or not suffix else f"{name}_{suffix}"

    def is_configured(self, option_name: str) -> bool:
        """Tell whether `option_name` has a value (an empty one counts as none)."""
        return self._lookup(option_name) is not None

    def get_string_option(self, option_name: str) -> str:
        """Return `option_name`. Raises RedisKeyError when it has no value."""
        value = self._lookup(option_name)
        if value is None:
            raise RedisKeyError(f"{self.variable(option_name)} is not set in the environment")
        return value

    def get_integer_option(self, option_name: str) -> int:
        """Return `option_name` as an integer.

        Raises RedisKeyError when it has no value, InputError when it is not a whole number.
        """
        value = self.get_string_option(option_name)
        try:
            return int(value)
        except ValueError:
            raise InputError(
                f"{self.variable(option_name)}={value!r} is not allowed: it must be a whole number"
            ) from None

    def override_string_option(self, option_name: str, value: str) -> None:
        """Give `option_name` the text `value`, whatever the environment says."""
        if not isinstance(value, str):
            raise InputTypeError(
                f"option {option_name} must be a string, not {type(value).__name__}"
            )
        self._checked_suffix(option_name)
        self._overrides[option_name] = value

    def override_integer_option(self, option_name: str, value: int) -> None:
        """Give `option_name` the number `value`, whatever the environment says."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputTypeError(
                f"option {option_name} must be an integer, not {type(value).__name__}"
            )
        self._checked_suffix(option_name)
        self._overrides[option_name] = str(value)

    def _checked_suffix(self, name: str) -> str:
        if not isinstance(name, str):
            raise InputTypeError(f"option_name must be a string, not {type(name).__name__}")
        if self._suffix is None:
            raise RedisRuntimeError(
                "these ConfigOptions have no source",
                hint="make them with ConfigOptions.create_from_environment(db_suffix)",
            )
        return self._suffix

    def _lookup(self, name: str) -> str | None:
        verbatim = self.variable(name)
        if name in self._overrides:
            return self._overrides[name] or None
        alias = re.sub(r"[^A-Za-z0-9_]", "_", verbatim)
        value = os.environ[verbatim] if verbatim in os.environ else os.environ.get(alias)
        return value or None


def misspelled(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that look like options but are none, with what may be meant by each."""
    found = {}
    for name in environ:
        if not name.startswith(("SS", "SR_", "HPCORCH_")) or name.startswith(
            tuple(f"{known}_" for known in _KNOWN)
        ):
            continue
        alike = difflib.get_close_matches(name, _KNOWN, 1, _ALIKE)
        if alike and alike[0] != name:
            found[name] = alike[0]
    return found
