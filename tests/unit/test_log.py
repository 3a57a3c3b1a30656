"""The driver's log: one format, one level variable, standard output as it is now."""

from __future__ import annotations

import io
import re
import sys

import pytest

from hpcorch.log import get_logger


def test_a_line_has_clock_host_process_level_and_message(capsys):
    get_logger("Some Driver").info("hello %d", 5)
    line = capsys.readouterr().out
    assert re.fullmatch(r"\d\d:\d\d:\d\d \S+ hpcorch\[\d+\] INFO hello 5\n", line)


def test_asking_twice_does_not_print_twice(capsys):
    get_logger("twice")
    get_logger("twice").warning("once")
    assert capsys.readouterr().out.count("once") == 1


@pytest.mark.parametrize(
    ("level", "expected"),
    [("quiet", "e"), ("info", "iwe"), ("debug", "diwe"), ("DEBUG", "diwe"), ("nonsense", "iwe")],
)
def test_the_level_comes_from_the_environment(monkeypatch, capsys, level, expected):
    monkeypatch.setenv("HPCORCH_LOG_LEVEL", level)
    logger = get_logger("levels")
    for call, text in ((logger.debug, "d"), (logger.info, "i"), (logger.warning, "w")):
        call(text)
    logger.error("e")
    words = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert "".join(words) == expected


def test_a_host_name_with_a_percent_sign_is_printed(mocker, capsys):
    mocker.patch("socket.gethostname", return_value="50%s")
    get_logger("odd host").info("x")
    assert " 50%s hpcorch[" in capsys.readouterr().out


def test_what_a_stream_cannot_show_is_printed_as_its_code(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    get_logger("ascii").info("ü")
    assert raw.getvalue().endswith(b" INFO \\xfc\n")


def test_without_a_standard_output_messages_go_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    get_logger("nowhere").info("x")
