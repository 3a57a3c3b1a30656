"""`ground` runs a test on every launcher, `batch` on those that queue."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakebin.pbs import FakePbs
from tests.helpers import until
from tests.scenarios.grounds import Ground, Local, Pbs, Slurm
from tests.testbed.cluster import Cluster

# As the cluster of Slurm has them.
QUEUES = {"workq": {}, "short": {"resources_max.walltime": "00:05:00"}}
CLUSTER = pytest.mark.cluster


@pytest.fixture(scope="session")
def five_nodes() -> Iterator[Cluster]:
    with Cluster(nodes=5) as cluster:
        yield cluster


@contextmanager
def _slurm(cluster: Cluster) -> Iterator[Ground]:
    path = Path(tempfile.mkdtemp(dir=cluster.shared, prefix="t"))
    path.chmod(0o755)
    yield Slurm(cluster, path)
    cluster.reset()
    until(
        lambda: not any(map(cluster.node_processes, cluster.nodes)),
        "the end of all processes on the nodes",
    )
    shutil.rmtree(path, ignore_errors=True)


def _made(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if name == "slurm":
        with _slurm(request.getfixturevalue("five_nodes")) as ground:
            yield ground
    elif name == "pbs":
        with FakePbs(queues=QUEUES) as pbs:
            yield Pbs(pbs, tmp_path)
            assert pbs.complaints() == ""
    else:
        ground = Local(tmp_path)
        yield ground
        ground.lab.cli("stop", "lab", check=False)


@pytest.fixture(params=["local", pytest.param("slurm", marks=CLUSTER), "pbs"])
def ground(
    request: pytest.FixtureRequest, own_surroundings: None, tmp_path: Path
) -> Iterator[Ground]:
    yield from _made(request.param, request, tmp_path)


@pytest.fixture(params=[pytest.param("slurm", marks=CLUSTER), "pbs"])
def batch(
    request: pytest.FixtureRequest, own_surroundings: None, tmp_path: Path
) -> Iterator[Ground]:
    yield from _made(request.param, request, tmp_path)
