"""The log functions, under the name that the module has in SmartRedis."""

from __future__ import annotations

from hpcorch.client.log import log_data, log_error, log_warning

__all__ = ["log_data", "log_error", "log_warning"]
