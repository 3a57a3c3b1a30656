"""Databases that save their data, and databases that start from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpcorch import TaskState
from hpcorch.errors import InputError, StartFailed
from tests.helpers import admin, directory, free_port, kill, server_pid, until
from tests.local.commands import hpcorch

pytestmark = pytest.mark.redis


@pytest.fixture
def saved(exp):
    """The run directory of a database that has saved the tensor x, which holds 7."""
    database = exp.create_database(port=free_port(), db_identifier="old", checkpoint=True)
    exp.start(database)
    put(database, 7)
    exp.stop(database)
    return directory(exp, database)


def put(database, value) -> None:
    with database.client() as client:
        client.put_tensor("x", np.array([value]))


def held(database) -> int:
    with database.client() as client:
        return int(client.get_tensor("x")[0])


def sets(folder: Path) -> list[str]:
    """The sets in a run directory that hold a file of a shard."""
    return sorted({path.parents[1].name for path in folder.glob("checkpoint/*/*/dump.rdb")})


def dump(folder: Path) -> Path:
    (found,) = folder.glob("checkpoint/*/0/dump.rdb")
    return found


def test_a_cluster_starts_with_what_another_one_has_saved_when_it_was_stopped(exp):
    first = exp.create_database(port=free_port(3), db_nodes=3, db_identifier="a", checkpoint=True)
    exp.start(first)
    with first.client() as client:
        for number in range(30):
            client.put_tensor(f"t{number}", np.array([number]))
    exp.stop(first)
    assert exp.get_status(first) == [TaskState.CANCELLED]
    second = exp.create_database(
        port=free_port(3), db_nodes=3, db_identifier="b", restore=str(directory(exp, first))
    )
    exp.start(second)
    with second.client() as client:
        for number in range(30):
            assert client.get_tensor(f"t{number}").tolist() == [number]
    exp.stop(second)
    # The second was not asked to save; the first one's files are as they were.
    assert sets(directory(exp, second)) == []
    assert len(list(directory(exp, first).glob("checkpoint/*/*/dump.rdb"))) == 3


def test_without_being_asked_a_database_saves_nothing(exp):
    database = exp.create_database(port=free_port())
    exp.start(database)
    put(database, 1)
    exp.stop(database)
    assert not Path(database.checkpoint_file).exists()


def test_a_running_database_saves_from_now_on_and_a_crash_loses_only_what_is_newer(exp):
    database = exp.create_database(port=free_port())
    exp.start(database)
    database.enable_checkpoints(1)
    put(database, 5)
    until(lambda: sets(directory(exp, database)), "the first checkpoint")
    kill(server_pid(admin(exp, database)))
    until(lambda: exp.get_status(database) == [TaskState.FAILED], "the end of the database")
    again = exp.create_database(
        port=free_port(), db_identifier="again", restore=database.checkpoint_file
    )
    exp.start(again)
    assert held(again) == 5


def test_a_checkpoint_is_kept_until_the_next_one_is_whole(exp, saved):
    """Three runs in one directory: the second dies without saving, the third saves."""
    (database,) = exp._roster
    database.restore = database.checkpoint_file
    (old,) = sets(saved)
    for value, dies in ((8, True), (9, False)):
        exp.start(database)
        assert held(database) == 7
        put(database, value)
        assert sets(saved) == [old]
        if dies:
            kill(server_pid(admin(exp, database)))
            until(lambda: exp.get_status(database) == [TaskState.FAILED], "its end")
            assert sets(saved) == [old]
        exp.stop(database)
    (new,) = (saved / "checkpoint").iterdir()
    assert sets(saved) == [new.name] != [old]
    exp.start(database)
    assert held(database) == 9


def test_a_checkpoint_of_another_number_of_shards_is_refused(exp, saved):
    database = exp.create_database(db_nodes=2, restore=str(saved))
    with pytest.raises(InputError, match=r"its checkpoint is of 1 shard.*and orchestrator has 2"):
        exp.start(database)
    assert not directory(exp, database).exists()


def test_a_place_without_a_checkpoint_is_refused(exp, tmp_path):
    database = exp.create_database(restore=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"restore of orchestrator is '.*nowhere': there is no"):
        exp.start(database)


def test_a_missing_file_is_refused(exp, saved):
    dump(saved).unlink()
    with pytest.raises(InputError, match="its checkpoint lacks the files of the shards 0"):
        exp.start(exp.create_database(restore=str(saved)))


def test_a_file_that_is_cut_short_is_refused(exp, saved):
    path = dump(saved)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"dump\.rdb is damaged"):
        exp.start(exp.create_database(restore=str(saved)))


def test_damage_that_only_the_server_sees_fails_the_start_in_its_words(exp, saved):
    path = dump(saved)
    data = bytearray(path.read_bytes())
    data[-12] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(
        StartFailed, match=r"ended while starting from \S*dump\.rdb, .*rdb file reading failure"
    ):
        exp.start(exp.create_database(port=free_port(), restore=str(saved)))


def test_data_that_cannot_be_saved_are_told_of(exp):
    database = exp.create_database(port=free_port(), checkpoint=True)
    exp.start(database)
    shutil.rmtree(database.checkpoint_file)
    exp.stop(database)
    assert exp.get_status(database) == [TaskState.FAILED]
    record = json.loads((directory(exp, database) / "exit/0").read_text())
    assert record["code"] == 74
    assert record["reason"].startswith("the data could not be saved: Failed opening")


def test_a_database_whose_files_were_removed_keeps_its_end(exp, exp_dir):
    database = exp.create_database(port=free_port())
    exp.start(database)
    exp.stop(database)
    database.remove_stale_files()
    assert exp.get_status(database) == [TaskState.CANCELLED]
    (run,) = json.loads(hpcorch("status", exp_dir, "--json"))["runs"]
    assert (run["state"], run["code"]) == ("Cancelled", 0)


def test_stale_files_are_removed_and_checkpoints_are_not(exp, saved):
    database = next(iter(exp._roster))
    assert (saved / "exit/0").exists()
    database.remove_stale_files()
    assert not (saved / "exit").exists()
    assert sets(saved)
    exp.start(database)
    with pytest.raises(InputError, match="stop it first"):
        database.remove_stale_files()
