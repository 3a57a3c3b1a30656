"""The errors of a client, under the name that the module has in SmartRedis."""

from __future__ import annotations

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

__all__ = [
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
]
