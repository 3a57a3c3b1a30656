"""The errors that a client raises, named as SmartRedis names them.

```text
RedisConnectionError     no server could be reached, or it went away
└── RedisAddressError    the address to connect to is missing or malformed (also an InputError)
RedisReplyError          a server answered, but not with what was asked for
├── RedisRuntimeError    the command was refused, or there is no such key
│   └── RedisInputError  an argument that makes no sense; nothing was sent (also an InputError)
├── RedisBadAllocError   the server is out of memory
├── RedisDatabaseError   the database as a whole is in a state that allows no commands
├── RedisInternalError   an answer that makes no sense
├── RedisTimeoutError    no usable answer in time
└── RedisKeyError        an option or a field that was asked for by name does not exist
```

All of them are HpcorchErrors and, as in SmartRedis, RuntimeErrors.
"""

from __future__ import annotations

from hpcorch.errors import HpcorchError, InputError


class RedisConnectionError(HpcorchError, RuntimeError):
    """No server of the database can be reached, or it refuses the connection."""


class RedisAddressError(RedisConnectionError, InputError):
    """There is nothing to connect to: SSDB or an address is missing or malformed."""


class RedisReplyError(HpcorchError, RuntimeError):
    """A server was reached, but the command did not succeed."""


class RedisRuntimeError(RedisReplyError):
    """The server refused the command, or a key is missing or holds something else."""


class RedisInputError(RedisRuntimeError, InputError):
    """An argument that makes no sense, of the kind that SmartRedis lets the server refuse."""


class RedisBadAllocError(RedisReplyError):
    """The server has no memory left for the value."""


class RedisDatabaseError(RedisReplyError):
    """The database cannot serve commands in its present state: it lacks slots, or is loading."""


class RedisInternalError(RedisReplyError):
    """The server's answer does not follow the protocol."""


class RedisTimeoutError(RedisReplyError):
    """The server did not give a usable answer within the time allowed."""


class RedisKeyError(RedisReplyError):
    """An option or field of that name does not exist."""
