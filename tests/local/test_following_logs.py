"""`hpcorch logs -f` on real runs: to their end, into those that begin later, and interrupted."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.helpers import bash_model, free_port
from tests.local.commands import following, hpcorch

pytestmark = pytest.mark.redis


def test_logs_follow_until_the_end(exp, exp_dir, tmp_path):
    go = tmp_path / "go"
    code = 'echo one; until [[ -e $1 ]]; do sleep 0.02; done; echo problem >&2; printf "two"'
    exp.start(bash_model(exp, "m", code, str(go)), block=False)
    with following("logs", exp_dir, "m", "-f") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "m[0]: one\n"
        go.touch()
        assert sorted(logs.stdout.read().splitlines()) == ["m[0]: problem", "m[0]: two"]
        assert logs.wait(30) == 0
    folder = exp_dir / "m" / "logs"
    expected = f"==> {folder}/m.0.out <==\none\ntwo\n==> {folder}/m.0.err <==\nproblem\n"
    assert hpcorch("logs", exp_dir, "m") == expected


def test_logs_follow_what_begins_later(exp, exp_dir):
    database = exp.create_database(port=free_port())
    exp.start(database)
    with (
        following("logs", exp_dir, "-f") as all_logs,
        following("logs", exp_dir, "late", "-f", stderr=subprocess.PIPE) as its_logs,
    ):
        assert all_logs.stdout is not None
        assert its_logs.stdout is not None
        assert its_logs.stderr is not None
        assert "ready: 127.0.0.1:" in all_logs.stdout.readline()
        assert its_logs.stderr.readline().startswith("there is no 'late' here yet")
        late = bash_model(exp, "late", "echo one")
        exp.start(late)
        assert its_logs.stdout.read() == "late[0]: one\n"
        assert its_logs.wait(30) == 0
        assert all_logs.stdout.readline() == "late[0]: one\n"
        exp.start(late)
        assert all_logs.stdout.readline() == "late[0]: one\n"
        exp.stop()
        assert all_logs.wait(30) == 0


def test_an_interrupted_logs_command_has_its_code(exp, exp_dir):
    exp.start(bash_model(exp, "m", "echo one; exec sleep 600"), block=False)
    with following("logs", exp_dir, "-f") as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "m[0]: one\n"
        logs.send_signal(signal.SIGINT)
        assert logs.wait(30) == 130
