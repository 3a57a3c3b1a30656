"""What a waiting driver shows: a live table on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest

from hpcorch import progress
from hpcorch.journal import Run
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot
from tests.helpers import DEADLINE

DRIVER = """
import sys
from hpcorch import Experiment
exp = Experiment("lab", exp_path=sys.argv[1])
good = exp.create_model("good", exp.create_run_settings(
    "bash", ["-c", 'until [ -e "$1" ]; do sleep 0.05; done', "_", sys.argv[2]]))
bad = exp.create_model("bad", exp.create_run_settings(
    "bash", ["-c", "echo the cause >&2; printf 'last\\\\033[31m [red]words' >&2; exit 3"]))
exp.start(good, bad)
print("driver ends")
"""


def on_terminal(where, awaited: Callable[[bytes], bool], **env: str) -> str:
    """Run the driver on a terminal of its own and return what it has written there.

    The good program ends when what is awaited has been written.
    """
    ours, theirs = pty.openpty()
    go = where.with_name("go")
    words = [sys.executable, "-c", DRIVER, str(where), str(go)]
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40", **env}
    with subprocess.Popen(words, stdout=theirs, stderr=theirs, env=variables) as driver:
        os.close(theirs)
        seen = bytearray()
        try:
            piece = b"begun"
            while piece:
                if awaited(bytes(seen)):
                    go.touch()
                piece = os.read(ours, 65536)
                seen += piece
        except OSError:
            # The other end of a terminal is gone once its last process has ended.
            pass
        os.close(ours)
        assert driver.wait(DEADLINE) == 0, seen.decode()
    return seen.decode()


def test_a_terminal_shows_a_live_table_and_keeps_the_ends(exp_dir):
    def drawn_again(seen: bytes) -> bool:
        return seen.count(b"Tasks") > 1 and b"[red]words" in seen

    text = on_terminal(exp_dir, drawn_again)
    assert "good" in text
    assert "last?[31m [red]words" in text
    assert "\x1b[31m" not in text
    assert "bad is Failed, exit code 3" in text
    assert "good is Completed, exit code 0" in text
    assert "good is Running" not in text
    assert text.rstrip().endswith("driver ends")
    assert "\x1b[?25h" in text[text.rindex("\x1b[?25l") :], "the cursor stays hidden"


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"HPCORCH_LOG_LEVEL": "quiet"}])
def test_a_terminal_that_cannot_or_a_user_that_will_not_sees_no_table(exp_dir, env):
    # Whoever sees no table sees lines; who wants none sees the driver's own words alone.
    awaited = b"good is Running" if "TERM" in env else b""
    text = on_terminal(exp_dir, lambda seen: awaited in seen, **env)
    assert "\x1b" not in text
    assert ("good is Running" in text) == ("TERM" in env)


def test_a_pipe_gets_one_line_for_each_change(exp_dir):
    go = exp_dir.with_name("go")
    words = [sys.executable, "-c", DRIVER, str(exp_dir), str(go)]
    said = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            said.append(line)
            if "good is Running" in line:
                go.touch()
        assert driver.wait(DEADLINE) == 0
    text = "".join(said)
    assert "\x1b" not in text
    assert text.count("good is Running") == 1
    assert text.count("good is Completed, exit code 0") == 1


def shot(name, states, directory, reason=""):
    run = Run(name, "model", str(directory), len(states), 0, name, "local", 0.0)
    tasks = tuple(
        TaskSnapshot(index, state, elapsed=3723.5, reason=reason)
        for index, state in enumerate(states)
    )
    return RunSnapshot(run, tasks)


def test_rows_count_states_and_quote_what_failed(tmp_path):
    done, failed = TaskState.COMPLETED, TaskState.FAILED
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "many.1.err").write_text("x" * 5000 + "\nthe end\n\n")
    (tmp_path / "logs" / "one.0.err").touch()
    (tmp_path / "logs" / "one.0.out").write_bytes(b"\xff\n")
    shots = [
        shot("many", [done, failed, done], tmp_path),
        shot("one", [failed], tmp_path),
        shot("silent", [TaskState.LOST], tmp_path, "the task is gone"),
        shot("fine", [done], tmp_path),
    ]
    assert progress.rows(shots) == [
        ("many", "2 Completed, 1 Failed", "1:02:03", "task 1: the end"),
        ("one", "Failed", "1:02:03", "\ufffd"),
        ("silent", "Lost", "1:02:03", "the task is gone"),
        ("fine", "Completed", "1:02:03", ""),
    ]


def test_nothing_of_the_table_is_loaded_before_it_is_shown():
    code = "import sys, hpcorch.experiment; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
