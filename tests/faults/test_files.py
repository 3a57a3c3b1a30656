"""The run directory is full, or may not be written by the job."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.lab import CLI, DATABASE, NEW, START, Lab
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

QUEUED = DATABASE + "exp.start(database, wait=False)\n"


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A file system of one megabyte."""
    path = Path(tempfile.mkdtemp(prefix="hpcorch-disk", dir="/tmp"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "none", str(path)], check=True
    )
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)
    path.rmdir()


@pytest.fixture(scope="module")
def cluster(disk: Path) -> Iterator[Cluster]:
    """A cluster all of whose hosts see that file system."""
    with Cluster(nodes=3, shared=[disk]) as cluster:
        yield cluster


@pytest.fixture
def small(lab: Lab, disk: Path) -> Iterator[Lab]:
    """The experiment is on the small file system; drivers' logs are not."""
    lab.path = disk / "lab"
    yield lab
    for name in disk.iterdir():
        subprocess.run(["rm", "-rf", str(name)], check=True)


def fill(disk: Path, journal: Path | None = None) -> None:
    """Fill the disk, also the last page of `journal`: empty lines say nothing in it."""
    if journal is not None:
        with journal.open("ab") as stream:
            stream.write(b"\n" * (-journal.stat().st_size % 4096))
    with (disk / "fill").open("wb", buffering=0) as stream:
        for size in (4096, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue


def half_written(folder: Path) -> list[Path]:
    """Return the files that others would take for whole and that are not."""
    broken = []
    for path in [*folder.glob("shards/*.json"), *folder.glob("exit/*"), *folder.glob("*.json")]:
        if path.suffix == ".tmp":
            continue
        try:
            json.loads(path.read_text())
        except ValueError:
            broken.append(path)
    return broken


def test_a_start_on_a_full_disk_is_refused_and_nothing_is_submitted(
    cluster: Cluster, small: Lab, disk: Path
) -> None:
    fill(disk)
    ended = small.drive(START, succeeds=False)
    assert ended.code == 1
    assert "No space left on device" in ended.said
    small.nothing_runs()
    # What users catch, and read without a traceback.
    assert "hpcorch.errors." in ended.said.splitlines()[-1]


def test_shards_that_cannot_write_fail_and_publish_nothing(
    cluster: Cluster, small: Lab, disk: Path
) -> None:
    small.drain()
    small.drive(QUEUED)
    fill(disk)
    small.resume()
    small.reach(["Failed"] * 3)
    folder = small.path / "orchestrator"
    assert not small.published()
    assert half_written(folder) == []
    assert small.runs()["orchestrator"]["reason"]
    small.nothing_runs()


def test_a_running_database_is_stopped_though_the_disk_is_full(
    cluster: Cluster, small: Lab, disk: Path
) -> None:
    small.start()
    fill(disk, small.path / ".hpcorch/journal.jsonl")
    assert small.answers()
    ended = small.drive(CLI, "stop", small.path, succeeds=False)
    assert half_written(small.path / "orchestrator") == []
    assert "Traceback" not in ended.said
    small.nothing_runs()
    assert not small.published()


def test_a_program_that_fills_the_disk_has_not_completed(
    cluster: Cluster, small: Lab, disk: Path
) -> None:
    """Its own record does not fit any more, whatever its exit code."""
    words = """
code = 'cat /dev/zero >"$1"; exit 0'
model = exp.create_model("m", exp.create_run_settings("/bin/bash", ["-c", code, "_", sys.argv[2]]))
exp.start(model)
"""
    ended = small.drive(NEW + words, disk / "zeros")
    assert "m is Failed" in ended.said
    assert half_written(small.path / "m") == []
    assert small.runs()["m"]["state"] == "Failed"
    small.nothing_runs()


def test_jobs_whose_run_directory_has_become_read_only_fail_with_a_reason(
    cluster: Cluster, small: Lab, disk: Path
) -> None:
    """Permissions alone do not keep root, who runs these jobs, from writing."""
    small.drain()
    small.drive(QUEUED)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        small.resume()
        small.reach(["Failed"] * 3)
        assert small.runs()["orchestrator"]["reason"]
        assert not small.published()
        small.nothing_runs()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def test_a_start_in_a_directory_that_cannot_be_written_is_refused(
    cluster: Cluster, small: Lab, disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        ended = small.drive(START, succeeds=False)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert ended.code == 1
    assert "InputError: the directory " in ended.said.splitlines()[-1]
    assert "Read-only file system" in ended.said.splitlines()[-1]
    small.nothing_runs()
