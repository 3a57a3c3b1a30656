"""An experiment on the live cluster, its drivers, and what can be asked about it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import (  # noqa: F401  fixtures are found by their names here
    accounting_cluster,
    cluster,
    left_as_found,
    shared_path,
    used_clusters,
)
from tests.faults.lab import Lab
from tests.testbed.cluster import Cluster


@pytest.fixture
def lab(used_clusters: list[Cluster], shared_path: Path) -> Iterator[Lab]:  # noqa: F811
    """An experiment in `shared_path` on the cluster that the test asks for."""
    with Lab(used_clusters[0], shared_path) as lab:
        yield lab
