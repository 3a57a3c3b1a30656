"""No variable of the surrounding shell reaches a test."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SSDB", "SR_", "HPCORCH_")):
            monkeypatch.delenv(name)
