"""The command line without servers: parsing, exit codes, JSON, texts; runs are faked on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpcorch import __version__, errors
from hpcorch.cli import check_files, check_programs, check_system, doctor, finding, runs
from hpcorch.cli.main import VERBS, exit_code, main
from hpcorch.journal import Journal, Part, Run
from hpcorch.schedulers.base import JobId, TaskState
from hpcorch.snapshots import RunSnapshot, TaskSnapshot

# No process has such a number, so that the queue never lists it.
GONE = "999999999"


def fake_run(directory: Path, name: str, kind: str = "model", elements: int = 1, **ends) -> Path:
    """Write what a script started by hand leaves; `ends` are code and reason, none: still runs."""
    where = directory / name
    for part in ("logs", "exit", "shards"):
        (where / part).mkdir(parents=True, exist_ok=True)
    about = {"kind": kind, "name": name, "elements": elements, "scheduler": "local"}
    (where / "job.json").write_text(json.dumps({**about, "job": GONE, "token": f"by-hand-{name}"}))
    for index in range(elements) if ends else ():
        record = {"index": index, "job": GONE, "signal": None, "elapsed": 1.5, "reason": ""}
        (where / "exit" / str(index)).write_text(json.dumps({**record, **ends}))
    return where


def say(directory: Path, name: str, text: str, index: int = 0, ending: str = "out") -> None:
    (directory / name / "logs" / f"{name}.{index}.{ending}").write_text(text)


def shell(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpcorch", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    return found


# The command as a whole.


def test_help_lists_the_verbs_and_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert "130 interrupted" in out


@pytest.mark.parametrize(
    "words", [*([verb] for verb in VERBS), ["render", "database"], ["render", "model"]]
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
        (["status", "nowhere"], 3, "there is no directory nowhere"),
        (["status", "."], 3, "holds no run of hpcorch"),
        (["logs", "."], 3, "holds no run of hpcorch"),
        (["stop", "."], 3, "holds no run of hpcorch"),
        (["stop", ".", "--grace", "0"], 2, "--grace is 0"),
        (["stop", ".", "--grace", "nan"], 2, "--grace is nan"),
        (["stop", ".", "--grace", "soon"], 2, "invalid float value: 'soon'"),
        (["logs", ".", "-n", "-1"], 2, "-n is -1"),
        (["logs", ".", "--json", "-f"], 2, "leave one out"),
        (["demo", "--path", "nowhere"], 2, "--path is 'nowhere'"),
        (["render"], 2, "render what?"),
        (["render", "cluster"], 2, "invalid choice"),
        (["render", "database", "--nodes", "many"], 2, "invalid int value: 'many'"),
        (["render", "database", "--nodes", "0"], 2, "db_nodes is 0"),
        (["render", "database", "--identifier", "a b"], 2, "db_identifier is 'a b'"),
        (["render", "database", "--identifier", "$(id)"], 2, "db_identifier is '$(id)'"),
        (["render", "database", "--security", "none"], 2, "security is 'none'"),
        (["render", "database", "--interface", "nope0"], 2, "interface is 'nope0'"),
        (["render", "database", "--module", "no.so"], 2, "no such readable file"),
        (["render", "database", "--maxmemory", "much"], 2, "maxmemory is 'much'"),
        (["render", "database", "--server", "no-such"], 2, "--server is 'no-such'"),
        (["render", "database", "--scheduler", "lfs"], 2, "launcher is 'lfs'"),
        (["render", "database", "--path", "a\nb"], 2, "path is 'a\\nb'"),
        (["render", "database", "--layout", "ring"], 2, "layout is 'ring'"),
        (["render", "database", "--scheduler", "local", "--time", "1:00:00"], 2, "time of orch"),
        (["render", "database", "--scheduler", "slurm", "--time", "1h"], 2, "time is '1h'"),
        (["render", "database", "--scheduler", "local", "--cpus", "2"], 2, "cpus of orch"),
        (["render", "database", "--scheduler", "slurm", "--run-arg", "v"], 2, "no srun starts"),
        (["render", "database", "--checkpoint-every", "0"], 2, "freq is 0"),
        (["render", "database", "--restore", "nowhere"], 2, "there is no checkpoint there"),
        (["render", "database", "--", "echo"], 2, "a database takes no program"),
        (["render", "database", "-o", "no/such/dir"], 1, "No such file or directory"),
        (["render", "model", "m"], 2, "the program of m is missing"),
        (["render", "model", "m", "--"], 2, "the program of m is missing"),
        (["render", "model", "m", "--", "no-such-program"], 2, "there is no such program"),
        (["render", "model", "m", "--pin", "0", "--", "true"], 2, "add --colocate"),
        (["render", "model", "m", "--db-cpus", "2", "--", "true"], 2, "add --colocate"),
        (["render", "model", "m", "--colocate", "ib", "--", "true"], 2, "invalid choice: 'ib'"),
        (
            ["render", "model", "m", "--colocate", "tcp", "--pin", "x", "--", "true"],
            2,
            "CPU list 'x'",
        ),
    ],
)
def test_bad_words_end_in_one_sentence_and_a_code(words, code, message, here, capsys):
    assert main(words) == code
    caught = capsys.readouterr()
    assert caught.out == ""
    first, *rest = caught.err.splitlines()
    assert first.startswith("hpcorch: error: ")
    assert message in caught.err
    assert all(line.startswith("hint: ") for line in rest)


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


def test_an_ascii_terminal_gets_every_text(here):
    fake_run(here, "m", code=1, reason="the file \u00fc\u4e2d is missing")
    done = shell("status", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\xfc\\u4e2d" in done.stdout


# status and stop.


def test_status_tells_why_a_run_failed_and_what_to_type(here, capsys):
    fake_run(here, "good", code=0)
    fake_run(here, "bad one".replace(" ", "_"), code=7, reason="the program ended with exit code 7")
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    expected = "bad_one is Failed: the program ended with exit code 7; next: "
    assert expected + "hpcorch logs . bad_one" in out
    assert "good is" not in out


def test_status_json(here, capsys):
    fake_run(here, "m", code=0)
    fake_run(here, "db", kind="database", elements=2, code=0)
    assert main(["status", str(here), "--json"]) == 0
    found = told(capsys)
    assert found["directory"] == str(here)
    database, model = found["runs"]
    assert (database["entity"], database["kind"], database["state"]) == (
        "db",
        "database",
        "Cancelled",
    )
    assert [task["index"] for task in database["tasks"]] == [0, 1]
    assert database["database"] is None
    assert (model["job"], model["code"], model["elapsed"]) == (GONE, 0, 1.5)
    assert set(model) == {
        *("entity", "kind", "directory", "scheduler", "job", "run_id", "submitted_at", "state"),
        *("code", "elapsed", "reason", "stale", "tasks", "database"),
    }


def test_status_of_a_run_that_vanished(here, capsys):
    where = fake_run(here, "m")
    assert main(["status", str(where)]) == 0
    assert "m is Lost: the task is gone and left no exit record; next: " in capsys.readouterr().out


def test_watch_without_a_terminal_prints_changes_and_ends(here, capsys):
    fake_run(here, "m", code=0)
    assert main(["status", "--watch"]) == 0
    assert capsys.readouterr().out == "m is Completed, exit code 0\n"
    assert main(["status", "--watch", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["run"]["entity"] for line in lines] == ["m"]


def test_watch_prints_a_change_once_and_follows_it(here, mocker, capsys):
    fake_run(here, "m")
    (run,) = runs.locate(str(here))
    reason = "the program ended with exit code 3"
    running = RunSnapshot(run, (TaskSnapshot(0, TaskState.RUNNING),))
    failed = RunSnapshot(run, (TaskSnapshot(0, TaskState.FAILED, 3, 1.0, reason),))
    mocker.patch.object(runs.Watcher, "snapshot", side_effect=[[running], [running], [failed]])
    nap = mocker.patch("time.sleep")
    assert main(["status", "--watch"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "m is Running"
    assert second == f"m is Failed: {reason}; next: hpcorch logs . m"
    assert [call.args for call in nap.call_args_list] == [(2.0,), (2.0,)]


def test_a_run_that_was_replaced_is_not_shown(here):
    where = here / "exp" / "m"
    journal = Journal(here / "exp")
    for number in range(2):
        run = Run("m", "model", str(where), 1, number, f"t{number}", "local", 0.0)
        journal.intend(run)
        journal.submitted(Part(run.token, 1, JobId(GONE)))
    found = runs.locate(str(here / "exp"))
    assert [run.token for run in found] == ["t0", "t1"]
    assert [run.token for run in runs.latest(found)] == ["t1"]
    assert [shot.run.token for shot in runs.Watcher().snapshot(found)] == ["t1"]


def test_stop_of_what_has_ended_does_nothing(here, capsys):
    fake_run(here, "m", code=0)
    assert main(["stop"]) == 0
    assert capsys.readouterr().out == "nothing to stop: m is Completed, exit code 0\n"
    assert main(["stop", ".", "m", "--json"]) == 0
    (run,) = told(capsys)["runs"]
    assert (run["was_running"], run["state"]) == (False, "Completed")
    assert not (here / ".hpcorch").exists()


def test_a_run_whose_submission_broke_off_is_not_called_stopped(here, capsys):
    Journal(here).intend(Run("m", "model", str(here / "m"), 1, 0, "t0", "local", 0.0))
    assert main(["stop"]) == 1
    caught = capsys.readouterr()
    assert caught.out == "m is Unknown\n"
    assert "hpcorch: warning: m may still run: submission unfinished" in caught.err


@pytest.mark.parametrize("verb", ["stop", "logs"])
def test_an_unknown_entity_is_told_the_known_ones(verb, here, capsys):
    fake_run(here, "m", code=0)
    assert main([verb, ".", "n"]) == 3
    assert capsys.readouterr().err == "hpcorch: error: there is no 'n' here\nhint: there are: m\n"


# logs.


def test_logs_of_one_and_of_several_files(here, capfdbinary):
    fake_run(here, "db", kind="database", elements=2, code=0)
    say(here, "db", "a\nb\nc\n")
    say(here, "db", "d\ne", index=1)
    say(here, "db", "", ending="err")
    assert main(["logs", ".", "db", "-n", "2"]) == 0
    logs = str(here / "db" / "logs")
    expected = f"==> {logs}/db.0.out <==\nb\nc\n\n==> {logs}/db.1.out <==\nd\ne"
    assert capfdbinary.readouterr().out.decode() == expected
    assert main(["logs", ".", "db", "--shard", "1"]) == 0
    assert capfdbinary.readouterr().out == b"d\ne"
    assert main(["logs", ".", "-n", "0", "--shard", "1"]) == 0
    assert capfdbinary.readouterr().out == b""


def test_logs_carry_bytes_and_know_the_server(here, capfdbinary):
    fake_run(here, "db", kind="database", code=0)
    (here / "db" / "logs" / "db.0.log").write_bytes(b"\xff\x00ready\n")
    assert main(["logs", "--server"]) == 0
    assert capfdbinary.readouterr().out == b"\xff\x00ready\n"


def test_logs_json(here, capsys):
    fake_run(here, "m", code=0)
    say(here, "m", "x")
    assert main(["logs", "--json"]) == 0
    path = str(here / "m" / "logs" / "m.0.out")
    assert told(capsys)["logs"] == [{"entity": "m", "index": 0, "stream": "out", "path": path}]


def test_logs_that_are_not_there(here, capsys):
    fake_run(here, "m", code=0)
    assert main(["logs", "--server"]) == 3
    assert "there is no such log" in capsys.readouterr().err
    assert main(["logs", "--shard", "1"]) == 2
    assert "--shard is 1: it must be from 0 to 0" in capsys.readouterr().err


def test_following_an_ended_run_prints_it_whole_with_prefixes(here, capfdbinary):
    fake_run(here, "m", code=0)
    say(here, "m", "one\ntwo")
    say(here, "m", "oops\n", ending="err")
    assert main(["logs", "-f"]) == 0
    assert capfdbinary.readouterr().out == b"m[0]: one\nm[0]: two\nm[0]: oops\n"


# render.


def test_render_prints_the_script_and_nothing_else(here, capfd):
    assert main(["render", "database", "--port", "7001"]) == 0
    caught = capfd.readouterr()
    assert caught.out.startswith("#!/bin/bash\n")
    assert f"HPCORCH_RUN_DIR={here}/orchestrator\n" in caught.out
    assert "HPCORCH_FIRST_PORT=7001\n" in caught.out
    assert list(here.iterdir()) == []
    done = subprocess.run(["bash", "-n"], input=caught.out, text=True, check=False)
    assert done.returncode == 0


def test_render_writes_a_private_file(here, capsys):
    assert main(["render", "database", "--nodes", "2", "-o", "db.sh", "--path", "x y"]) == 0
    caught = capsys.readouterr()
    assert caught.out == ""
    assert "to run it: bash db.sh" in caught.err
    assert (here / "db.sh").stat().st_mode & 0o777 == 0o700
    assert f"HPCORCH_RUN_DIR='{here}/x y'\n" in (here / "db.sh").read_text()


def test_render_json(here, capsys):
    words = ["--security", "smartredis", "--threads", "2", "--maxmemory", "1gb"]
    assert main(["render", "database", "--json", *words]) == 0
    caught = capsys.readouterr()
    found = json.loads(caught.out)
    assert (found["version"], found["kind"], found["name"]) == (1, "database", "orchestrator")
    assert "maxmemory 1gb\n" in found["script"]
    assert found["warnings"]
    assert f"hpcorch: warning: {found['warnings'][0]}\n" in caught.err


def test_render_model_carries_its_words_byte_for_byte(here, capfd):
    words = ["--version", "a b", "$(id)", "--", "'", "", "-o"]
    assert main(["render", "model", "m", "--", "echo", *words]) == 0
    out = capfd.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("HPCORCH_PROGRAM=("))
    script = f"{line}\nprintf '%s\\0' \"${{HPCORCH_PROGRAM[@]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[1:-1] == words


def test_render_model_with_databases_and_colocation(here, capfd):
    (here / "orchestrator").mkdir()
    uses = ["--use", "orchestrator", "--use", "elsewhere:other-db"]
    pins = ["--colocate", "uds", "--pin", "0-1"]
    refused = ["render", "model", "m", *uses, *pins, "--", "true"]
    # The default identifier is in use by `orchestrator`, so that its variables would clash.
    assert main(refused) == 2
    assert "uses the variable SSDB already" in capfd.readouterr().err
    assert main(["render", "model", "m", *uses, "--", "true"]) == 0
    out = capfd.readouterr().out
    assert f"hpcorch_use_database {here}/orchestrator ''\n" in out
    assert f"hpcorch_use_database {here}/elsewhere _other-db\n" in out
    assert main(["render", "model", "m", *pins, "--", "true"]) == 0
    assert "HPCORCH_DB_CPUS=(0 1)\n" in capfd.readouterr().out


def test_two_databases_of_one_identifier_are_refused(here, capsys):
    words = ["--use", "a:x", "--use", "b:x", "--", "true"]
    assert main(["render", "model", "m", *words]) == 2
    assert "--use names two databases 'x'" in capsys.readouterr().err


# doctor.


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
