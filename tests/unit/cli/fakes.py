"""What tests of the command line share: runs that are faked on disk, and how words are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hpcorch.cli.main import main

# No process has such a number, so that the queue never lists it.
GONE = "999999999"


def fake_run(directory: Path, name: str, kind: str = "model", elements: int = 1, **ends) -> Path:
    """Write what a script started by hand leaves; `ends` are code and reason, none: still runs."""
    where = directory / name
    for part in ("logs", "exit", "shards"):
        (where / part).mkdir(parents=True, exist_ok=True)
    about = {"kind": kind, "name": name, "elements": elements, "scheduler": "local"}
    (where / "job.json").write_text(json.dumps({**about, "job": GONE, "token": f"by-hand-{name}"}))
    for index in range(elements) if ends else ():
        record = {"index": index, "job": GONE, "signal": None, "elapsed": 1.5, "reason": ""}
        (where / "exit" / str(index)).write_text(json.dumps({**record, **ends}))
    return where


def say(directory: Path, name: str, text: str, index: int = 0, ending: str = "out") -> None:
    (directory / name / "logs" / f"{name}.{index}.{ending}").write_text(text)


def shell(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpcorch", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    return found


def refused(
    words: Sequence[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """These words end with this code, one sentence that holds `message`, and no output."""
    assert main(words) == code
    caught = capsys.readouterr()
    assert caught.out == ""
    first, *rest = caught.err.splitlines()
    assert first.startswith("hpcorch: error: ")
    assert message in caught.err
    assert all(line.startswith("hint: ") for line in rest)
