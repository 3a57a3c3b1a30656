"""What README.md and docs/*.md tell readers to type on a machine with Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks
from tests.docs.session import Session, reader
from tests.local.ranks import launcher_environment
from tests.testbed import commands
from tests.testbed.cluster import Cluster
from tests.testbed.layout import LOGIN

pytestmark = [pytest.mark.cluster, pytest.mark.redis]


# PyTorch is there in `make test-ai` only.
PARTS = [
    pytest.param(page, note, id=f"{page.stem} {note}", marks=marks)
    for note, marks in (("on Slurm", []), ("on Slurm with PyTorch", [pytest.mark.ai]))
    for page in PAGES
    if any(block.note == note for block in blocks(page))
]


@pytest.mark.parametrize(("page", "note"), PARTS)
def test_the_blocks_of_a_page_run_on_slurm(
    page: Path, note: str, cluster: Cluster, shared_path: Path
) -> None:
    def enter(argv: list[str]) -> list[str]:
        return commands.enter(cluster.layout, LOGIN, argv, str(shared_path))

    env = launcher_environment(shared_path / ".mpi")
    env |= reader(page, shared_path, env["PATH"])
    session = Session(shared_path, commands.environment(cluster.layout, env), enter)
    try:
        for block in blocks(page):
            if block.note == "file":
                session.follow(block)
            elif block.note == note:
                session.run(block)
    finally:
        session.close()
