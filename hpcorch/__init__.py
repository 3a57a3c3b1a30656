"""hpcorch: an in-memory data layer for simulation and training jobs on HPC systems.

Importing this package loads nothing else: every public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcorch.client import (
        Client,
        ConfigOptions,
        Dataset,
        DatasetConverter,
        LLDebug,
        LLDeveloper,
        LLInfo,
        LLQuiet,
        LogContext,
        log_data,
        log_error,
        log_warning,
    )
    from hpcorch.describe.container import Container, Singularity
    from hpcorch.describe.ensemble import Ensemble
    from hpcorch.describe.model import Model
    from hpcorch.describe.orchestrator import Orchestrator
    from hpcorch.describe.settings import RunSettings
    from hpcorch.describe.workers import Workers
    from hpcorch.errors import HpcorchError
    from hpcorch.experiment import Experiment
    from hpcorch.log import get_logger
    from hpcorch.schedulers.base import TaskState

__version__ = "0.1.0"

__all__ = [
    "Client",
    "ConfigOptions",
    "Container",
    "Dataset",
    "DatasetConverter",
    "Ensemble",
    "Experiment",
    "HpcorchError",
    "LLDebug",
    "LLDeveloper",
    "LLInfo",
    "LLQuiet",
    "LogContext",
    "Model",
    "Orchestrator",
    "RunSettings",
    "Singularity",
    "TaskState",
    "Workers",
    "get_logger",
    "log_data",
    "log_error",
    "log_warning",
]

_HOMES = {
    "Container": "hpcorch.describe.container",
    "Ensemble": "hpcorch.describe.ensemble",
    "Experiment": "hpcorch.experiment",
    "HpcorchError": "hpcorch.errors",
    "Model": "hpcorch.describe.model",
    "Orchestrator": "hpcorch.describe.orchestrator",
    "RunSettings": "hpcorch.describe.settings",
    "Singularity": "hpcorch.describe.container",
    "TaskState": "hpcorch.schedulers.base",
    "Workers": "hpcorch.describe.workers",
    "get_logger": "hpcorch.log",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hpcorch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "hpcorch.client")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
