"""What Slurm is known to print, but could not be made to print when transcripts were recorded."""

from __future__ import annotations

import pytest

from hpcorch.errors import CommandFailed, InputError, ParseError, SubmitAmbiguous
from hpcorch.schedulers.base import (
    JobId,
    JobRef,
    Limits,
    QueueLimits,
    QueueReport,
    Resources,
    Result,
    TaskState,
)
from hpcorch.schedulers.slurm import SlurmScheduler

SLURM = SlurmScheduler()
FAILED_SUBMISSION = "sbatch: error: Batch job submission failed: "


def answer(out: str = "", err: str = "", code: int = 0) -> Result:
    return Result(("slurm",), code, out, err)


def array(job: str, elements: int, cluster: str = "") -> JobRef:
    return JobRef(JobId(job, cluster), "token", elements)


def natives(report: QueueReport) -> dict[int, str]:
    return {index: status.native for (_, index), status in sorted(report.items(), key=by_index)}


def by_index(item: tuple[tuple[JobId, int], object]) -> int:
    return item[0][1]


@pytest.mark.parametrize(
    "words",
    [
        "Socket timed out on send/recv operation",
        "Unable to contact slurm controller (send failure)",
        "Unable to contact slurm controller (receive failure)",
        "Unable to contact slurm controller (shutdown failure)",
        "Communication connection failure",
        "Message receive failure",
        "Unexpected message received",
        "Zero Bytes were transmitted or received",
        "Received zero length message",
        "Header lengths are longer than data received",
        "Failed to send entire message",
        "Insane message length",
        "Connection reset by peer",
        "Transport endpoint is not connected",
    ],
)
def test_whoever_loses_contact_cannot_know_whether_the_job_was_accepted(words):
    with pytest.raises(SubmitAmbiguous) as raised:
        SLURM.parse_submit(answer(err=f"{FAILED_SUBMISSION}{words}\n", code=1))
    assert raised.value.message == f"sbatch broke off: Batch job submission failed: {words}"


def test_a_controller_that_could_not_be_reached_has_accepted_nothing():
    words = "Unable to contact slurm controller (connect failure)"
    with pytest.raises(CommandFailed, match="connect failure"):
        SLURM.parse_submit(answer(err=f"{FAILED_SUBMISSION}{words}\n", code=1))


def test_an_sbatch_that_was_killed_leaves_it_unknown_whether_the_job_was_accepted():
    with pytest.raises(SubmitAmbiguous, match="exit code -9"):
        SLURM.parse_submit(answer(code=-9))


@pytest.mark.parametrize(
    ("out", "job"),
    [
        ("12\n", JobId("12")),
        ("12;east\n", JobId("12", "east")),
        ("12;east-2.hpc\n", JobId("12", "east-2.hpc")),
        ("Welcome!\nyou have 3 hours left\n12\n", JobId("12")),
        ("Submitted batch job 12\n", JobId("12")),
        ("Submitted batch job 12 on cluster east\n", JobId("12", "east")),
    ],
)
def test_the_last_line_of_sbatch_is_the_job(out, job):
    assert SLURM.parse_submit(answer(out)) == job


def test_an_exit_code_without_a_word_is_that_of_the_job_that_sbatch_waited_for():
    assert SLURM.parse_submit(answer("16\n", code=3)) == JobId("16")


def test_a_number_beside_an_error_may_be_a_job_or_not():
    with pytest.raises(SubmitAmbiguous, match="Invalid qos"):
        SLURM.parse_submit(answer("quota left:\n16\n", "sbatch: error: Invalid qos\n", 1))


@pytest.mark.parametrize("out", ["", "\n", "12 13\n", "job 12\n", "12\nbye\n", "-1\n", "12;\n"])
def test_what_is_no_job_id_is_not_taken_for_one(out):
    with pytest.raises(SubmitAmbiguous, match="printed no job id"):
        SLURM.parse_submit(answer(out))


def test_a_token_is_found_in_the_comments_with_its_cluster():
    out = "CLUSTER: east\n3|(null)\n4|hpcorch:other|x\n\nCLUSTER: west\n5|hpcorch:abc\n"
    assert SLURM.parse_find(answer(out), "abc") == JobId("5", "west")
    assert SLURM.parse_find(answer("5|hpcorch:abc\n"), "abc") == JobId("5")
    assert SLURM.parse_find(answer(out), "other") is None
    assert SLURM.parse_find(answer(""), "abc") is None


def test_a_search_that_failed_is_not_one_that_found_nothing():
    with pytest.raises(CommandFailed, match="timed out"):
        SLURM.parse_find(answer(err="slurm_load_jobs error: Socket timed out\n", code=1), "abc")


@pytest.mark.parametrize("first", [True, False])
def test_the_line_of_cancelled_tasks_does_not_hide_those_that_have_their_own(first):
    rest = ["7|N/A|CANCELLED|None"]
    own = ["7|0|COMPLETED|None", "7|1|RUNNING|None"]
    lines = rest + own if first else own + rest
    report = SLURM.parse_queue(answer("\n".join(lines)), [array("7", 4)])
    assert natives(report) == {0: "COMPLETED", 1: "RUNNING", 2: "CANCELLED", 3: "CANCELLED"}


def test_a_folded_line_with_a_list_reaches_only_its_tasks():
    report = SLURM.parse_queue(answer("7|2-3%1|CANCELLED|None\n"), [array("7", 6)])
    assert natives(report) == {2: "CANCELLED", 3: "CANCELLED"}


def test_a_list_that_squeue_has_cut_stands_for_all_tasks_without_their_own_line():
    out = "7|0,2,...|CANCELLED|None\n7|1|RUNNING|None\n"
    report = SLURM.parse_queue(answer(out), [array("7", 4)])
    assert natives(report) == {0: "CANCELLED", 1: "RUNNING", 2: "CANCELLED", 3: "CANCELLED"}


def test_lists_that_sacct_has_cut_in_the_middle_of_a_number_are_no_error():
    out = "7_[0,2,4...]|CANCELLED by 0|0:0\n7_1|COMPLETED|0:0\n"
    report = SLURM.parse_history(answer(out), [array("7", 3)])
    assert natives(report) == {0: "CANCELLED by 0", 1: "COMPLETED", 2: "CANCELLED by 0"}


def test_slurm_is_asked_not_to_cut_lists():
    jobs = [array("7", 3)]
    for command in (SLURM.queue_command(jobs), SLURM.history_command(jobs)):
        assert command is not None
        assert command.env == {"SLURM_BITSTR_LEN": "0"}


def test_a_task_keeps_its_own_line_in_sacct_whatever_the_order():
    for rest in ("7_[0-2]", "7_[1]", "7"):
        lines = [f"{rest}|CANCELLED by 0|0:0", "7_1|FAILED|3:0"]
        for out in ("\n".join(lines), "\n".join(reversed(lines))):
            report = SLURM.parse_history(answer(out), [array("7", 3)])
            assert natives(report)[1] == "FAILED"
            assert len(report) == (1 if rest == "7_[1]" else 3)


def test_a_gang_is_one_job_whose_state_all_its_tasks_share():
    gang = JobRef(JobId("7"), "token", 3, gang=True)
    assert natives(SLURM.parse_queue(answer("7|N/A|RUNNING|None\n"), [gang])) == dict.fromkeys(
        range(3), "RUNNING"
    )
    assert natives(SLURM.parse_history(answer("7|TIMEOUT|0:0\n"), [gang])) == dict.fromkeys(
        range(3), "TIMEOUT"
    )


def test_two_clusters_may_use_the_same_number():
    out = "CLUSTER: east\n7|N/A|RUNNING|None\n\nCLUSTER: west\n7|N/A|PENDING|Priority\n"
    report = SLURM.parse_queue(answer(out), [array("7", 1, "west"), array("7", 1, "east")])
    assert report[JobId("7", "east"), 0].state is TaskState.RUNNING
    assert report[JobId("7", "west"), 0].reason == "Priority"


def test_jobs_of_others_are_left_out():
    queue = SLURM.parse_queue(answer("8|N/A|RUNNING|None\n77|N/A|RUNNING|None\n"), [array("7", 1)])
    history = SLURM.parse_history(answer("8|FAILED|1:0\n"), [array("7", 1)])
    assert queue == history == {}


def test_reasons_keep_their_commas_and_bars():
    reason = "Nodes required for job are DOWN, DRAINED or reserved|maybe"
    report = SLURM.parse_queue(answer(f"7|N/A|PENDING|{reason}\n"), [array("7", 1)])
    assert report[JobId("7"), 0].reason == reason


def test_a_task_that_still_runs_has_no_exit_code():
    report = SLURM.parse_history(answer("7|RUNNING|0:0\n8|FAILED|3:0\n"), [*map(single, "78")])
    assert report[JobId("7"), 0].code is None
    assert report[JobId("8"), 0].code == 3


def single(job: str) -> JobRef:
    return array(job, 1)


def test_an_accounting_that_is_down_is_not_one_that_is_off():
    err = (
        "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection "
        "to host:10.77.0.1:6819: Connection refused\n"
        "sacct: error: Sending PersistInit msg: Connection refused\n"
        "sacct: error: Problem talking to the database: Connection refused\n"
    )
    with pytest.raises(CommandFailed, match="Problem talking to the database"):
        SLURM.parse_history(answer(err=err, code=1), [single("7")])


@pytest.mark.parametrize("line", ["7", "7|0|RUNNING", "slurm_load_jobs error"])
def test_a_line_of_squeue_that_makes_no_sense_is_an_error(line):
    with pytest.raises(ParseError, match="squeue"):
        SLURM.parse_queue(answer(f"{line}\n"), [single("7")])


@pytest.mark.parametrize(
    "line", ["7", "7|RUNNING", "x|RUNNING|0:0", "7_[a]|RUNNING|0:0", "1|2|3|4"]
)
def test_a_line_of_sacct_that_makes_no_sense_is_an_error(line):
    with pytest.raises(ParseError, match="sacct"):
        SLURM.parse_history(answer(f"{line}\n"), [single("7")])


PARTITIONS = """\
debug*|infinite|2|1-infinite
debug*|infinite|1|1-infinite
short|5:00|3|1-infinite
long|1-00:00:00|40|1-4
single|2-12:30:00|8|1
huge|365-00:00:00|2K|1-infinite
odd|n/a|3|1-infinite
"""


def test_every_line_of_a_partition_adds_its_nodes_up_to_the_limit_of_one_job():
    config = answer("ConfigX = 1\nMaxArraySize            = 1001\nMaxY = 2\n")
    limits = SLURM.parse_limits([config, answer(PARTITIONS)])
    assert limits == Limits(
        1001,
        {
            "debug": QueueLimits(3, None),
            "short": QueueLimits(3, 300),
            "long": QueueLimits(4, 86400),
            "single": QueueLimits(1, 217800),
            "huge": QueueLimits(None, 31536000),
            "odd": QueueLimits(3, None),
        },
        "debug",
    )


def test_hidden_partitions_count_and_numbers_are_not_shortened():
    argv = SLURM.limits_commands()[1].argv
    assert {"--all", "--noconvert"} < set(argv)


# https://slurm.schedmd.com/job_state_codes.html, and those that older versions had besides.
def test_the_message_of_a_failure_holds_its_causes_without_the_hint_how_to_get_help():
    err = (
        "sbatch: error: invalid partition specified: nosuch\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
        'Try "sbatch --help" for more information\n'
    )
    with pytest.raises(CommandFailed) as raised:
        SLURM.parse_submit(answer(err=err, code=1))
    assert raised.value.message == (
        "sbatch refused the job: invalid partition specified: nosuch; "
        "Batch job submission failed: Invalid partition name specified"
    )


def test_one_call_asks_for_all_jobs_and_a_lone_one_is_named_twice():
    assert "7,7" in SLURM.queue_command([single("7")]).argv
    assert "7,8" in SLURM.queue_command([single("7"), single("8")]).argv
    command = SLURM.history_command([single("7"), single("8")])
    assert command is not None
    assert "7,8" in command.argv


@pytest.mark.parametrize("key", ["time", "t"])
def test_what_is_asked_for_twice_is_refused(key):
    twice = Resources("db", "tok", walltime="1:00:00", extra=((key, "2:00:00"),))
    with pytest.raises(InputError, match="batch_args of db holds 'time': the job asks for '1:00:0"):
        SlurmScheduler().directives(twice)
    once = Resources("db", "tok", extra=((key, "2:00:00"),))
    assert "--time=2:00:00" in SlurmScheduler().directives(once)
    with pytest.raises(InputError, match="batch_args holds 'array': hpcorch sets it itself"):
        SlurmScheduler().directives(Resources("db", "tok", extra=(("a", "0-4"),)))
