"""The local scheduler: its parsers, and its tool hpcorch-local for real."""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcorch import schedulers, shell
from hpcorch.describe.model import Model
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import CommandFailed, InputError, ParseError, SubmitAmbiguous
from hpcorch.paths import templates_dir
from hpcorch.rundir import write_whole
from hpcorch.schedulers.base import Command, JobId, JobRef, Result, Submittable, TaskState
from hpcorch.schedulers.local import LocalScheduler
from tests.helpers import command_line, is_alive, kill, model_job, processes, render, until

SCHEDULER = schedulers.create("local", templates_dir(), {})
JOB = JobRef(JobId("7"), "tok", 2)


def result(out="", code=0, err=""):
    return Result((), code, out, err)


def test_the_builders_make_argument_lists():
    local = LocalScheduler("/t/tool")
    asked = local.submit_command(Submittable("m", "tok", "/r/job.sh", "/r/log", is_array=False))
    assert asked.argv == ("bash", "-p", "/t/tool", "submit", "tok", "/r/job.sh", "/r/log")
    assert local.find_command("db", "tok").argv[3:] == ("find", "tok")
    assert local.queue_command([JOB]).argv[3:] == ("queue", "7:tok")
    assert local.cancel_command([JOB], force=False).argv[3:] == ("cancel", "TERM", "7:tok")
    assert local.cancel_command([JOB], force=True).argv[3:] == ("cancel", "KILL", "7:tok")


def test_the_label_shows_the_range_of_an_array():
    assert SCHEDULER.job_label(JOB) == "7_[0-1]"
    assert SCHEDULER.job_label(JobRef(JobId("7"), "tok", 1)) == "7"


def test_a_submission_s_answer_is_one_number():
    assert SCHEDULER.parse_submit(result("123\n")) == JobId("123")
    for text in ("", "12 34", "x", "123\nwarning"):
        with pytest.raises(SubmitAmbiguous):
            SCHEDULER.parse_submit(result(text))
    with pytest.raises(CommandFailed, match="could not be started: last"):
        SCHEDULER.parse_submit(result(code=1, err="first\nlast\n"))
    with pytest.raises(CommandFailed, match="exit code 3"):
        SCHEDULER.parse_submit(result(code=3))


def test_the_queue_s_rows_become_states():
    report = SCHEDULER.parse_queue(result("7_1 RUNNING\n7 SUPERVISOR\n"), [JOB])
    assert report[JOB.id, 1].state is TaskState.RUNNING
    assert report[JOB.id, 0].state is TaskState.QUEUED
    assert SCHEDULER.parse_queue(result(""), [JOB]) == {}


@pytest.mark.parametrize("text", ["8_0 RUNNING", "7_0 SLEEPING", "7", "7_x RUNNING", "error"])
def test_a_row_that_cannot_be_understood_is_an_error(text):
    with pytest.raises(ParseError, match="unexpected line"):
        SCHEDULER.parse_queue(result(text + "\n"), [JOB])


def test_a_failed_query_is_an_error_and_no_empty_queue():
    with pytest.raises(CommandFailed, match="listing local jobs failed: oh"):
        SCHEDULER.parse_queue(result(code=1, err="oh\n"), [JOB])


def test_an_unknown_scheduler_is_refused_with_the_known_ones():
    assert set(schedulers.names()) >= {"slurm", "slurm-steps", "local"}
    with pytest.raises(InputError, match="launcher is 'x': it must be auto or one of slurm"):
        schedulers.create("x", templates_dir(), {})


class Lab:
    """Submits one job, with a token of its own, to the real tool and asks about it."""

    def __init__(self, where: Path, code: str) -> None:
        self.where = where
        token = secrets.token_hex(8)
        model = Model("m", RunSettings("bash", ["-c", code, "_", str(where / "mark")]))
        script = render(model_job(model, where, "/bin/bash")).text
        (where / "logs").mkdir(parents=True)
        write_whole(where / "job.sh", script, 0o700)
        request = Submittable(
            "m", token, str(where / "job.sh"), str(where / "logs/job.log"), is_array=False
        )
        answer = shell.run(SCHEDULER.submit_command(request))
        self.ref = JobRef(SCHEDULER.parse_submit(answer), token, 1)
        self.pid = int(self.ref.id.job)

    def started(self) -> Lab:
        until((self.where / "mark").exists, "the start of the program")
        return self

    def queue(self) -> dict[int, TaskState]:
        answer = shell.run(SCHEDULER.queue_command([self.ref]))
        report = SCHEDULER.parse_queue(answer, [self.ref])
        return {index: status.state for (_, index), status in report.items()}

    def cancel(self, *, force: bool = False) -> None:
        assert shell.run(SCHEDULER.cancel_command([self.ref], force=force)).code == 0

    def gone(self) -> None:
        until(lambda: not processes(self.where), "the end of all processes")

    def tasks(self) -> list[int]:
        return [pid for pid, words in processes(self.where).items() if "--element" in words]

    def record(self) -> dict[str, object]:
        path = self.where / "exit" / "0"
        until(path.exists, "the exit record")
        found: dict[str, object] = json.loads(path.read_text())
        return found


LONG = 'touch "$1"; exec sleep 600'


def test_a_job_is_found_by_its_token_and_its_subshells_are_not(tmp_path):
    token = secrets.token_hex(8)
    (tmp_path / "job.sh").write_text("(read -r line; exit 0)\nexit 0\n")
    with subprocess.Popen(
        ["bash", str(tmp_path / "job.sh"), "--token", token], stdin=subprocess.PIPE, text=True
    ) as job:
        until(lambda: len(processes(tmp_path)) > 1, "the subshell")
        answer = shell.run(SCHEDULER.find_command("m", token))
        assert answer.out.split() == [str(job.pid)]
        job.communicate()


def test_a_job_is_listed_while_it_runs_and_not_afterwards(tmp_path):
    lab = Lab(tmp_path / "a", LONG).started()
    assert lab.queue() == {0: TaskState.RUNNING}
    assert SCHEDULER.job_label(lab.ref) == str(lab.pid)
    lab.cancel()
    lab.gone()
    assert lab.queue() == {}
    assert lab.record()["signal"] == "TERM"


def test_a_job_is_found_by_its_token_while_it_lives(tmp_path):
    lab, other = Lab(tmp_path / "a", LONG), Lab(tmp_path / "b", LONG)
    lab.started()
    other.started()

    def find(token):
        return shell.run(SCHEDULER.find_command("db", token)).out.split()

    assert find(lab.ref.token) == [str(lab.pid)]
    assert find(other.ref.token) == [str(other.pid)]
    assert find("nothing") == []
    for item in (lab, other):
        item.cancel(force=True)
        item.gone()
    assert find(lab.ref.token) == []


def test_a_job_outlives_whoever_submitted_it_and_has_no_terminal(tmp_path):
    lab = Lab(tmp_path / "a", LONG).started()
    fields = Path(f"/proc/{lab.pid}/stat").read_text().rpartition(") ")[2].split()
    assert fields[3] == str(lab.pid)  # It leads a session of its own.
    assert fields[4] == "0"  # It has no terminal.
    lab.cancel()
    lab.gone()


def test_jobs_of_other_tokens_are_left_alone(tmp_path):
    lab = Lab(tmp_path / "a", LONG).started()
    stranger = JobRef(lab.ref.id, "stranger", 1)
    assert shell.run(SCHEDULER.queue_command([stranger])).out == ""
    for force in (False, True):
        shell.run(SCHEDULER.cancel_command([stranger], force=force))
    assert lab.queue() == {0: TaskState.RUNNING}
    lab.cancel(force=True)
    lab.gone()


def test_a_program_that_ignores_being_asked_is_killed_with_all_it_started(tmp_path):
    code = 'trap "" TERM; sleep 600 & setsid sleep 601 & touch "$1"; while :; do sleep 1; done'
    lab = Lab(tmp_path / "a", code).started()
    lab.cancel()
    assert lab.queue() == {0: TaskState.RUNNING}
    lab.cancel(force=True)
    lab.gone()
    assert lab.queue() == {}


def test_a_task_killed_at_once_gets_a_record_from_its_supervisor(tmp_path):
    lab = Lab(tmp_path / "a", LONG).started()
    for pid in lab.tasks():
        kill(pid)
    assert lab.record() == {
        "index": 0,
        "job": str(lab.pid),
        "code": 137,
        "signal": None,
        "elapsed": 0,
        "reason": "the task died without a record, exit code 137",
    }
    lab.gone()


def test_tasks_without_a_supervisor_are_listed_and_can_be_cancelled(tmp_path):
    lab = Lab(tmp_path / "a", LONG).started()
    assert "--token" in command_line(lab.pid)
    kill(lab.pid)
    until(lambda: not is_alive(lab.pid), "the end of the supervisor")
    assert lab.queue() == {0: TaskState.RUNNING}
    lab.cancel()
    lab.gone()
    assert lab.record()["signal"] == "TERM"


def test_tasks_without_a_supervisor_can_be_killed(tmp_path):
    lab = Lab(tmp_path / "a", 'trap "" TERM; touch "$1"; while :; do sleep 1; done').started()
    kill(lab.pid)
    until(lambda: not is_alive(lab.pid), "the end of the supervisor")
    lab.cancel(force=True)
    lab.gone()


def test_what_a_program_leaves_in_the_background_is_swept(tmp_path):
    lab = Lab(tmp_path / "a", 'sleep 600 & nohup sleep 601 & touch "$1"; exit 4')
    assert lab.record()["code"] == 4
    lab.gone()


def test_cancelling_what_has_ended_does_nothing(tmp_path):
    lab = Lab(tmp_path / "a", 'touch "$1"')
    lab.gone()
    for force in (False, True):
        lab.cancel(force=force)
    assert lab.queue() == {}
    assert lab.record()["code"] == 0


def test_many_cancellations_end_one_job_once(tmp_path):
    lab = Lab(tmp_path / "a", LONG).started()
    for _ in range(5):
        lab.cancel()
    lab.gone()
    assert lab.record()["signal"] == "TERM"


@pytest.mark.parametrize("words", [(), ("nonsense",), ("cancel", "HUP", "1:x")])
def test_a_wrong_call_fails(words):
    tool = SCHEDULER.find_command("db", "x").argv[2]
    assert shell.run(Command(("bash", "-p", tool, *words))).code == 2


def test_a_script_run_by_hand_keeps_its_records_and_spares_its_shell(tmp_path):
    where = tmp_path / "a"
    where.mkdir()
    model = Model("m", RunSettings("bash", ["-c", "exit 5"]))
    write_whole(where / "job.sh", render(model_job(model, where, "/bin/bash")).text, 0o700)
    done = subprocess.run(
        ["bash", "-c", f"sleep 30 & bash {where}/job.sh; code=$?; kill %1 && exit $code"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert json.loads((where / "exit" / "0").read_text())["code"] == 5
    assert "runs 1 task(s)" in done.stdout


def test_what_does_not_die_is_given_up_in_time(tmp_path):
    lab = Lab(tmp_path / "a", LONG).started()
    command = SCHEDULER.cancel_command([lab.ref], force=True)
    # To somebody else the job is as deaf as one that waits for a dead file server.
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert shell.run(replace(command, argv=(*nobody, *command.argv))).code == 0
    assert lab.queue() == {0: TaskState.RUNNING}
    lab.cancel(force=True)
    lab.gone()
