"""Try what failed beside other tests once more, with the machine to itself.

Thousands of tests that start real servers and jobs share two CPUs; one that fails alone too has
found something, one that passes alone has shown a race, in itself or in hpcorch. Both are told, so
that nobody takes a second try for a first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def look(root: Path, status: int, most: int) -> int:
    """Return how it all ended: `status` is pytest's, `most` how many tests may be tried again."""
    # Any other status means that not all tests were run.
    if status != pytest.ExitCode.TESTS_FAILED or not most:
        return status
    cache = root / ".pytest_cache" / "v" / "cache" / "lastfailed"
    failed = sorted(json.loads(cache.read_text(encoding="utf-8")))
    if len(failed) > most:
        print(f"{len(failed)} tests failed: too many for a second look", flush=True)
        return status
    print("A SECOND LOOK, alone, at what failed beside others:", *failed, sep="\n  ", flush=True)
    command = [sys.executable, "-m", "pytest", "--numprocesses=0", *failed]
    again = subprocess.run(command, cwd=root, check=False).returncode
    if again == pytest.ExitCode.OK:
        print("THESE FAILED BESIDE OTHERS AND PASSED ALONE:", *failed, sep="\n  ", flush=True)
    return again


if __name__ == "__main__":
    sys.exit(look(Path.cwd(), int(sys.argv[1]), int(sys.argv[2])))
