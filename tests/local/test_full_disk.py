"""A node whose temporary directory is full: jobs end soon, say why, and leave nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch import TaskState
from hpcorch.cli.check_files import run_directory
from hpcorch.errors import StartFailed
from tests.helpers import bash_model, free_port

pytestmark = pytest.mark.redis


@pytest.fixture
def small(tmp_path: Path, node_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A TMPDIR of 64 KiB."""
    path = node_dir / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(path)], check=True)
    monkeypatch.setenv("TMPDIR", str(path))
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path, free: int) -> None:
    """Leave this many pages free."""
    (path / "fill").write_bytes(b"x" * (64 * 1024 - free * 4096))


def test_a_database_says_why_it_cannot_write_its_files(exp, small):
    fill(small, 0)
    database = exp.create_database(port=free_port())
    with pytest.raises(StartFailed, match=r"broke off with code 1: .*No space left on device"):
        exp.start(database)
    assert [path.name for path in small.iterdir()] == ["fill"]


@pytest.mark.parametrize(
    ("free", "said"),
    [(0, "nothing can be written in"), (1, "the keeper of the server has failed: is")],
)
def test_a_program_s_server_says_why_it_cannot_write_its_files(exp, small, capsys, free, said):
    fill(small, free)
    model = bash_model(exp, "m", "exit 0")
    model.colocate_db_uds()
    exp.start(model)
    assert exp.get_status(model) == [TaskState.FAILED]
    assert f"{said} {small}" in capsys.readouterr().out
    assert [path.name for path in small.iterdir()] == ["fill"]


def test_the_doctor_tells_of_a_full_disk(small):
    fill(small, 0)
    found = {finding.check: finding for finding in run_directory(small)}
    failed = [name for name, finding in found.items() if finding.status == "fail"]
    assert failed == ["rename", "hard links", "clock"]
    assert found["clock"].detail == f"{small}: No space left on device"
    assert found["free space"].status == "warn"
    assert [path.name for path in small.iterdir()] == ["fill"]


def test_a_user_s_own_lines_may_end_the_job(exp, capsys):
    model = bash_model(exp, "m", "exit 0")
    model.run_settings.set_mpmd_preamble(["echo enough >&2; exit 7"])
    exp.start(model)
    assert "m is Failed, exit code 7: the job script broke off with code 7: enough" in (
        capsys.readouterr().out
    )
