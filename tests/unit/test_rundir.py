"""The run directory: whole files or none, private modes, a journal that survives crashes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpcorch import rundir
from hpcorch.errors import InputError, RunNotFound, StorageError
from hpcorch.journal import Journal, Run, find_runs
from hpcorch.schedulers.base import JobId


def run(token="t", **facts):
    return Run(
        **{
            "entity": "e",
            "kind": "model",
            "directory": "/x/e",
            "elements": 1,
            "run_id": 0,
            "token": token,
            "scheduler": "local",
            "submitted_at": 0.0,
            **facts,
        }
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
    old = os.umask(0)
    yield
    os.umask(old)


def test_files_and_directories_are_private_whatever_the_umask(tmp_path, open_umask):
    rundir.prepare(tmp_path / "a" / "e", "e", 1)
    rundir.write_whole(tmp_path / "a" / "e" / "f", "x")
    rundir.write_whole(tmp_path / "a" / "e" / "s", "x", 0o700)
    Journal(tmp_path / "a").intend(run())
    assert mode(tmp_path / "a" / "e") == 0o700
    assert mode(tmp_path / "a" / "e" / "logs") == 0o700
    assert mode(tmp_path / "a" / "e" / "f") == 0o600
    assert mode(tmp_path / "a" / "e" / "s") == 0o700
    assert mode(tmp_path / "a" / ".hpcorch") == 0o700
    assert mode(tmp_path / "a" / ".hpcorch" / "journal.jsonl") == 0o600


def test_writing_replaces_the_whole_file(tmp_path):
    rundir.write_whole(tmp_path / "f", "long old text")
    rundir.write_whole(tmp_path / "f", "new")
    assert (tmp_path / "f").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_writing_that_fails_leaves_the_old_content(tmp_path, mocker, step):
    rundir.write_whole(tmp_path / "f", "old")
    mocker.patch(step, side_effect=OSError(28, "No space left on device"))
    with pytest.raises(StorageError, match="f cannot be written: No space left"):
        rundir.write_whole(tmp_path / "f", "new")
    mocker.stopall()
    assert (tmp_path / "f").read_text() == "old"


def test_writing_does_not_follow_a_link_that_somebody_planted(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".f.{os.getpid()}.tmp").symlink_to(victim)
    with pytest.raises(StorageError, match="symbolic links"):
        rundir.write_whole(tmp_path / "f", "x")
    assert victim.read_text() == "precious"


def test_preparing_removes_what_an_earlier_run_left_and_nothing_else(tmp_path):
    where = tmp_path / "e"
    where.mkdir()
    ours = ["shards/0.json", "exit/0", "logs/e.0.out", "tls/ca.crt", "job.json", "address.env"]
    ours += ["address.json", "credentials", "admin-credentials"]
    ours += ["models/0123456789abcdef/list.json", "models/0123456789abcdef/0.model"]
    theirs = ["input.txt", "results/data.npy", "exit.txt", "e.log", "logs2/x"]
    theirs += ["models/best/list.json", "models/best/weights"]
    for name in ours + theirs:
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text("x")
    rundir.prepare(where, "e", 1)
    left = {str(path.relative_to(where)) for path in where.rglob("*") if path.is_file()}
    assert left == set(theirs)
    assert (where / "e.out").readlink() == Path("logs/e.0.out")


def test_preparing_unlinks_links_and_spares_what_they_point_to(tmp_path):
    where, precious = tmp_path / "e", tmp_path / "precious"
    where.mkdir()
    precious.mkdir()
    (precious / "data").write_text("x")
    for name in ("exit", "shards", "logs"):
        (where / name).symlink_to(precious)
    (where / "credentials").symlink_to(precious / "data")
    rundir.prepare(where, "e", 1)
    assert (precious / "data").read_text() == "x"
    assert not (where / "exit").exists()
    assert not (where / "logs").is_symlink()


def test_preparing_spares_a_program_s_own_file_of_that_name(tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "e.out").write_text("mine")
    rundir.prepare(tmp_path / "e", "e", 1)
    assert (tmp_path / "e" / "e.out").read_text() == "mine"


def test_a_directory_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be"):
            rundir.make_private(path)


def test_a_directory_that_cannot_be_written_is_an_input_error(tmp_path, mocker):
    mocker.patch("os.access", return_value=False)  # Root may write everywhere.
    with pytest.raises(InputError, match="cannot be written by you"):
        rundir.make_private(tmp_path / "e")


def test_the_journal_tells_what_happened(tmp_path):
    journal = Journal(tmp_path)
    assert not journal.exists()
    assert journal.runs() == []
    one, two = run("one"), run("two", run_id=1)
    three = run("three", entity="f", elements=3, per_element=2)
    for item in (one, two, three):
        journal.intend(item)
    journal.submitted(replace(one.parts[0], job=JobId("11", "c")))
    journal.rejected(two.parts[0], "no")
    journal.submitted(replace(three.parts[0], job=JobId("33")))
    journal.stopping([one])
    found = journal.runs()
    assert [item.token for item in found] == ["one", "two", "three"]
    assert [item.job for item in found] == [JobId("11", "c"), None, JobId("33")]
    assert [item.rejected for item in found] == [False, True, False]
    assert [item.stopped for item in found] == [True, False, False]
    assert (found[2].elements, found[2].per_element) == (3, 2)
    assert [part.elements for part in found[2].parts] == [2]
    assert all(item.submitted_at > 0 for item in found)


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_that_a_crash_cut_off_is_skipped(tmp_path, cut):
    journal = Journal(tmp_path)
    journal.intend(run("one"))
    journal.intend(run("two"))
    path = tmp_path / ".hpcorch" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert journal.runs()[0].token == "one"
    assert len(journal.runs()) == (2 if cut == 1 else 1)


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_nothing_that_is_written_after_a_crash_is_lost(tmp_path, cut):
    journal = Journal(tmp_path)
    journal.intend(run("one"))
    path = tmp_path / ".hpcorch" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    journal.intend(run("two"))
    journal.intend(run("three"))
    assert [item.token for item in journal.runs()][-2:] == ["two", "three"]


@pytest.mark.parametrize(
    "line",
    [
        *("", "5", "null", "[]", "{}", '{"event": "submitted", "token": "x"}', "\x00", "{"),
        '{"event": "submitted", "token": "one_7", "job": "1", "cluster": ""}',
        *('{"event": "stop", "ended": ["one"]}', '{"event": "stop", "ended": {"one": 5}}'),
    ],
)
def test_strange_lines_in_the_journal_are_skipped(tmp_path, line):
    journal = Journal(tmp_path)
    journal.intend(run("one"))
    with (tmp_path / ".hpcorch" / "journal.jsonl").open("a") as stream:
        stream.write(line + "\n")
    journal.intend(run("two"))
    assert [item.token for item in journal.runs()] == ["one", "two"]


def test_bytes_that_are_no_text_do_not_hide_the_journal(tmp_path):
    journal = Journal(tmp_path)
    journal.intend(run("one", directory="/x/\udcff"))
    with (tmp_path / ".hpcorch" / "journal.jsonl").open("ab") as stream:
        stream.write(b"\xff\xfe\n")
    assert [item.token for item in journal.runs()] == ["one"]


WRITE_MANY = """
import sys
from pathlib import Path
from hpcorch.journal import Journal, Run
for number in range(50):
    token = sys.argv[2] + str(number)
    Journal(Path(sys.argv[1])).intend(Run("e", "model", "y" * 500, 1, 0, token, "local", 0.0))
"""


def test_lines_of_writers_in_several_processes_do_not_mix(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE_MANY, str(tmp_path), name]) for name in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    tokens = [item.token for item in Journal(tmp_path).runs()]
    assert len(tokens) == 100
    for name in "ab":
        assert [token for token in tokens if token[0] == name] == [f"{name}{n}" for n in range(50)]


def test_exit_records_are_those_of_the_job_and_damaged_ones_are_skipped(tmp_path):
    folder = tmp_path / "exit"
    folder.mkdir()
    good = '{"index":%d,"job":"%s","code":3,"signal":null,"elapsed":1.5,"reason":"why"}'
    (folder / "0").write_text(good % (0, "7"))
    (folder / "1").write_text(good % (1, "8"))
    (folder / "2").write_text((good % (2, "7"))[:-9])
    (folder / "3").write_text('{"index": 3}')
    (folder / "4.tmp").write_text(good % (4, "7"))
    (folder / "5").mkdir()
    assert set(rundir.exit_records(tmp_path)) == {0, 1}
    assert set(rundir.exit_records(tmp_path, "7")) == {0}
    record = rundir.exit_records(tmp_path, "7")[0]
    assert (record.code, record.signal, record.elapsed, record.reason) == (3, "", 1.5, "why")
    assert rundir.exit_records(tmp_path / "missing") == {}


def test_an_address_counts_only_with_both_its_files_and_its_own_job(tmp_path):
    (tmp_path / "address.json").write_text('{"job": "7", "addresses": [], "type": "x"}')
    assert rundir.address(tmp_path) is None
    (tmp_path / "address.env").touch()
    assert rundir.address(tmp_path, "7") is not None
    assert rundir.address(tmp_path, "8") is None
    for text in ("[]", '{"job": "7", "addresses": []}'):
        (tmp_path / "address.json").write_text(text)
        assert rundir.address(tmp_path) is None


def test_runs_are_found_by_the_experiment_or_the_entity(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(RunNotFound):
        find_runs(tmp_path)
    for name in ("e", "f"):
        journal.intend(run(name, entity=name, directory=str(tmp_path / name)))
    assert [item.entity for item in find_runs(tmp_path)] == ["e", "f"]
    assert [item.entity for item in find_runs(tmp_path / "f")] == ["f"]
