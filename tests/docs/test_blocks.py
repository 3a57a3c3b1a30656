"""What README.md and docs/*.md tell readers to type does what they say."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import LANGUAGES, NOTES, PAGES, SLURM, blocks
from tests.docs.masks import agrees, masked
from tests.docs.session import Session, reader

pytestmark = pytest.mark.redis

PARTS = [pytest.param(page, id=page.stem) for page in PAGES if blocks(page)]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A reader in an empty directory; paths of sockets must be short, so TMPDIR is."""
    folder = tmp_path / "me"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with tempfile.TemporaryDirectory(prefix="hp", dir="/tmp") as short:
        env = {**os.environ, "TMPDIR": short, "HOME": str(folder)}
        env |= {"SR_CONN_TIMEOUT": "10", "SR_CMD_TIMEOUT": "10"}
        session = Session(folder, env)
        yield session
        session.close()


@pytest.mark.parametrize("page", PARTS)
def test_the_blocks_of_a_page_run(page: Path, session: Session) -> None:
    session.env |= reader(page, session.folder)
    for block in blocks(page):
        session.follow(block)


@pytest.mark.parametrize("page", PARTS)
def test_a_block_says_its_language_and_what_becomes_of_it(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.where}: one of {LANGUAGES} must follow ```"
        assert block.note in NOTES, f"{block.where}: one of {NOTES} must be in the comment"
        assert block.detail or block.note in ("", "prints", *SLURM), (
            f"{block.where}: {block.note} what?"
        )


def test_a_page_that_is_wrong_is_found(tmp_path: Path, session: Session) -> None:
    session.env |= reader(tmp_path / "page.md", session.folder)
    for text in (
        "```python\n1 / 0\n```",
        "```bash\nfalse\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ echo one\n```",
        "<!-- not run: for once -->\n```bash\nif\n```",
        "<!-- prints -->\n```text\nsomething\n```",
        '```jinja\n{% extends "!core/base.sh.j2" %}\n{% block nowhere %}{% endblock %}\n```',
        "```toml\nkey\n```",
    ):
        page = tmp_path / "page.md"
        page.write_text(text)
        (block,) = blocks(page)
        with pytest.raises(Exception, match=r"."):
            session.follow(block)


def test_masks_hide_only_what_differs() -> None:
    row = "| 0 | db | DBNode | 17 | 0 | 2.92 | Cancelled | 0 |"
    later = "| 0  | db  | DBNode | 123_[0-2] | 0  | 12.1 | Cancelled | 0 |"
    assert masked(row, "/x") == masked(later, "/x")
    assert masked(row, "/x") != masked(row.replace("Cancelled", "Failed"), "/x")
    assert masked("ready: 127.0.0.1:6379", "/x") == masked("ready: 127.0.0.1:7100", "/x")
    assert masked("exit code 0", "/x") != masked("exit code 2", "/x")
    assert agrees("one\n...\nfour", "one\ntwo\nthree\nfour")
    assert not agrees("one\n...\nfour", "one\ntwo\nthree")
