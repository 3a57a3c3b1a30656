"""No variable of the surrounding shell reaches a test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A busy machine makes no property wrong.
settings.register_profile("client", deadline=None)
settings.load_profile("client")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SSDB", "SR_", "HPCORCH_")):
            monkeypatch.delenv(name)
