"""The second look at tests that failed beside others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.second_look import look

# Fails as often as its file says.
RACE = """
from pathlib import Path

def test_race():
    left = Path(__file__).with_suffix(".left")
    fails = int(left.read_text())
    left.write_text(str(fails - 1))
    assert fails <= 0
"""


def first_look(root: Path, *races: int) -> int:
    for number, fails in enumerate(races):
        (root / f"test_{number}.py").write_text(RACE)
        (root / f"test_{number}.left").write_text(str(fails))
    (root / "setup.cfg").write_text("[tool:pytest]\n")
    return subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=root, check=False).returncode


@pytest.mark.parametrize(
    ("races", "most", "ends", "told"),
    [
        ((1, 0), 1, 0, "FAILED BESIDE OTHERS AND PASSED ALONE:\n  test_0.py::test_race"),
        ((2, 1), 2, 1, "A SECOND LOOK"),
        ((1, 1), 1, 1, "2 tests failed: too many"),
        ((1,), 0, 1, ""),
    ],
)
def test_only_a_few_that_pass_alone_are_let_through(tmp_path, capfd, races, most, ends, told):
    status = first_look(tmp_path, *races)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert look(tmp_path, status, most) == ends
    said = capfd.readouterr().out
    assert told in said
    assert ("PASSED ALONE" in said) == (ends == 0)


def test_tests_that_were_not_all_run_get_no_second_look(tmp_path):
    assert look(tmp_path, pytest.ExitCode.INTERRUPTED, 3) == pytest.ExitCode.INTERRUPTED
