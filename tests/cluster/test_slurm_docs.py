"""What README.md and docs/*.md tell readers to type on a machine with Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks
from tests.docs.session import Session, reader
from tests.testbed import commands
from tests.testbed.cluster import Cluster
from tests.testbed.layout import LOGIN

pytestmark = [pytest.mark.cluster, pytest.mark.redis, pytest.mark.timeout(300)]

ON_SLURM = [page for page in PAGES if any(block.note == "on Slurm" for block in blocks(page))]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in ON_SLURM])
def test_the_blocks_of_a_page_run_on_slurm(page: Path, cluster: Cluster, shared_path: Path) -> None:
    def enter(argv: list[str]) -> list[str]:
        return commands.enter(cluster.layout, LOGIN, argv, str(shared_path))

    env = commands.environment(cluster.layout, reader(page, shared_path))
    session = Session(shared_path, env, enter)
    try:
        for block in blocks(page):
            if block.note == "on Slurm":
                session.run(block)
    finally:
        session.close()
