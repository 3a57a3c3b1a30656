"""Training data through a database: simulations publish batches, training loops download them.

A batch is a dataset of an aggregation list. Importing this package loads nothing heavy; for PyTorch
import hpcorch.ml.torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcorch.ml.download import DataDownloader
    from hpcorch.ml.info import DataInfo
    from hpcorch.ml.upload import TrainingDataUploader

__all__ = ["DataDownloader", "DataInfo", "TrainingDataUploader"]

_HOMES = {
    "DataDownloader": "hpcorch.ml.download",
    "DataInfo": "hpcorch.ml.info",
    "TrainingDataUploader": "hpcorch.ml.upload",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hpcorch.ml' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
