"""`hpcorch doctor`, and how what it sees is judged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hpcorch.cli import check_files, check_programs, check_system, doctor, finding
from hpcorch.cli.main import main
from tests.unit.cli.fakes import shell, told


def by_check(findings) -> dict[str, finding.Finding]:
    return {item.check: item for item in findings}


def test_doctor_of_this_machine(here, capsys):
    code = main(["doctor", "--json"])
    found = told(capsys)
    states = {item["check"]: item["status"] for item in found["findings"]}
    assert code == (1 if found["failed"] else 0)
    for check in ("server", "bash", "bash /dev/tcp", "interfaces", "rename", "hard links", "clock"):
        assert states[check] == "ok"
    assert list(here.iterdir()) == []


def test_doctor_of_a_broken_environment(here):
    tmpdir = str(here / ("x" * 100))
    environ = {"PATH": "", "TMPDIR": tmpdir, "REDIS_PATH": "/nowhere/redis", "HPCORCH_COLOUR": "1"}
    findings = doctor.examine(environ, Path("/proc"), ("nope0",))
    states = {item.check: item.status for item in findings}
    for check in ("server", "bash", "setsid", "grep", "interface", "run directory", "TMPDIR"):
        assert states[check] == "fail", check
    assert states["socket paths"] == "fail"
    assert states["openssl"] == "warn"
    assert all(item.cure for item in findings if item.status != "ok")


def test_doctor_fails_with_a_code_and_names_cures(here):
    environ = {
        **os.environ,
        "TMPDIR": "/tmp/" + "x" * 100,
        "PYTHONPATH": "",
        "HPCORCH_INTERFACE": "",
    }
    done = shell("doctor", "--path", "missing", env=environ)
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line[:4] == "fail"}
    assert "cure: mkdir -p" in lines["run"]
    assert "107 are allowed; cure: export TMPDIR=/tmp" in lines["socket"]


def test_doctor_reports_a_broken_site_profile_and_goes_on(here, monkeypatch, capsys):
    (here / "site.toml").write_text('interfaces = "lo"\n')
    monkeypatch.setenv("HPCORCH_SITE", str(here / "site.toml"))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "site.toml sets 'interfaces', which is no site key; cure: did you mean" in out
    assert "socket paths" in out


def test_doctor_sees_a_file_system_without_hard_links(tmp_path, mocker):
    mocker.patch.object(Path, "hardlink_to", side_effect=PermissionError(1, "not permitted"))
    found = by_check(check_files.run_directory(tmp_path))
    assert found["hard links"].status == "fail"
    assert "not permitted" in found["hard links"].detail
    assert found["rename"].status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_doctor_sees_a_site_template_directory_that_others_may_write(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCORCH_TEMPLATE_DIRS", str(tmp_path))
    tmp_path.chmod(0o777)
    found = [item for item in doctor.examine(os.environ, tmp_path) if item.check == "templates"]
    assert [item.status for item in found] == ["ok", "fail"]
    assert found[1].cure == f"chmod go-w {tmp_path}"


@pytest.mark.parametrize(("seconds", "status"), [(0.0, "ok"), (-1.9, "ok"), (2.5, "warn")])
def test_clock_skew(seconds, status):
    assert check_files.skew(seconds).status == status


@pytest.mark.parametrize(
    ("before", "after", "status"), [(-9, 9, "ok"), (-9, -8, "warn"), (8, 9, "warn")]
)
def test_a_slow_file_system_is_no_wrong_clock(tmp_path, mocker, before, after, status):
    now = time.time()
    mocker.patch("hpcorch.cli.check_files.time.time", side_effect=[now + before, now + after])
    assert check_files._clock(tmp_path).status == status


@pytest.mark.parametrize(
    ("version", "status"),
    [("5.2.15(1)-release", "ok"), ("4.4.0", "ok"), ("4.3.9", "fail"), ("", "fail")],
)
def test_bash_versions(version, status):
    assert check_programs.bash_version("/bin/bash", version).status == status


def test_kernel_settings_are_judged():
    assert check_system.huge_pages("always madvise [never]")[0].status == "warn"
    assert check_system.huge_pages("always [madvise] never")[0].status == "ok"
    assert check_system.huge_pages("") == []
    assert check_system.overcommit("2")[0].status == "warn"
    assert check_system.backlog("128")[0].status == "warn"
    assert check_system.limit("nofile", 1024, 50032, "a database").status == "warn"
    assert check_system.limit("nofile", -1, 50032, "a database").status == "ok"
    assert check_system.interfaces((), {})[0].status == "fail"
    assert check_system.addresses()["lo"] == "127.0.0.1"
