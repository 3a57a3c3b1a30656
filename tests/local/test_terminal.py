"""The command line in a real terminal: what is drawn, where colours are, what Ctrl-C leaves."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import free_port, processes, tool, until
from tests.terminal import Terminal, terminal

pytestmark = pytest.mark.redis

SPEC = """
[database.db]
port = {port}

[model.sim.run_settings]
exe = "bash"
exe_args = ["-c", "echo step 1; until [ -e ../../go ]; do sleep 0.05; done; echo step 2"]

[ensemble.many]
replicas = 2
run_settings = {{exe = "bash", exe_args = ["-c", "exit $HPCORCH_INDEX"]}}
"""
ESCAPE = "\x1b["


@pytest.fixture
def screen(tmp_path: Path, node_dir: Path, debian_server: str) -> Iterator[Terminal]:
    """A terminal in a directory that holds lab.toml; the command is first in PATH."""
    folder = tmp_path / "me"
    folder.mkdir()
    (folder / "lab.toml").write_text(SPEC.format(port=free_port()))
    programs = str(Path(tool("hpcorch")).parent)
    env = {**os.environ, "PATH": os.pathsep.join([programs, os.environ["PATH"]])}
    with terminal(node_dir / "tmux", folder, env) as found:
        try:
            yield found
        finally:
            subprocess.run(
                [tool("hpcorch"), "stop", str(folder / "lab"), "--grace", "1"],
                capture_output=True,
                check=False,
            )


def colours(screen: Terminal) -> list[tuple[str, str]]:
    """Return the words that have a colour, each after the colour's number."""
    text = screen.screen(escapes=True)
    return [(found[1], found[2]) for found in re.finditer(r"\x1b\[3([1-6])m(\w+)", text)]


def assert_sane(screen: Terminal) -> None:
    """The cursor is there, what is typed is seen, and lines are read as lines."""
    assert screen.cursor_is_shown()
    modes = screen.run("stty -a").split()
    assert {"echo", "icanon", "isig"} <= {mode.rstrip(";") for mode in modes}


def test_a_spec_file_is_started_watched_and_stopped(screen: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "me"
    screen.begin("hpcorch start lab.toml")
    live = screen.shows(r"^ *sim +Running")
    assert re.search(r"^ *Name +Tasks +Time", live, re.MULTILINE)
    assert live.count("Tasks") == 1, "an earlier table was not erased"
    (folder / "go").touch()
    text = screen.ends(1)
    assert "Tasks" not in text
    assert re.search(r"^\| 0 .* db .* Running ", text, re.MULTILINE)
    assert re.search(r"^\| 1 .* sim .* Completed \| 0 ", text, re.MULTILINE)
    assert re.search(r"^\| 2 .* many .* Failed ", text, re.MULTILINE)
    assert "next: hpcorch logs lab many\n" in text
    assert "next: hpcorch stop lab\n" in text
    assert {"Running", "Completed", "Failed"} <= {word for _, word in colours(screen)}
    assert_sane(screen)
    screen.run("hpcorch stop lab")
    assert processes(folder / "lab") == {}


def test_colours_are_for_terminals_that_want_them(screen: Terminal) -> None:
    screen.run("hpcorch start lab.toml many", 1)
    screen.run("hpcorch status lab")
    assert colours(screen) == [("1", "Failed"), ("1", "Failed")]
    for command in (
        "NO_COLOR=1 hpcorch status lab",
        "TERM=dumb hpcorch status lab",
        "hpcorch status lab | cat",
        "NO_COLOR=1 hpcorch status lab --watch",
        "hpcorch --help",
        "hpcorch stat",
    ):
        screen.begin(command)
        screen.shows(r"^code=\d+$")
        assert ESCAPE not in screen.screen(escapes=True), command
    assert "| 0 " in screen.run("hpcorch status lab --watch")
    assert ("1", "Failed") in colours(screen)


def test_ctrl_c_of_what_only_looks_and_of_start(screen: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "me"
    screen.run("hpcorch start lab.toml db sim --detach")
    screen.begin("hpcorch status lab --watch")
    screen.shows(r"^\| 1 .* sim .* Running ")
    screen.shows(r"^database db answers at ")
    screen.press("C-c")
    assert screen.ends(0).count("JobID") == 1
    assert_sane(screen)
    screen.begin("hpcorch logs lab -f")
    screen.shows(r"^sim\[0\]: step 1$")
    screen.press("C-c")
    assert "hpcorch: interrupted\n" in screen.ends(130)
    assert_sane(screen)
    assert processes(folder / "lab"), "who only looks has ended what runs"
    screen.run("hpcorch stop lab")
    screen.begin("hpcorch start lab.toml db sim")
    screen.shows(r"^ *sim +Running")
    screen.press("C-c")
    text = screen.ends(130)
    assert "interrupted: stopping what was started" in text
    assert "Tasks" not in text, "the table was not erased"
    assert_sane(screen)
    until(lambda: not processes(folder / "lab"), "the end of all processes")
    screen.run("hpcorch status lab")
    assert screen.screen().count("Cancelled") == 2
