"""Tensors and datasets in and out of a database: what user programs import.

Importing this package loads neither redis nor numpy; using `Client` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcorch.client.client import Client
    from hpcorch.client.config import ConfigOptions
    from hpcorch.client.dataset import Dataset
    from hpcorch.client.dataset_utils import DatasetConverter
    from hpcorch.client.errors import (
        RedisAddressError,
        RedisBadAllocError,
        RedisConnectionError,
        RedisDatabaseError,
        RedisInputError,
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
        SRObject,
        log_data,
        log_error,
        log_warning,
    )

__all__ = [
    "Client",
    "ConfigOptions",
    "Dataset",
    "DatasetConverter",
    "LLDebug",
    "LLDeveloper",
    "LLInfo",
    "LLQuiet",
    "LogContext",
    "RedisAddressError",
    "RedisBadAllocError",
    "RedisConnectionError",
    "RedisDatabaseError",
    "RedisInputError",
    "RedisInternalError",
    "RedisKeyError",
    "RedisReplyError",
    "RedisRuntimeError",
    "RedisTimeoutError",
    "SRObject",
    "log_data",
    "log_error",
    "log_warning",
]

_HOMES = {
    "Client": "client",
    "ConfigOptions": "config",
    "Dataset": "dataset",
    "DatasetConverter": "dataset_utils",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_home(name)), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _home(name: str) -> str:
    if name.startswith("Redis"):
        return "hpcorch.client.errors"
    return f"hpcorch.client.{_HOMES.get(name, 'log')}"
