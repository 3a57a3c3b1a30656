from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from hpcorch.client import (
    LLDebug,
    LLDeveloper,
    LLInfo,
    LLQuiet,
    LogContext,
    SRObject,
    log_data,
    log_error,
    log_warning,
)
from hpcorch.errors import InputError, InputTypeError


def test_a_context_is_what_clients_are_too():
    assert isinstance(LogContext("name"), SRObject)


def test_levels():
    assert (LLQuiet, LLInfo, LLDebug, LLDeveloper) == (1, 2, 3, 4)


def test_line_format(capsys):
    log_data("ctx", LLInfo, "hello")
    context = LogContext("other")
    log_warning(context, LLInfo, "careful")
    log_error(context, LLInfo, "broken")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"ctx@[0-2]\d-[0-5]\d-[0-6]\d:hello", lines[0])
    assert re.fullmatch(r"other@\d\d-\d\d-\d\d:WARNING: careful", lines[1])
    assert re.fullmatch(r"other@\d\d-\d\d-\d\d:ERROR: broken", lines[2])


@pytest.mark.parametrize(
    ("word", "printed"),
    [
        ("", [1, 2]),
        ("quiet", []),
        ("Info", [1, 2]),
        ("DEBUG", [1, 2, 3]),
        ("developer", [1, 2, 3, 4]),
    ],
)
def test_threshold(monkeypatch, capsys, word, printed):
    monkeypatch.setenv("SR_LOG_LEVEL", word)
    for level in (1, 2, 3, 4):
        log_data("n", level, str(level))
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.rpartition(":")[2]) for line in lines] == printed


def test_file_is_appended_to(monkeypatch, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text("before\n")
    monkeypatch.setenv("SR_LOG_FILE", str(path))
    log_data("n", LLInfo, "one")
    log_data("n", LLInfo, "two")
    assert [line[-3:] for line in path.read_text().splitlines()] == ["ore", "one", "two"]
    assert capsys.readouterr().out == ""


def test_bad_settings_are_said_at_creation(monkeypatch, tmp_path):
    monkeypatch.setenv("SR_LOG_LEVEL", "LOUD")
    with pytest.raises(InputError, match=r"SR_LOG_LEVEL='LOUD' is not allowed.*DEVELOPER"):
        LogContext("n")
    monkeypatch.setenv("SR_LOG_LEVEL", "INFO")
    monkeypatch.setenv("SR_LOG_FILE", str(tmp_path / "no" / "log"))
    with pytest.raises(InputError, match=r"SR_LOG_FILE=.*cannot be written"):
        LogContext("n")


def test_a_file_that_goes_away_does_not_end_the_program(monkeypatch, tmp_path, capsys):
    directory = tmp_path / "d"
    directory.mkdir()
    monkeypatch.setenv("SR_LOG_FILE", str(directory / "log"))
    context = LogContext("n")
    (directory / "log").unlink()
    directory.rmdir()
    context.log_data(LLInfo, "still here")
    assert capsys.readouterr().out.endswith(":still here\n")


def test_arguments_of_the_wrong_kind():
    wrong: Any = 3.5
    for call in (
        lambda: LogContext(wrong),
        lambda: log_data(wrong, LLInfo, "x"),
        lambda: log_data("n", wrong, "x"),
        lambda: log_data("n", LLInfo, wrong),
    ):
        with pytest.raises(InputTypeError):
            call()
    with pytest.raises(InputError, match="log level 9"):
        log_data("n", 9, "x")


@pytest.mark.parametrize("module", ["", ".log", ".registry", ".errors", ".config", ".settings"])
def test_light_modules_load_neither_redis_nor_numpy(module):
    code = f"import sys, hpcorch.client{module}; print({{'redis', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_public_names():
    import hpcorch.client as public

    assert sorted(public.__all__) == dir(public)
    for name in public.__all__:
        assert getattr(public, name) is not None
    with pytest.raises(AttributeError, match="Dataframe"):
        public.Dataframe  # noqa: B018
