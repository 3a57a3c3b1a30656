"""Single words of Slurm: states, exit codes, ids and times in all the forms that are known."""

from __future__ import annotations

import pytest

from hpcorch.schedulers.base import JobId, JobRef, Result, TaskState
from hpcorch.schedulers.slurm import SlurmScheduler
from hpcorch.schedulers.slurm_states import exit_code, is_part, parse_task_id, seconds, state

DOCUMENTED = {
    TaskState.QUEUED: (
        "CONFIGURING EXPEDITING PENDING POWER_UP_NODE RECONFIG_FAIL REQUEUED REQUEUE_FED "
        "REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT"
    ),
    TaskState.RUNNING: (
        "COMPLETING RESIZING RUNNING SIGNALING STAGE_OUT STOPPED SUSPENDED UPDATE_DB"
    ),
    TaskState.COMPLETED: "COMPLETED",
    TaskState.CANCELLED: "CANCELLED PREEMPTED REVOKED",
    TaskState.FAILED: "BOOT_FAIL FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY",
    TaskState.TIMED_OUT: "DEADLINE TIMEOUT",
}


@pytest.mark.parametrize(
    ("native", "ours"),
    [(word, ours) for ours, words in DOCUMENTED.items() for word in words.split()],
)
def test_every_documented_state_is_known(native, ours):
    assert state(native) is ours


@pytest.mark.parametrize(
    "native", ["", " ", "+", "C+", "S+", "DREAMING", "Unknown", "running", "#"]
)
def test_an_invented_or_ambiguous_state_is_unknown_and_no_error(native):
    assert state(native) is TaskState.UNKNOWN
    answer = Result(("squeue",), 0, f"7|N/A|{native}|None\n", "")
    report = SlurmScheduler().parse_queue(answer, [JobRef(JobId("7"), "token", 1)])
    assert report[JobId("7"), 0].native == native


@pytest.mark.parametrize(
    ("native", "ours"),
    [
        ("CANCELLED by 1000", TaskState.CANCELLED),
        ("CANCELLED+", TaskState.CANCELLED),
        ("OUT_OF_ME+", TaskState.FAILED),
        ("COMPLETI+", TaskState.RUNNING),
        ("REQUEUE+", TaskState.QUEUED),
        ("NODE_FA+", TaskState.FAILED),
    ],
)
def test_states_that_sacct_has_cut_or_lengthened_are_known(native, ours):
    assert state(native) is ours


@pytest.mark.parametrize(
    ("text", "code"),
    [("0:0", 0), ("3:0", 3), ("0:9", 137), ("0:125", 253), ("", None), ("3", None), ("a:b", None)],
)
def test_exit_codes_are_those_of_a_shell(text, code):
    assert exit_code(text) == code


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("123", ("123", None)),
        ("123_4", ("123", (4,))),
        ("123_[3-9%2]", ("123", tuple(range(3, 10)))),
        ("123_[1,3,5-9:2]", ("123", (1, 3, 5, 7, 9))),
        ("123_[7]", ("123", (7,))),
        ("123+0", ("123", None)),
        ("123.6", ("123", None)),
        ("123.batch", ("123", None)),
        ("123_4.extern", ("123", (4,))),
        ("123+1.0", ("123", None)),
        ("123;east", ("123", None)),
        ("123_4;east-2.hpc", ("123", (4,))),
        ("123_[1,4,...]", ("123", None)),
        ("123_[1,4...]", ("123", None)),
        ("123_[1,4,", ("123", None)),
        ("123_[1", ("123", None)),
    ],
)
def test_ids_are_read_in_all_their_forms(text, task):
    assert parse_task_id(text) == task


@pytest.mark.parametrize("text", ["", "x", "-1", "1_", "1_[]", "1_x", "1_[2-]", "1 ", "\u0661"])
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError, match="is no"):
        parse_task_id(text)


def test_steps_and_further_components_are_told_from_jobs():
    jobs = ("1", "1_2", "1+0", "1;a.b+1", "1_[1,4...]")
    parts = ("1.0", "1_2.batch", "1+1", "1+10", "1+0.batch")
    assert [is_part(text) for text in jobs + parts] == [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    "text", ["", "infinite", "UNLIMITED", "n/a", "NOT_SET", "1:2:3:4", "²", "5x"]
)
def test_what_is_no_time_limit_is_no_limit(text):
    assert seconds(text) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("5", 300),
        ("5:00", 300),
        ("0:30", 30),
        ("1:00:00", 3600),
        ("1-00:00:00", 86400),
        ("1-6", 108000),
        ("1-6:30", 109800),
        ("100:00:01", 360001),
    ],
)
def test_time_limits_are_read_as_sbatch_reads_them(text, wanted):
    assert seconds(text) == wanted
