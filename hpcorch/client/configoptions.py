"""ConfigOptions, under the name that the module has in SmartRedis."""

from __future__ import annotations

from hpcorch.client.config import ConfigOptions

__all__ = ["ConfigOptions"]
