"""The parsers against every recorded call of PBS."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from hpcorch.build import pbs_version
from hpcorch.errors import CommandFailed, ParseError, SchedulerError, SubmitAmbiguous
from hpcorch.schedulers.base import JobId, JobRef, QueueLimits, Result, TaskStatus
from hpcorch.schedulers.pbs import PbsScheduler
from hpcorch.schedulers.pbs_states import jobs, parse_id, status
from tests.golden.test_golden import HERE as GOLDEN
from tests.schedulers import pbs_transcript
from tests.schedulers.expected_pbs import AMBIGUOUS, BLOCKED, ENDS, REPORTS
from tests.schedulers.pbs_transcript import Transcript

PBS = PbsScheduler()
SHOTS = pbs_transcript.load()
LIMITS = ("qstat-B", "qstat-Q", "server-down-qstat-B")
VERSIONS = ("qsub-version", "oldclient-23.06.06-version", "oldclient-20.0.1-version")


def calls(shot: Transcript, program: str) -> bool:
    return re.search(rf"(^|; |timeout 15 ){program}\b", shot.command) is not None


# Who takes which transcript: the first group that says yes.
GROUPS: dict[str, Callable[[str, Transcript], bool]] = {
    "versions": lambda name, shot: name in VERSIONS,
    "environments": lambda name, shot: name.startswith("env-") and calls(shot, "(cat|ls)"),
    "reports": lambda name, shot: name in REPORTS,
    "ends": lambda name, shot: name in ENDS,
    "limits": lambda name, shot: name in LIMITS,
    "submit": lambda name, shot: calls(shot, "qsub"),
    "find": lambda name, shot: calls(shot, "qselect"),
    "cancel": lambda name, shot: calls(shot, "qdel"),
    "json": lambda name, shot: "-F json" in shot.command,
    "silent": lambda name, shot: "qstat" in shot.command,
}


def group_of(name: str) -> str | None:
    return next((group for group, takes in GROUPS.items() if takes(name, SHOTS[name])), None)


def in_group(wanted: str) -> list[str]:
    return [name for name in SHOTS if group_of(name) == wanted]


def said_of(state: TaskStatus) -> str:
    return f"{state.state}{'' if state.code is None else f' {state.code}'} {state.reason}".strip()


def assert_own_words(message: str, shot: Transcript) -> None:
    first = shot.err.splitlines()[0]
    assert re.sub(r"^q\w+: ", "", first).strip() in message or first.startswith("usage:")
    assert "\n" not in message
    assert "[-a date_time]" not in message


def test_every_transcript_is_used():
    assert [name for name in SHOTS if group_of(name) is None] == []
    assert sorted({*REPORTS, *ENDS, *AMBIGUOUS, *BLOCKED, *LIMITS, *VERSIONS} - set(SHOTS)) == []
    assert all(in_group(group) for group in GROUPS)


@pytest.mark.parametrize("name", in_group("submit"))
def test_qsub_is_accepted_refused_or_unknown(name):
    shot = SHOTS[name]
    if name in AMBIGUOUS:
        with pytest.raises(SubmitAmbiguous):
            PBS.parse_submit(shot.result())
    elif shot.code == 0 or name in BLOCKED:
        job = shot.out.strip()
        assert re.fullmatch(r"\d+(\[\])?\.head", job)
        assert BLOCKED.get(name, job) == job
        assert PBS.parse_submit(shot.result()) == JobId(job)
    else:
        with pytest.raises(CommandFailed, match="qsub refused the job") as raised:
            PBS.parse_submit(shot.result())
        assert_own_words(raised.value.message, shot)


@pytest.mark.parametrize("name", in_group("reports"))
def test_qstat_gives_the_state_of_every_task(name):
    shot = SHOTS[name]
    refs = shot.refs()
    assert refs
    told = []
    for (job, index), state in PBS.parse_queue(shot.result(), refs).items():
        label = str(job).removesuffix(".head").replace("[]", f"[{index}]")
        told.append(f"{label} {said_of(state)}")
    assert "; ".join(told) == REPORTS[name]
    assert PBS.parse_history(shot.result(), refs) == PBS.parse_queue(shot.result(), refs)


@pytest.mark.parametrize("name", in_group("reports"))
def test_a_job_of_which_nothing_is_said_is_never_gone(name):
    shot = SHOTS[name]
    with pytest.raises((CommandFailed, ParseError)):
        PBS.parse_queue(shot.result(), [*shot.refs(), JobRef(JobId("424242.head"), "t", 1)])


def ends(name: str) -> list[TaskStatus | None]:
    # Blank lines stand between the records of different jobs.
    parts = [part for part in SHOTS[name].out.split("\n\n") if "job_state" in part]
    shown = [next(jobs(f"Job Id: 1.head\n{part}")) for part in parts]
    return [status(attributes) for _, attributes in shown]


@pytest.mark.parametrize("name", in_group("ends"))
def test_an_exit_status_is_a_code_a_signal_or_a_word_of_pbs(name):
    told = [f"{end.state} {end.code or ''}".strip() for end in ends(name) if end is not None]
    assert "; ".join(told) == ENDS[name]


@pytest.mark.parametrize("name", [*in_group("silent"), *in_group("json")])
def test_what_is_no_answer_is_an_error(name):
    """Servers that are down or frozen, wrong ids, JSON that leaves jobs out with exit code 0."""
    shot = SHOTS[name]
    asked = [JobRef(JobId(job), "token", 1) for job in ("1.head", "99.head", "100.head")]
    with pytest.raises(SchedulerError) as raised:
        PBS.parse_queue(shot.result(), asked)
    assert isinstance(raised.value, CommandFailed if shot.code else ParseError)
    with pytest.raises(SchedulerError):
        PBS.parse_history(shot.result(), asked)


@pytest.mark.parametrize("name", in_group("find"))
def test_qselect_finds_one_job_none_or_says_why_not(name):
    shot = SHOTS[name]
    if shot.code:
        with pytest.raises(CommandFailed, match="qselect failed") as raised:
            PBS.parse_find(shot.result(), "token")
        assert_own_words(raised.value.message, shot)
        return
    ids = [line for line in shot.out.splitlines() if re.search(r"\d\.|\[\]\.", line)]
    if len(ids) > 1:
        with pytest.raises(ParseError, match="several jobs have the token"):
            PBS.parse_find(shot.result(), "token")
    else:
        assert PBS.parse_find(shot.result(), "token") == (JobId(ids[0]) if ids else None)


@pytest.mark.parametrize("name", in_group("cancel"))
def test_qdel_is_loud_about_jobs_that_are_gone_and_still_ends_the_others(name):
    # What a stop relies on: it looks at the jobs afterwards, not at what qdel says.
    shot = SHOTS[name]
    assert shot.out == ""
    assert bool(shot.err) == (shot.code != 0)


@pytest.mark.parametrize("name", in_group("limits"))
def test_limits_are_those_of_the_server(name):
    limits = PBS.parse_limits([SHOTS[name].result()] * 3)
    size, queue = (10000, "workq") if name == "qstat-B" else (None, "")
    assert (limits.array_size, limits.default_queue) == (size, queue)
    workq = {"workq": QueueLimits()}
    assert {key: limits.queues[key] for key in limits.queues if key == "workq"} == (
        workq if name == "qstat-Q" else {}
    )


@pytest.mark.parametrize("name", VERSIONS)
def test_pbs_is_known_by_its_version(name):
    assert pbs_version(SHOTS[name].out).startswith("pbs_version = 2")


def test_the_wrapper_of_slurm_is_not_taken_for_pbs():
    wrapper = SHOTS["slurm-torque-wrapper-qstat"]
    assert pbs_version(wrapper.out + wrapper.err) == ""
    assert pbs_version("Version: 6.1.1\nCommit: abc\n") == ""


def environments(name: str) -> list[dict[str, str]]:
    parts = re.split(r"^== .*$", SHOTS[name].out, flags=re.MULTILINE)
    found = [dict(re.findall(r"^(\w+)=(.*)$", part, re.MULTILINE)) for part in parts]
    return [variables for variables in found if "PBS_JOBID" in variables]


@pytest.mark.parametrize("name", in_group("environments"))
def test_a_script_knows_its_job_by_the_id_that_qsub_printed(name, tmp_path):
    case = "pbs-database-array" if "array" in name else "pbs-database-1"
    head = (GOLDEN / f"{case}.sh").read_text().partition("export HPCORCH_INDEX")[0]
    script = head + 'printf "%s %s %s\\n" "$HPCORCH_JOB" "$HPCORCH_INDEX" "$HPCORCH_GENERATION"\n'
    for number, variables in enumerate(environments(name)):
        done = subprocess.run(
            ["bash", "-c", script],
            env={**variables, "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        job = variables.get("PBS_ARRAY_ID", variables["PBS_JOBID"])
        assert done.stdout == f"{job} {number} 0\n"
        assert parse_id(variables["PBS_JOBID"]).is_of(parse_id(job))


def test_an_answer_without_its_state_is_unknown():
    report = PBS.parse_queue(
        Result((), 0, "Job Id: 1.head\n", ""), [JobRef(JobId("1.head"), "", 1)]
    )
    assert [str(state.state) for state in report.values()] == ["Unknown"]
