"""Real Slurm clusters, each brought up once a session when a test first asks for it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.testbed.cluster import Cluster
from tests.testbed.processes import wait_until

_CLUSTERS = ("cluster", "accounting_cluster")
# How long a job's processes may take to go after the job: Slurm kills what stays for KillWait.
_LAST_BREATH = 30.0


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four nodes with four CPUs each, without accounting."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def accounting_cluster() -> Iterator[Cluster]:
    """The same with accounting, so that sacct works."""
    with Cluster(accounting=True) as cluster:
        yield cluster


@pytest.fixture
def used_clusters(request: pytest.FixtureRequest) -> list[Cluster]:
    """Those of the session's clusters that the test asks for."""
    return [request.getfixturevalue(name) for name in _CLUSTERS if name in request.fixturenames]


@pytest.fixture(autouse=True)
def left_as_found(used_clusters: list[Cluster]) -> Iterator[None]:
    """After each test: no outage, no job, and nothing that has escaped from a job on any node."""
    yield
    left = [words for cluster in used_clusters for words in _restore(cluster)]
    if left:
        lines = "\n".join(f"  {words[:200]}" for words in left)
        pytest.fail(f"the test left these processes on the nodes:\n{lines}", pytrace=False)


@pytest.fixture
def shared_path(used_clusters: list[Cluster]) -> Iterator[Path]:
    """A directory of the test's own that all nodes of its cluster see; `tmp_path` is not seen."""
    path = Path(tempfile.mkdtemp(dir=used_clusters[0].shared, prefix="t"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _restore(cluster: Cluster) -> list[str]:
    cluster.reset()

    def running() -> list[tuple[str, int, str]]:
        return [
            (node, pid, words)
            for node in cluster.nodes
            for pid, words in cluster.node_processes(node)
        ]

    wait_until(lambda: not running(), _LAST_BREATH)
    left = running()
    for _, pid, _ in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"{node}: {words}" for node, _, words in left]
