"""`hpcorch start` without servers: what is refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.fakes import refused

SPEC = """
[database.db]
[model.sim]
run_settings = {exe = "true"}
"""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "the following arguments are required: FILE.toml"),
        (["nowhere.toml"], 2, "the spec file nowhere.toml cannot be read"),
        (["heat.toml", "smi"], 3, "heat.toml describes no 'smi'"),
        (["heat.toml", "--detach", "--stop"], 2, "leave one out"),
        (["heat.toml", "--only", "failed"], 2, "only is 'failed': db is no ensemble"),
        (["heat.toml", "--only", "all"], 2, "invalid choice: 'all'"),
        (["heat.toml", "--scheduler", "lfs"], 2, "launcher is 'lfs'"),
        (["heat.toml", "--queue-timeout", "0"], 2, "queue_timeout is 0"),
        (["heat.toml", "--queue-timeout", "9", "--detach"], 2, "leave out wait=False"),
        (["bad.toml"], 2, "bad.toml: [database.db] port is 80: it must be"),
        (["lost.toml"], 2, "exe of sim is 'no-such-program': there is no such program"),
    ],
)
def test_bad_words(words, code, message, here: Path, capsys, monkeypatch):
    monkeypatch.setenv("HPCORCH_LOG_LEVEL", "quiet")
    (here / "heat.toml").write_text(SPEC)
    (here / "bad.toml").write_text("[database.db]\nport = 80\n")
    lost = '[experiment]\nlauncher = "local"\n[model.sim]\nrun_settings = {exe = "no-such-program"}'
    (here / "lost.toml").write_text(lost)
    refused(["start", *words], code, message, capsys)
    assert not (here / "heat").exists()
