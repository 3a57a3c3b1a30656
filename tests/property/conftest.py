"""Examples per property are few on purpose: each of them may start a process."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "hpcorch",
    settings.default,
    # Fixtures that only isolate the environment need not be new for every example.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)
settings.load_profile("hpcorch")


@pytest.fixture(autouse=True)
def quiet_drivers(own_surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of experiments would drown what a failure has to say."""
    monkeypatch.setenv("HPCORCH_LOG_LEVEL", "quiet")
