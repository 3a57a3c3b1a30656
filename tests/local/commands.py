"""The command `hpcorch` in processes of its own, as other shells would run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hpcorch(*words: object, code: int | None = 0, cwd: Path | None = None) -> str:
    """Run the command in a process of its own, as another shell would; `code` is how it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "hpcorch", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=False,
    )
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done.stderr if code else done.stdout


@contextmanager
def following(*words: object, stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run the command beside the test, with Ctrl-C in order even where a shell has disabled it."""
    command = ["env", "--default-signal=INT", sys.executable, "-m", "hpcorch", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
