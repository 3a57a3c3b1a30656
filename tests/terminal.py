"""A real terminal: bash in tmux, whose screen is read as a person would see it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import tool, until

_SIZE = ("-x", "120", "-y", "50")


class Terminal:
    """A terminal of 120 columns and 50 lines, in which bash waits."""

    def __init__(self, socket: Path, folder: Path, env: Mapping[str, str]) -> None:
        self._tmux = [tool("tmux"), "-S", str(socket), "-f", os.devnull]
        self._env = {**env, "TERM": "xterm-256color", "PS1": "ready> "}
        shell = ["bash", "--norc", "--noprofile"]
        self._call("new-session", "-d", *_SIZE, "-c", str(folder), *shell)
        until(lambda: self.screen().startswith("ready>"), "the prompt of bash")

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def screen(self, *, escapes: bool = False) -> str:
        """Return what is on the screen, with `escapes` its colours too."""
        return self._call("capture-pane", "-p", "-t", "0", *(["-e"] if escapes else []))

    def cursor_is_shown(self) -> bool:
        return self._call("display-message", "-p", "-t", "0", "#{cursor_flag}") == "1\n"

    def begin(self, command: str) -> None:
        """Type a command on an empty screen; its exit code will be printed at its end."""
        self._call("send-keys", "-t", "0", "-R", "clear", "Enter")
        self._call("clear-history", "-t", "0")
        until(lambda: self.screen().strip() == "ready>", "an empty screen")
        self._call("send-keys", "-t", "0", "-l", f"{command}; echo code=$?")
        self._call("send-keys", "-t", "0", "Enter")

    def press(self, key: str) -> None:
        """Press a key, such as C-c."""
        self._call("send-keys", "-t", "0", key)

    def shows(self, pattern: str) -> str:
        """Wait until the pattern is on the screen, and return the screen."""

        def matching() -> str:
            screen = self.screen()
            return screen if re.search(pattern, screen, re.MULTILINE) else ""

        try:
            # A later look may find a live table half drawn.
            return until(matching, pattern)
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}; the screen is:\n{self.screen()}")

    def ends(self, code: int) -> str:
        """Wait until the command has ended, with this exit code; return the screen."""
        screen = self.shows(r"^code=\d+$")
        assert f"\ncode={code}\n" in screen, screen
        return screen

    def run(self, command: str, code: int = 0) -> str:
        """Type a command, wait for its end, and return the screen."""
        self.begin(command)
        return self.ends(code)


@contextmanager
def terminal(socket: Path, folder: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """Give a terminal in `folder`; it is closed at the end. The socket's path must be short."""
    outside = {key: value for key, value in env.items() if key not in ("TMUX", "NO_COLOR")}
    made = Terminal(socket, folder, outside)
    try:
        yield made
    finally:
        made._call("kill-server")
