"""Rules for all tests: the user's own files stay untouched, and no process outlives its test."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from hpcorch import Experiment
from tests.helpers import kill, processes

# How long something that is on its way out may take once its test has ended: only what stays
# makes anybody wait for all of it.
LAST_BREATH = 10.0
# A busy machine makes no property wrong.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")
_OURS = ("HPCORCH_", "SSDB", "SR_DB_TYPE", "SR_LOG", "REDIS_", "XDG_CONFIG", "XDG_STATE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the scripts of tests/golden as they are rendered now, instead of comparing",
    )


def pytest_configure() -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let `sharing` say which tests stay together when several processes share them."""
    from tests.sharing import Together

    return Together(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(autouse=True)
def nothing_left_running(tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves processes behind, name them, and end exactly those."""
    yield
    end = time.monotonic() + LAST_BREATH
    left = processes(tmp_path)
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = processes(tmp_path)
    for pid in left:
        kill(pid)
    if left:
        names = "\n".join(f"  {pid}: {command[:200]}" for pid, command in left.items())
        pytest.fail(f"the test left these processes running:\n{names}", pytrace=False)


@pytest.fixture(autouse=True)
def own_surroundings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nothing_left_running: None
) -> None:
    """Keep the user's registry, site profile and variables out of every test."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def own_loggers() -> Iterator[None]:
    """Let no test decide where the messages of those after it go: whoever is first does."""
    yield
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("hpcorch.driver."):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            # As of a new one: pytest gives others a handler of its own, which would be the first.
            logger.propagate = True


@pytest.fixture
def exp_dir(tmp_path: Path) -> Path:
    """The directory of an experiment; it does not exist yet."""
    return tmp_path / "exp"


@pytest.fixture
def new_experiment(own_surroundings: None) -> Iterator[Callable[..., Experiment]]:
    """Make experiments that are stopped when the test ends."""
    made: list[Experiment] = []

    def make(where: Path, name: str = "lab") -> Experiment:
        made.append(Experiment(name, exp_path=where))
        return made[-1]

    yield make
    for experiment in made:
        experiment.stop()


@pytest.fixture
def exp(new_experiment: Callable[..., Experiment], exp_dir: Path) -> Experiment:
    """An experiment in `exp_dir`, stopped when the test ends."""
    return new_experiment(exp_dir)
