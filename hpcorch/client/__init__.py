"""Tensors in and out of a database: the part of hpcorch that user programs import.

Importing this package loads neither redis nor numpy; using `Client` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcorch.client.client import Client
    from hpcorch.client.config import ConfigOptions
    from hpcorch.client.errors import (
        RedisBadAllocError,
        RedisConnectionError,
        RedisDatabaseError,
        RedisInternalError,
        RedisKeyError,
        RedisReplyError,
        RedisRuntimeError,
        RedisTimeoutError,
    )
    from hpcorch.client.log import (
        LLDebug,
        LLDeveloper,
        LLInfo,
        LLQuiet,
        LogContext,
        log_data,
        log_error,
        log_warning,
    )

__all__ = [
    "Client",
    "ConfigOptions",
    "LLDebug",
    "LLDeveloper",
    "LLInfo",
    "LLQuiet",
    "LogContext",
    "RedisBadAllocError",
    "RedisConnectionError",
    "RedisDatabaseError",
    "RedisInternalError",
    "RedisKeyError",
    "RedisReplyError",
    "RedisRuntimeError",
    "RedisTimeoutError",
    "log_data",
    "log_error",
    "log_warning",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_home(name)), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _home(name: str) -> str:
    if name == "Client":
        return "hpcorch.client.client"
    if name == "ConfigOptions":
        return "hpcorch.client.config"
    return "hpcorch.client.errors" if name.startswith("Redis") else "hpcorch.client.log"
