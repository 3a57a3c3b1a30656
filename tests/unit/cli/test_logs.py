"""`hpcorch logs` of runs that are faked on disk."""

from __future__ import annotations

import json

import pytest

from hpcorch.cli.main import main
from tests.unit.cli.fakes import fake_run, refused, say, told


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
    mocker.patch("hpcorch.cli.logs._Ends.all_ended", side_effect=[False, True])
    assert main(["logs", "-f", "-n", "1"]) == 0
    assert capfdbinary.readouterr().out == b"m[0]: 3\nm[0]: 4\nm[0]: 5\nm[0]: a\nm[0]: b\n"
