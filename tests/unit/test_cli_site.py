"""The verbs `config`, `site` and `completion`, without servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.cli.main import VERBS, main
from hpcorch.sites import Queue, load_site


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The user's site profile."""
    path = tmp_path / "config" / "hpcorch" / "site.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("verb", ["config", "site"])
def test_show_prints_a_profile_that_can_be_read_back(profile, capsys, tmp_path, verb):
    profile.write_text(
        'interface = ["ib0", "ib1"]\nserver = "/opt/my \\"server\\""\n'
        '[queues.debug]\nmax_nodes = 2\nallowed_security = ["tls"]\n[queues.batch]\n'
    )
    assert main([verb, "show"]) == 0
    printed = tmp_path / "printed.toml"
    printed.write_text(capsys.readouterr().out)
    again = load_site({"XDG_CONFIG_HOME": "/nonexistent"}, str(printed))
    assert again.interface == ("ib0", "ib1")
    assert again.server == '/opt/my "server"'
    assert again.queues == {
        "debug": Queue(max_nodes=2, allowed_security=("tls",)),
        "batch": Queue(),
    }


def test_show_tells_where_every_value_comes_from(profile, capsys, monkeypatch):
    profile.write_text("boot_seconds = 7\n[queues.debug]\nmax_nodes = 2\n")
    monkeypatch.setenv("HPCORCH_INTERFACE", "lo")
    assert main(["config", "show", "--origin"]) == 0
    lines = {line.split(" ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["boot_seconds"].endswith(f"# {profile}")
    assert lines["interface"].endswith("# HPCORCH_INTERFACE")
    assert lines["scheduler"].endswith("# default")
    assert lines["[queues.debug]"].endswith(f"# {profile}")
    assert lines["max_nodes"].endswith(f"# {profile}")
    assert main(["config", "show", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["site"]["boot_seconds"] == 7
    assert told["origins"]["boot_seconds"] == str(profile)
    assert told["site"]["queues"]["debug"]["max_nodes"] == 2
    assert told["origins"]["queues.debug.max_nodes"] == str(profile)


def test_site_check_makes_every_kind_of_script(capsys):
    assert main(["site", "check", "--scheduler", "pbs", "--queue", "debug"]) == 0
    said = capsys.readouterr()
    assert "ok    database of 3 shards, gang" in said.out
    assert said.err.endswith("0 failed\n")
    assert main(["site", "check", "--scheduler", "pbs", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == 0
    # Where it is not there, that is said.
    lacking = set() if shutil.which("shellcheck") else {"shellcheck"}
    assert {item["check"] for item in told["findings"] if item["status"] != "ok"} == lacking


def test_site_check_says_what_jobs_lack_and_which_queues_there_are(profile, capsys):
    profile.write_text('required = ["account"]\nrun_command = "aprun"\n[queues.debug]\n')
    assert main(["site", "check", "--scheduler", "pbs", "--queue", "debgu"]) == 1
    out = capsys.readouterr().out
    assert "fail  what jobs must say             queue of db is 'debgu': this site has debug" in out
    assert "did you mean 'debug'?" in out
    assert "warn  queues                         could not be compared" in out
    assert "warn  run_command                    aprun is not here" in out
    assert main(["site", "check", "--scheduler", "pbs", "--queue", "debug"]) == 1
    out = capsys.readouterr().out
    assert "account of db is missing: this site requires it" in out
    assert "or --account" in out


def test_site_check_names_what_is_wrong_and_submits_nothing_then(profile, capsys):
    templates = profile.parent / "templates"
    templates.mkdir(mode=0o755)
    (templates / "base.sh.j2").write_text('{% extends "!core/base.sh.j2" %}\n{{ job.name }}\n')
    assert main(["site", "check", "--scheduler", "local", "--submit"]) == 1
    out = capsys.readouterr().out
    assert f"fail  templates                      {templates / 'base.sh.j2'}:2: a value" in out
    assert "warn  submit                         nothing is submitted" in out


def test_a_broken_profile_is_the_first_thing_that_is_told(profile, capsys):
    profile.write_text("boot_second = 7\n")
    assert main(["site", "check"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("fail  site profile")
    assert "did you mean 'boot_seconds'?" in out


def test_queues_are_refused_where_there_are_none(capsys):
    assert main(["site", "check", "--scheduler", "local", "--queue", "x"]) == 2
    assert "local has no queues" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_own_code(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "hpcorch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("hpcorch ", set(VERBS)),
        ("hpcorch stat", {"status "}),
        ("hpcorch template ", {"list", "show", "diff", "eject", "lint", "vars"}),
        ("hpcorch status --js", {"--json "}),
        ("hpcorch completion f", {"fish "}),
    ],
)
def test_a_shell_is_told_the_verbs_and_options(typed, expected, tmp_path):
    told = tmp_path / "told"
    code = f'exec 8>{told}; exec "$0" -m hpcorch'
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_TYPE": "9"}
    subprocess.run(
        ["bash", "-c", code, sys.executable],
        env={**os.environ, **asked, "COMP_LINE": typed, "COMP_POINT": str(len(typed))},
        check=True,
        timeout=60,
    )
    assert expected <= set(told.read_text().split("\n"))
