"""`hpcorch stop` without servers: runs are faked on disk."""

from __future__ import annotations

import pytest

from hpcorch.cli.main import main
from hpcorch.journal import Journal, Run
from tests.unit.cli.fakes import fake_run, refused, told


def test_stop_of_what_has_ended_does_nothing(here, capsys):
    fake_run(here, "m", code=0)
    assert main(["stop"]) == 0
    assert capsys.readouterr().out == "nothing to stop: m is Completed, exit code 0\n"
    assert main(["stop", ".", "m", "--json"]) == 0
    (run,) = told(capsys)["runs"]
    assert (run["was_running"], run["state"]) == (False, "Completed")
    assert not (here / ".hpcorch").exists()


def test_a_run_whose_submission_broke_off_is_not_called_stopped(here, capsys):
    Journal(here).intend(Run("m", "model", str(here / "m"), 1, 0, "t0", "local", 0.0))
    assert main(["stop"]) == 1
    caught = capsys.readouterr()
    assert caught.out == "m is Unknown\n"
    assert "hpcorch: warning: m may still run: submission unfinished" in caught.err


@pytest.mark.parametrize("verb", ["stop", "logs"])
def test_an_unknown_entity_is_told_the_known_ones(verb, here, capsys):
    fake_run(here, "m", code=0)
    assert main([verb, ".", "n"]) == 3
    assert capsys.readouterr().err == "hpcorch: error: there is no 'n' here\nhint: there are: m\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["stop", "."], 3, "holds no run of hpcorch"),
        (["stop", ".", "--grace", "0"], 2, "--grace is 0"),
        (["stop", ".", "--grace", "nan"], 2, "--grace is nan"),
        (["stop", ".", "--grace", "soon"], 2, "invalid float value: 'soon'"),
    ],
)
def test_bad_words_end_in_one_sentence_and_a_code(words, code, message, here, capsys):
    refused(words, code, message, capsys)
