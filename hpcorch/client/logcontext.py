"""LogContext, under the name that the module has in SmartRedis."""

from __future__ import annotations

from hpcorch.client.log import LogContext

__all__ = ["LogContext"]
