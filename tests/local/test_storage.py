"""What a file system does to a driver between a submission and its record: full disks, no locks."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from filelock import FileLock

import hpcorch.submit
from hpcorch import TaskState
from hpcorch.errors import InputError, StorageError
from hpcorch.journal import Journal
from hpcorch.schedulers.base import Scheduler
from hpcorch.submit import Built
from tests.helpers import bash_model, directory, free_port, processes

LONG = "exec sleep 600"


def cut_short(mocker, event: str) -> None:
    """Let the disk take only the beginning of lines about `event`."""
    write = os.write

    def short(handle: int, data: bytes) -> int:
        return write(handle, data[:20] if f'"event": "{event}"'.encode() in data else data)

    mocker.patch("hpcorch.journal.os.write", short)


def test_a_job_whose_intent_was_cut_short_is_not_submitted(exp, exp_dir, mocker):
    model = bash_model(exp, "m", LONG)
    cut_short(mocker, "intent")
    with pytest.raises(StorageError, match=r"journal\.jsonl cannot be written: No space left"):
        exp.start(model, block=False)
    assert processes(directory(exp, model)) == {}
    assert Journal(exp_dir).runs() == []


def test_a_job_whose_id_was_cut_short_does_not_stay(exp, mocker):
    model = bash_model(exp, "m", LONG)
    cut_short(mocker, "submitted")
    with pytest.raises(StorageError, match="No space left"):
        exp.start(model, block=False)
    assert processes(directory(exp, model)) == {}
    mocker.stopall()
    exp.start(bash_model(exp, "after", "exit 0"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_locks_is_warned_of_and_used(exp, mocker, capsys, number):
    mocker.patch("fcntl.flock", side_effect=OSError(number, os.strerror(number)))
    model = bash_model(exp, "m", "exit 0")
    exp.start(model)
    assert exp.get_status(model) == [TaskState.COMPLETED]
    warned = f"start.lock cannot be locked: {os.strerror(number)}: nothing may be started twice"
    # Where no lock is known at all, a file of that name is one.
    assert (warned in capsys.readouterr().out) == (number != errno.ENOSYS)


def test_a_driver_that_never_ends_its_start_is_told_of(exp, exp_dir, mocker):
    mocker.patch("hpcorch.journal._LOCK_SECONDS", 0.2)
    model = bash_model(exp, "m", "exit 0")
    with Journal(exp_dir).lock(), pytest.raises(InputError, match="another driver has been start"):
        exp.start(model)
    with FileLock(exp_dir / ".hpcorch/start.lock"), pytest.raises(InputError, match=r"0\.2 s"):
        exp.start(model)
    exp.start(model)


@pytest.mark.redis
def test_a_home_that_cannot_be_written_is_no_hindrance(exp, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    database = exp.create_database(port=free_port())
    exp.start(database)
    said = capsys.readouterr().out
    assert f"{tmp_path}/file/hpcorch/addresses cannot be written: Not a directory; programs" in said
    with database.client() as client:
        client.put_tensor("x", np.arange(3))
        assert client.get_tensor("x").tolist() == [0, 1, 2]
    exp.stop(database)
    assert exp.get_status(database) == [TaskState.CANCELLED]


def test_what_nobody_expected_leaves_no_job_behind(exp, mocker):
    first, second = bash_model(exp, "first", LONG), bash_model(exp, "second", LONG)
    place = hpcorch.submit.place

    def broken(built: Built, scheduler: Scheduler) -> None:
        if built.job.name == "second":
            raise RuntimeError("nobody expected this")
        place(built, scheduler)

    mocker.patch("hpcorch.submit.place", broken)
    with pytest.raises(RuntimeError, match="nobody expected this"):
        exp.start(first, second, block=False)
    assert exp.get_status(first) == [TaskState.CANCELLED]
    assert processes(directory(exp, first)) == {}
