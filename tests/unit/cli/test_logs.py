"""`hpcorch logs` of runs that are faked on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hpcorch.cli.main import main
from hpcorch.journal import Journal, Run
from hpcorch.schedulers.base import JobId
from tests.unit.cli.fakes import GONE, fake_run, refused, say, told


def test_logs_of_one_and_of_several_files(here, capfdbinary):
    fake_run(here, "db", kind="database", elements=2, code=0)
    say(here, "db", "a\nb\nc\n")
    say(here, "db", "d\ne", index=1)
    say(here, "db", "", ending="err")
    assert main(["logs", ".", "db", "-n", "2"]) == 0
    logs = str(here / "db" / "logs")
    expected = f"==> {logs}/db.0.out <==\nb\nc\n\n==> {logs}/db.1.out <==\nd\ne"
    assert capfdbinary.readouterr().out.decode() == expected
    assert main(["logs", ".", "db", "--shard", "1"]) == 0
    assert capfdbinary.readouterr().out == b"d\ne"
    assert main(["logs", ".", "-n", "0", "--shard", "1"]) == 0
    assert capfdbinary.readouterr().out == b""


def test_logs_carry_bytes_and_know_the_server(here, capfdbinary):
    fake_run(here, "db", kind="database", code=0)
    (here / "db" / "logs" / "db.0.log").write_bytes(b"\xff\x00ready\n")
    assert main(["logs", "--server"]) == 0
    assert capfdbinary.readouterr().out == b"\xff\x00ready\n"


def test_logs_json(here, capsys):
    fake_run(here, "m", code=0)
    say(here, "m", "x")
    assert main(["logs", "--json"]) == 0
    path = str(here / "m" / "logs" / "m.0.out")
    assert told(capsys)["logs"] == [
        {"entity": "m", "index": 0, "name": "", "stream": "out", "path": path}
    ]


def test_logs_that_are_not_there(here, capsys):
    fake_run(here, "m", code=0)
    assert main(["logs", "--server"]) == 3
    assert "there is no such log" in capsys.readouterr().err
    assert main(["logs", "--shard", "1"]) == 2
    assert "--shard is 1: it must be from 0 to 0" in capsys.readouterr().err


def test_following_an_ended_run_prints_it_whole_with_prefixes(here, capfdbinary):
    fake_run(here, "m", code=0)
    say(here, "m", "one\ntwo")
    say(here, "m", "oops\n", ending="err")
    assert main(["logs", "-f"]) == 0
    assert capfdbinary.readouterr().out == b"m[0]: one\nm[0]: two\nm[0]: oops\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["logs", "."], 3, "holds no run of hpcorch"),
        (["logs", ".", "-n", "-1"], 2, "-n is -1"),
        (["logs", ".", "--json", "-f"], 2, "leave one out"),
    ],
)
def test_bad_words_end_in_one_sentence_and_a_code(words, code, message, here, capsys):
    refused(words, code, message, capsys)


def test_members_are_called_by_their_names(here, capfdbinary):
    where = fake_run(here, "heat", kind="ensemble", elements=2, code=0)
    (where / "task-table").mkdir()
    (where / "task-table" / "names").write_text("heat_0\nspecial\n")
    say(here, "heat", "cold\n")
    say(here, "heat", "warm\n", index=1)
    assert main(["logs", "-f"]) == 0
    assert capfdbinary.readouterr().out == b"heat_0: cold\nspecial: warm\n"
    assert main(["logs", ".", "special", "--json"]) == 0
    found = json.loads(capfdbinary.readouterr().out)["logs"]
    assert [item["name"] for item in found] == ["special"]


def test_following_begins_with_the_last_lines_and_leaves_nothing_new_out(here, mocker, capfdbinary):
    fake_run(here, "m")
    say(here, "m", "1\n2\n3\n")

    def more(_: float) -> None:
        say(here, "m", "1\n2\n3\n4\n5\n")
        say(here, "m", "a\nb\n", ending="err")

    mocker.patch("time.sleep", side_effect=more)
    mocker.patch("hpcorch.cli.follow._Ends.all_ended", side_effect=[False, True])
    assert main(["logs", "-f", "-n", "1"]) == 0
    assert capfdbinary.readouterr().out == b"m[0]: 3\nm[0]: 4\nm[0]: 5\nm[0]: a\nm[0]: b\n"


@pytest.fixture
def living(mocker):
    """Let runs without a record live: no scheduler knows those that are faked."""
    mocker.patch("hpcorch.cli.follow.Watcher.snapshot", side_effect=list)
    mocker.patch("hpcorch.cli.follow._Ends._is_over", return_value=False)
    mocker.patch("hpcorch.cli.follow._FIND_SECONDS", 0)


@pytest.mark.usefixtures("living")
def test_following_joins_runs_that_begin_later(here, mocker, capfdbinary):
    fake_run(here, "db", kind="database")
    say(here, "db", "ready")

    def later(_: float) -> None:
        fake_run(here, "m", code=0)
        say(here, "m", "hello\nbye")
        fake_run(here, "db", kind="database", code=0)
        say(here, "db", "ready\ndone\n")

    mocker.patch("time.sleep", side_effect=later)
    assert main(["logs", "-f", "-n", "1"]) == 0
    said = capfdbinary.readouterr().out
    assert said == b"db[0]: ready\ndb[0]: done\nm[0]: hello\nm[0]: bye\n"


@pytest.mark.usefixtures("living")
def test_following_waits_for_a_name_while_others_run(here, mocker, capfd):
    fake_run(here, "db", kind="database")
    say(here, "db", "ready\n")

    def later(_: float) -> None:
        fake_run(here, "m", code=3)
        say(here, "m", "hello\n")

    mocker.patch("time.sleep", side_effect=later)
    assert main(["logs", ".", "m", "-f"]) == 0
    caught = capfd.readouterr()
    assert caught.out == "m[0]: hello\n"
    assert caught.err == "there is no 'm' here yet, it is waited for; there are: db\n"


@pytest.mark.usefixtures("living")
def test_following_a_name_that_never_came_ends_with_the_others(here, mocker, capfd):
    fake_run(here, "db", kind="database")
    mocker.patch("time.sleep", side_effect=lambda _: fake_run(here, "db", "database", code=0))
    assert main(["logs", ".", "m", "-f"]) == 3
    assert "there is no 'm' here\n" in capfd.readouterr().err


@pytest.mark.usefixtures("living")
def test_following_begins_anew_with_a_new_run_though_its_log_is_as_long(here, mocker, capfdbinary):
    journal = Journal(here)
    where = fake_run(here, "m")
    say(here, "m", "first\nrest")

    def anew(_: float) -> None:
        if len(journal.runs()) == 1:
            say(here, "m", "other\nrest")
            submitted(journal, where, 1)
            fake_run(here, "m", code=0)

    submitted(journal, where, 0)
    mocker.patch("time.sleep", side_effect=anew)
    assert main(["logs", "-f"]) == 0
    said = capfdbinary.readouterr().out.decode().splitlines()
    assert said == [f"m[0]: {word}" for word in ("first", "rest", "other", "rest")]


@pytest.mark.usefixtures("living")
def test_following_does_not_end_while_a_driver_submits(here, mocker, capfdbinary):
    journal = Journal(here)
    where = fake_run(here, "m")
    (where / "job.json").unlink()
    run = announced(journal, where, 0)

    def accepted(_: float) -> None:
        if not (where / "job.json").exists():
            journal.submitted(replace(run.parts[0], job=JobId(GONE)))
            fake_run(here, "m", code=0)
            say(here, "m", "hello\n")

    mocker.patch("time.sleep", side_effect=accepted)
    assert main(["logs", "-f"]) == 0
    assert capfdbinary.readouterr().out == b"m[0]: hello\n"


@pytest.mark.usefixtures("living")
@pytest.mark.parametrize("names", [[], ["heat_0"]])
def test_members_keep_their_names_while_their_ensemble_starts_anew(
    names, here, mocker, capfdbinary
):
    where = fake_run(here, "heat", kind="ensemble")
    table = where / "task-table"
    table.mkdir()
    (table / "names").write_text("heat_0\n")
    say(here, "heat", "cold\n")

    def anew(_: float) -> None:
        if table.exists():
            (table / "names").unlink()
            table.rmdir()
        else:
            table.mkdir()
            (table / "names").write_text("heat_0\n")
            fake_run(here, "heat", kind="ensemble", code=0)
            say(here, "heat", "cold\nwarm\n")

    mocker.patch("time.sleep", side_effect=anew)
    assert main(["logs", ".", *names, "-f"]) == 0
    assert capfdbinary.readouterr().out == b"heat_0: cold\nheat_0: warm\n"


def test_following_one_member_ends_with_it(here, capfdbinary):
    fake_run(here, "db", kind="database", elements=2, code=0)
    (here / "db" / "exit" / "1").unlink()
    say(here, "db", "over\n")
    assert main(["logs", "-f", "--shard", "0"]) == 0
    assert capfdbinary.readouterr().out == b"db[0]: over\n"


def announced(journal: Journal, where: Path, run_id: int) -> Run:
    """Note a start of the program in `where`, which the scheduler has not accepted yet."""
    run = Run(where.name, "model", str(where), 1, run_id, f"{run_id:016}", "local", 0.0)
    journal.intend(run)
    return run


def submitted(journal: Journal, where: Path, run_id: int) -> None:
    run = announced(journal, where, run_id)
    journal.submitted(replace(run.parts[0], job=JobId(GONE)))
