"""The parsers against every recorded call of Slurm."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import pytest

from hpcorch.errors import CommandFailed, ParseError, SubmitAmbiguous
from hpcorch.schedulers.base import (
    JobId,
    JobRef,
    Limits,
    QueueLimits,
    QueueReport,
    Result,
    TaskState,
    TaskStatus,
)
from hpcorch.schedulers.slurm import SlurmScheduler
from hpcorch.schedulers.slurm_states import exit_code, expand_indices, parse_task_id, state
from tests.schedulers import transcript
from tests.schedulers.expected_slurm import (
    ACCEPTED,
    ARRAYS,
    HISTORY,
    ID_LISTS,
    JOB_STATES,
    LIMITS,
    NO_ID,
    QUEUE,
)
from tests.schedulers.transcript import Transcript

SLURM = SlurmScheduler()
SHOTS = transcript.load()
SPEAKER = re.compile(r"^\w+: (error|fatal): ")

SEVERAL_CALLS = (
    "enforce-partition-down",
    "enforce-partition-inactive",
    "scontrol-update-throttle",
    "squeue-array-long-list-r-count",
)
# Who takes which transcript: the first group that says yes.
GROUPS: dict[str, Callable[[str, Transcript], bool]] = {
    "several calls": lambda name, shot: name in SEVERAL_CALLS,
    "json": lambda name, shot: shot.has("--json") and shot.code == 0,
    "submit": lambda name, shot: shot.program == "sbatch",
    "ids": lambda name, shot: name in ID_LISTS,
    "queue failed": lambda name, shot: shot.program == "squeue" and shot.code != 0,
    "queue": lambda name, shot: shot.program == "squeue",
    "history failed": lambda name, shot: shot.program == "sacct" and shot.code != 0,
    "history": lambda name, shot: shot.program == "sacct",
    "cancel": lambda name, shot: shot.program == "scancel",
    "limits": lambda name, shot: shot.program == "sinfo" or name in LIMITS,
    "jobs": lambda name, shot: "show job" in shot.command and shot.code == 0,
    "jobs failed": lambda name, shot: "show job" in shot.command,
}


def group_of(name: str) -> str | None:
    return next((group for group, takes in GROUPS.items() if takes(name, SHOTS[name])), None)


def in_group(wanted: str) -> list[str]:
    return [name for name in SHOTS if group_of(name) == wanted]


def refs(out: str = "") -> list[JobRef]:
    """Every job in an answer of ours with as many tasks as it tells, and one that nobody knows."""
    sizes = {"424242": 1}
    for line in out.splitlines():
        job, index = re.findall(r"^(\d+)(?:(?:_\[?|\|)([\d,-]+)(?=[%|:\]]))?", line)[0]
        told = [int(number) for number in re.findall(r"\d+", index)]
        least = sizes.get(job, ARRAYS.get(job, 1))
        sizes[job] = max([least, *(number + 1 for number in told)])
    return [JobRef(JobId(job), "token", size) for job, size in sizes.items()]


def described(report: QueueReport, asked: Sequence[JobRef]) -> str:
    """Return what a report says in one line; `37_*` stands for all of an array."""
    parts = []
    for ref in sorted(asked, key=lambda ref: int(ref.id.job)):
        said = {index: said_of(report[job, index]) for job, index in report if job == ref.id}
        if len(said) == ref.elements and len(set(said.values())) == 1:
            parts.append(f"{ref.id}{'_*' if ref.elements > 1 else ''} {said[0]}")
        else:
            parts += [f"{ref.id}_{index} {text}" for index, text in sorted(said.items())]
    return "; ".join(parts)


def said_of(status: TaskStatus) -> str:
    code = "" if status.code is None else f" {status.code}"
    return f"{status.state}{code} {status.reason}".strip()


def test_every_transcript_is_used():
    assert [name for name in SHOTS if group_of(name) is None] == []


def test_no_expectation_lacks_its_transcript():
    named = {*ACCEPTED, *NO_ID, *ID_LISTS, *QUEUE, *HISTORY, *LIMITS, *SEVERAL_CALLS}
    assert sorted(named - set(SHOTS)) == []


def test_a_transcript_is_read_in_full():
    shot = SHOTS["mungedown-scancel"]
    assert (shot.command, shot.code, shot.seconds, shot.out) == ("scancel 3", 239, 2.02, "")
    assert len(shot.err.splitlines()) == 4


@pytest.mark.parametrize("name", in_group("submit"))
def test_sbatch_is_accepted_refused_or_unknown(name):
    shot = SHOTS[name]
    result = transcript.as_sbatch(shot)
    if name in ACCEPTED:
        job, _, cluster = ACCEPTED[name].partition(";")
        assert SLURM.parse_submit(result) == JobId(job, cluster)
    elif name in NO_ID:
        with pytest.raises(SubmitAmbiguous, match="printed no job id"):
            SLURM.parse_submit(result)
    else:
        assert shot.code != 0
        with pytest.raises(CommandFailed) as raised:
            SLURM.parse_submit(result)
        assert_own_words(raised.value.message, shot)


def expected_of(name: str, table: Mapping[str, str]) -> str:
    """Return what is expected; a job that only leaves the queue is not worth a line of a table."""
    if name not in table:
        assert [line for line in SHOTS[name].out.splitlines() if "JOBID" not in line] == []
    return table.get(name, "")


def assert_own_words(message: str, shot: Transcript) -> None:
    said = [SPEAKER.sub("", line) for line in shot.err.split("\n") if "--help" not in line]
    assert "".join(said)
    for words in said:
        assert words.strip() in message
    assert "\n" not in message


@pytest.mark.parametrize("name", in_group("queue"))
def test_squeue_gives_the_state_of_every_task(name):
    result = transcript.as_squeue(SHOTS[name])
    asked = refs(result.out)
    assert described(SLURM.parse_queue(result, asked), asked) == expected_of(name, QUEUE)


@pytest.mark.parametrize("name", in_group("queue failed"))
def test_squeue_that_fails_says_why_unless_the_job_is_only_gone(name):
    shot = SHOTS[name]
    if "Invalid job id specified" in shot.err:
        assert SLURM.parse_queue(shot.result(), refs()) == {}
        return
    with pytest.raises(CommandFailed, match="squeue failed") as raised:
        SLURM.parse_queue(shot.result(), refs())
    assert_own_words(raised.value.message, shot)


@pytest.mark.parametrize("name", in_group("ids"))
def test_every_written_form_of_an_array_id_is_understood(name):
    ids = [row["i"] for row in transcript.squeue_rows(SHOTS[name]) if "i" in row]
    assert [parse_task_id(text.split(" ")[0]) for text in ids] == ID_LISTS[name]


@pytest.mark.parametrize("name", [name for name in ID_LISTS if "squeue-array" in name])
def test_a_folded_line_reaches_exactly_its_tasks_and_a_cut_one_all(name):
    result = transcript.as_squeue(SHOTS[name])
    job = result.out.partition("|")[0]
    told = [indices for found, indices in ID_LISTS[name] if found == job and indices]
    report = SLURM.parse_queue(result, [JobRef(JobId(job), "token", 1000)])
    assert {index for _, index in report} == set(told[0] if told else range(1000))


@pytest.mark.parametrize("name", in_group("history"))
def test_sacct_gives_states_and_exit_codes(name):
    result = transcript.as_sacct(SHOTS[name])
    asked = refs(result.out)
    assert described(SLURM.parse_history(result, asked), asked) == expected_of(name, HISTORY)


@pytest.mark.parametrize("name", in_group("history failed"))
def test_sacct_that_fails_says_why_unless_accounting_is_off(name):
    shot = SHOTS[name]
    if "accounting storage is disabled" in shot.err:
        assert SLURM.parse_history(shot.result(), refs()) == {}
        return
    with pytest.raises(CommandFailed, match="sacct failed") as raised:
        SLURM.parse_history(shot.result(), refs())
    assert_own_words(raised.value.message, shot)


@pytest.mark.parametrize("name", in_group("json"))
def test_json_is_no_answer_to_what_was_asked(name):
    # It comes with exit code 0 even when the controller is down.
    parse = SLURM.parse_queue if SHOTS[name].program == "squeue" else SLURM.parse_history
    with pytest.raises(ParseError, match="unexpected line"):
        parse(SHOTS[name].result(), refs())


@pytest.mark.parametrize("name", in_group("cancel"))
def test_scancel_is_silent_about_jobs_that_are_gone_and_loud_about_errors(name):
    # What a stop relies on: it may be repeated at any time.
    shot = SHOTS[name]
    loud = {"scancel-bad-signal", "scancel-none", "scancel-nonnumeric", "scancel-step"}
    down = {"ctldown-scancel": 8, "mungedown-scancel": 239}
    assert shot.out == ""
    assert shot.code == (1 if name in loud else down.get(name, 0))
    assert bool(shot.err) == (shot.code != 0 or shot.has("-v"))


@pytest.mark.parametrize("name", in_group("limits"))
def test_limits_are_those_of_the_cluster(name):
    shot = SHOTS[name]
    nothing = SHOTS["ctldown-sinfo"].result()
    is_sinfo = shot.program == "sinfo"
    if not is_sinfo:
        limits = SLURM.parse_limits([shot.result(), nothing])
    else:
        answer = transcript.as_sinfo(shot) if shot.code == 0 else shot.result()
        limits = SLURM.parse_limits([SHOTS["scontrol-show-config"].result(), answer])
    queues = {
        "debug": QueueLimits(3, None),
        "short": QueueLimits(3, 300),
    }
    told = LIMITS[name]
    assert limits.array_size == (1001 if is_sinfo or told == "array" else None)
    assert limits.queues == (queues if told == "queues" else {})
    assert limits.default_queue == ("debug" if told == "queues" else "")


def test_limits_agree_with_what_scontrol_says_of_partitions():
    told = dict(re.findall(r"PartitionName=(\S+).*?MaxTime=(\S+)", show("partition"), re.DOTALL))
    sinfo = transcript.as_sinfo(SHOTS["sinfo-partitions-format"])
    limits = SLURM.parse_limits([SHOTS["scontrol-show-config"].result(), sinfo])
    assert told == {"debug": "UNLIMITED", "short": "00:05:00"}
    assert {name: limit.walltime_seconds for name, limit in limits.queues.items()} == {
        "debug": None,
        "short": 300,
    }


def show(what: str) -> str:
    return SHOTS[f"scontrol-show-{what}"].out


def jobs_shown(shot: Transcript) -> list[tuple[str, str, str]]:
    """Return job id, state and exit code of each job that scontrol shows."""
    # Before the newline of the last field `head -1` has cut some.
    pattern = r"^JobId=(\d+)(?:.*?JobState=(\S+).*?ExitCode=(\S+))?"
    return re.findall(pattern, shot.out, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", in_group("jobs"))
def test_states_and_exit_codes_of_scontrol_are_known_too(name):
    shown = jobs_shown(SHOTS[name])
    assert shown
    for _, native, code in shown:
        if native:
            assert state(native) is not TaskState.UNKNOWN
            assert exit_code(code) is not None
    for text in re.findall(r"ArrayTaskId=([\d,:-]+)(?:%\d+)?\s", SHOTS[name].out):
        assert expand_indices(text)
    if name in JOB_STATES:
        assert [str(state(native)) for _, native, _ in shown] == JOB_STATES[name].split()


@pytest.mark.parametrize("name", in_group("jobs failed"))
def test_a_failed_scontrol_leaves_all_limits_open(name):
    result = SHOTS[name].result()
    assert result.code == 1
    assert result.err or result.out
    assert SLURM.parse_limits([result, result]) == Limits()


def test_a_partition_that_is_down_accepts_jobs_and_says_why_they_wait():
    shot = SHOTS["enforce-partition-down"]
    submitted, waiting = shot.out.splitlines()
    assert SLURM.parse_submit(Result((), 0, submitted, "")) == JobId("3")
    native, reason = waiting.split()
    assert state(native) is TaskState.QUEUED
    assert reason == "PartitionDown"


def test_a_partition_that_is_inactive_refuses_jobs():
    shot = SHOTS["enforce-partition-inactive"]
    # The recorded exit code is that of the call after sbatch.
    refused = Result((), 1, shot.out, shot.err)
    with pytest.raises(CommandFailed, match="Required partition not available"):
        SLURM.parse_submit(refused)


def test_a_changed_throttle_does_not_change_the_tasks():
    job, indices = parse_task_id(SHOTS["scontrol-update-throttle"].out.strip())
    assert (job, indices) == ("2", tuple(range(0, 99, 2)))


def test_squeue_tells_all_tasks_one_by_one_when_asked_to():
    told = expand_indices(
        SHOTS["squeue-array-long-list-bitstr0"].out.strip().removeprefix("1_[").removesuffix("]")
    )
    assert len(told) == int(SHOTS["squeue-array-long-list-r-count"].out) == 30


@pytest.mark.parametrize("words", ["Unable to contact slurm controller", "Protocol authentication"])
def test_outages_are_never_taken_for_a_job_that_has_ended(words):
    for name, shot in SHOTS.items():
        if words in shot.err and shot.program == "squeue" and shot.code:
            with pytest.raises(CommandFailed, match=words):
                SLURM.parse_queue(shot.result(), refs("3|N/A|RUNNING|None"))
        if words in shot.err and shot.program == "sbatch":
            assert group_of(name) == "submit"
            assert name not in ACCEPTED
