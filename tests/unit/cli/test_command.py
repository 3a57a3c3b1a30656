"""The command as a whole: help, refusals, exit codes, what it loads."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys

import pytest

from hpcorch import __version__, errors
from hpcorch.cli.main import EPILOG as HELP_EPILOG
from hpcorch.cli.main import VERBS, exit_code, main
from hpcorch.interrupt import Terminated
from tests.helpers import ROOT
from tests.unit.cli.fakes import fake_run, refused, say, shell


def test_help_lists_the_verbs_and_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert "130 interrupted" in out


@pytest.mark.parametrize(
    "words",
    [
        *([verb] for verb in VERBS),
        *(["render", kind] for kind in ("database", "model", "ensemble", "spec")),
    ],
)
def test_every_verb_has_help_with_an_example(words, capsys):
    assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    assert "example" in out
    assert out.startswith("usage: hpcorch " + " ".join(words))


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hpcorch {__version__}\n"


def test_help_loads_no_verb_and_nothing_heavy():
    code = """
import sys
from hpcorch.cli.main import main
main(["--help"])
heavy = {"redis", "numpy", "jinja2", "tabulate", "subprocess", "asyncio"}
print(sorted(m for m in sys.modules if m in heavy or m.startswith("hpcorch.")), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "['hpcorch.cli', 'hpcorch.cli.main', 'hpcorch.errors']"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "no verb was given"),
        (["stat"], 2, "did you mean 'status'?"),
        (["xyzzy"], 2, "the verbs are demo"),
        (["status", "--bogus"], 2, "unrecognized arguments: --bogus"),
        (["--bogus", "status"], 2, "unrecognized arguments: --bogus"),
        (["status", ".", "db"], 2, "hint: hpcorch status --help shows what is allowed"),
        (["demo", "--path", "nowhere"], 2, "--path is 'nowhere'"),
    ],
)
def test_bad_words_end_in_one_sentence_and_a_code(words, code, message, here, capsys):
    refused(words, code, message, capsys)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputTypeError("x"), 2),
        (errors.SiteError("x"), 2),
        (errors.RunNotFound("x"), 3),
        (errors.SubmitAmbiguous("x"), 4),
        (errors.StartFailed("x"), 4),
        (errors.NotActive("x"), 4),
        (errors.ServerNotFound("x"), 4),
        (errors.SecurityError("x"), 1),
        (errors.RenderError("x"), 1),
    ],
)
def test_exit_codes_of_errors(error, code):
    assert exit_code(error) == code


def test_a_fault_of_hpcorch_is_one_sentence_and_a_traceback_only_on_request(
    here, mocker, monkeypatch, capsys
):
    mocker.patch("hpcorch.cli.status.locate", side_effect=KeyError("gone"))
    assert main(["status"]) == 1
    assert "unexpected KeyError" in (err := capsys.readouterr().err)
    assert "Traceback" not in err
    monkeypatch.setenv("HPCORCH_LOG_LEVEL", "debug")
    assert main(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_has_its_code(here, mocker, capsys):
    mocker.patch("hpcorch.cli.status.locate", side_effect=KeyboardInterrupt)
    assert main(["status"]) == 130
    assert capsys.readouterr().err == "hpcorch: interrupted\n"
    assert main(["status", "--watch"]) == 0


def test_a_reader_that_leaves_is_no_error(here):
    fake_run(here, "m", code=0)
    say(here, "m", "line\n" * 200_000)
    command = f"set -o pipefail; {sys.executable} -m hpcorch logs . m | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "line\n", "")


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [("status", ">&-", 0), ("status nowhere", "2>&-", 3), ("logs . m", "<&- >&- 2>&-", 0)],
)
def test_output_may_be_closed(here, words, closed, code):
    fake_run(here, "m", code=0)
    say(here, "m", "line\n")
    command = f"{sys.executable} -m hpcorch {words} {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_directory_that_is_gone_is_told(here, monkeypatch, capsys):
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (["status"], ["config", "show"], ["render", "database"]):
        assert main(words) == 1
        assert "error: the directory that you are in is gone\n" in capsys.readouterr().err


def test_an_ascii_terminal_gets_every_text(here):
    fake_run(here, "m", code=1, reason="the file \u00fc\u4e2d is missing")
    done = shell("status", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\xfc\\u4e2d" in done.stdout


def test_every_error_has_an_exit_code_that_the_page_tells():
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+) \| ", page, re.MULTILINE)}
    assert told == {0, 1, 2, 3, 4, 130, 143}
    kinds = [item for item in vars(errors).values() if inspect.isclass(item)]
    for kind in kinds:
        assert issubclass(kind, errors.HpcorchError)
        assert exit_code(kind("x")) in told - {0}, kind
    epilog = HELP_EPILOG.partition("exit codes:")[2]
    assert all(f"{code} " in epilog for code in (0, 1, 2, 3, 4, 130))


def test_sigterm_has_its_code(here, mocker, capsys):
    mocker.patch("hpcorch.cli.status.locate", side_effect=Terminated(143))
    assert main(["status"]) == 143


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("hpcorch sta", {"start", "status"}),
        ("hpcorch render mo", {"model"}),
        ("hpcorch render model m --colo", {"--colocate"}),
        ("hpcorch render model m --colocate ", {"tcp", "uds"}),
        ("hpcorch start --det", {"--detach"}),
        ("hpcorch start he", {"heat.toml"}),
        ("hpcorch start heat.toml s", {"sim"}),
        ("hpcorch render spec heat.toml d", {"db"}),
        ("hpcorch stop lab ", {"one", "two"}),
        ("hpcorch logs lab t", {"two"}),
    ],
)
def test_a_shell_completes(typed, expected, here):
    (here / "heat.toml").write_text("[database.db]\n[model.sim]\nrun_settings = {exe = 'x'}\n")
    fake_run(here / "lab", "one", code=0)
    fake_run(here / "lab", "two", code=0)
    answer = here / "answer"
    with answer.open("wb") as file:
        subprocess.run(
            ["bash", "-c", f"exec 8>&1; exec {sys.executable} -m hpcorch"],
            env={
                **os.environ,
                "_ARGCOMPLETE": "1",
                "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
                "COMP_LINE": typed,
                "COMP_POINT": str(len(typed)),
            },
            stdout=file,
            timeout=60,
            check=False,
        )
    found = {word.strip() for word in answer.read_text().split("\013")}
    assert {word.rstrip() for word in found} == expected
