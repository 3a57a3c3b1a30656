"""Submission happens once: ambiguous answers are looked up, refusals are recorded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hpcorch import rundir
from hpcorch import submit as submit_module
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import CommandFailed, CommandTimeout, SubmitAmbiguous
from hpcorch.journal import Journal
from hpcorch.plan import Plan, chunked, plan_ensemble
from hpcorch.render import Script
from hpcorch.schedulers.base import JobId, Result
from hpcorch.schedulers.local import LocalScheduler
from hpcorch.schedulers.slurm import SlurmScheduler
from tests.helpers import TOKEN, model_job, target

SCHEDULER = LocalScheduler("/tool")
SLURM = SlurmScheduler()


def answer(code=0, out="", err=""):
    return Result((), code, out, err)


@pytest.fixture
def calls(mocker):
    """The scheduler's program: a mock that tests tell what to answer."""
    return mocker.patch("hpcorch.shell.run")


@pytest.fixture
def do_submit(tmp_path):
    def call(run_id=0):
        job = model_job(Model("m", RunSettings("p")), tmp_path / "m", "/bin/p")
        script = Script("#!/bin/bash\n", "x")
        built = submit_module.Built(Plan((job,)), (script,))
        return submit_module.submit(built, SCHEDULER, Journal(tmp_path), run_id)

    return call


def events(tmp_path):
    lines = (tmp_path / ".hpcorch" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def verbs(calls):
    return [call.args[0].argv[3] for call in calls.call_args_list]


def test_an_accepted_job_is_journalled_before_and_after(calls, do_submit, tmp_path):
    def accept(command):
        assert events(tmp_path) == ["intent"]
        assert command.argv[3:5] == ("submit", TOKEN)
        return answer(out="123\n")

    calls.side_effect = accept
    assert do_submit().job == JobId("123")
    assert events(tmp_path) == ["intent", "submitted"]
    assert Journal(tmp_path).runs()[0].job == JobId("123")
    assert (tmp_path / "m" / "job.sh").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("broken", [CommandTimeout("slow"), answer(out="no number\n"), answer()])
def test_a_job_that_was_accepted_without_an_answer_is_found_by_its_token(
    calls, do_submit, tmp_path, broken
):
    calls.side_effect = [broken, answer(out="77\n")]
    assert do_submit().job == JobId("77")
    assert verbs(calls) == ["submit", "find"]
    assert events(tmp_path) == ["intent", "submitted"]


def test_a_job_that_cannot_be_found_is_ambiguous_and_not_submitted_again(
    calls, do_submit, tmp_path
):
    calls.side_effect = [CommandTimeout("bash did not answer within 30 s"), answer()]
    with pytest.raises(SubmitAmbiguous, match="unknown whether the job m was accepted") as caught:
        do_submit()
    assert "did not answer" in caught.value.message
    assert TOKEN in caught.value.hint
    assert verbs(calls) == ["submit", "find"]
    assert events(tmp_path) == ["intent"]
    run = Journal(tmp_path).runs()[0]
    assert (run.job, run.rejected) == (None, False)


@pytest.mark.parametrize("lookup", [CommandTimeout("slow"), answer(1, err="broken")])
def test_when_looking_up_fails_too_it_stays_ambiguous(calls, do_submit, tmp_path, lookup):
    """The job may run: it must not be recorded as refused."""
    calls.side_effect = [CommandTimeout("slow"), lookup]
    with pytest.raises(SubmitAmbiguous) as caught:
        do_submit()
    assert TOKEN in caught.value.hint
    assert events(tmp_path) == ["intent"]


def ended(tmp_path, token):
    """Leave what a job that ran to its end at once has left."""
    (tmp_path / "m").mkdir(exist_ok=True)
    (tmp_path / "m" / "job.json").write_text(json.dumps({"job": "9[].head", "token": token}))


def test_a_job_that_had_ended_before_it_was_looked_up_says_its_id_itself(
    calls, do_submit, tmp_path
):
    def look_up(command):
        if command.argv[3] == "submit":
            raise CommandTimeout("slow")
        ended(tmp_path, TOKEN)
        return answer()

    calls.side_effect = look_up
    assert do_submit().job == JobId("9[].head")
    assert events(tmp_path) == ["intent", "submitted"]


@pytest.mark.parametrize(("token", "job"), [(TOKEN, JobId("9[].head")), ("another", None)])
def test_a_later_driver_takes_no_job_that_has_run_for_one_that_was_refused(
    calls, do_submit, tmp_path, token, job
):
    calls.side_effect = [CommandTimeout("slow"), answer(), answer()]
    with pytest.raises(SubmitAmbiguous):
        do_submit()
    ended(tmp_path, token)
    journal = Journal(tmp_path)
    (settled,) = submit_module.recover(journal.runs(), SCHEDULER, journal)
    assert (settled.job, settled.rejected) == (job, job is None)


def test_a_refusal_is_recorded_with_its_reason(calls, do_submit, tmp_path):
    calls.return_value = answer(1, err="first\nno room for you\n")
    with pytest.raises(CommandFailed, match="could not be started: no room for you"):
        do_submit()
    assert verbs(calls) == ["submit"]
    assert events(tmp_path) == ["intent", "rejected"]
    assert Journal(tmp_path).runs()[0].rejected


def test_a_scheduler_that_is_not_there_is_a_refusal(calls, do_submit, tmp_path):
    calls.side_effect = CommandFailed("cannot run bash: No such file or directory")
    with pytest.raises(CommandFailed, match="cannot run bash"):
        do_submit()
    assert events(tmp_path) == ["intent", "rejected"]


@pytest.fixture
def submit_parts(tmp_path):
    """Submit an ensemble of five members as three jobs; return its run."""

    def call():
        ensemble = Ensemble("ens", run_settings=RunSettings("p"), replicas=5)
        where = target(tmp_path / "ens", "slurm")
        plan = plan_ensemble(ensemble, lambda _: ["/p"], [], lambda _: None, where)
        jobs = chunked(plan.jobs, where.scheduler, 2)
        scripts = tuple(Script(f"part {job.chunk.part}\n", "x") for job in jobs)
        built = submit_module.Built(replace(plan, jobs=jobs), scripts)
        return submit_module.submit(built, SLURM, Journal(tmp_path), 0)

    return call


def test_a_run_of_several_jobs_is_one_intent_and_one_call_for_each(calls, submit_parts, tmp_path):
    calls.side_effect = [answer(out=f"{number}\n") for number in (7, 8, 9)]
    run = submit_parts()
    assert [call.args[0].argv[0] for call in calls.call_args_list] == ["sbatch"] * 3
    assert events(tmp_path) == ["intent", "submitted", "submitted", "submitted"]
    stored = Journal(tmp_path).runs()[0]
    assert stored.parts == run.parts
    assert [(ref.id.job, ref.elements, ref.token) for ref in stored.refs()] == [
        ("7", 2, f"{TOKEN}_0"),
        ("8", 2, f"{TOKEN}_1"),
        ("9", 1, f"{TOKEN}_2"),
    ]
    assert stored.mark == TOKEN
    assert [ref.only for ref in stored.refs({1, 4})] == [(1,), (0,)]
    files = ("job.sbatch", "job.1.sbatch", "job.2.sbatch")
    texts = [(tmp_path / "ens" / name).read_text() for name in files]
    assert texts == ["part 0\n", "part 1\n", "part 2\n"]
    rundir.remove_scripts(tmp_path / "ens" / "job.sbatch", 1)
    assert [(tmp_path / "ens" / name).exists() for name in files] == [True, False, False]


def test_after_a_refusal_nothing_further_is_submitted_and_what_was_is_known(
    calls, submit_parts, tmp_path
):
    calls.side_effect = [answer(out="7\n"), answer(1, err="sbatch: error: too many\n")]
    with pytest.raises(CommandFailed, match="too many"):
        submit_parts()
    assert events(tmp_path) == ["intent", "submitted", "rejected", "rejected"]
    run = Journal(tmp_path).runs()[0]
    assert (run.job, run.rejected, run.settled) == (JobId("7"), False, True)


def test_each_job_of_a_driver_that_died_is_looked_up_by_its_own_token(
    calls, submit_parts, tmp_path
):
    calls.side_effect = [answer(out="7\n"), KeyboardInterrupt]
    with pytest.raises(KeyboardInterrupt):
        submit_parts()
    journal = Journal(tmp_path)
    assert not journal.runs()[0].settled
    listed = answer(out=f"7|hpcorch:{TOKEN}_0\n8|hpcorch:{TOKEN}_1 mine\n")
    calls.side_effect = [listed, listed]
    (run,) = submit_module.recover(journal.runs(), SLURM, journal)
    assert [part.job for part in run.parts] == [JobId("7"), JobId("8"), None]
    assert run.parts[2].rejected
    assert journal.runs()[0].parts == run.parts
