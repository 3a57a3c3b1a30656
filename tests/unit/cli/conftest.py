"""Every test of the command line is in a directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
