"""Tracking: one query for all, no more often than allowed, and no state out of thin air."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hpcorch.errors import CommandFailed, CommandTimeout
from hpcorch.journal import Part, Run
from hpcorch.schedulers.base import JobId, Result, TaskState
from hpcorch.schedulers.local import LocalScheduler
from hpcorch.snapshots import RunSnapshot, TaskSnapshot, fold
from hpcorch.track import Tracker


class Eager(LocalScheduler):
    """The local scheduler, but it may be asked at any time."""

    poll_floor = 0.0


class Patient(LocalScheduler):
    """The local scheduler, but it waits for records as on a network file system."""

    poll_floor = 0.0
    record_grace = 3600.0


@pytest.fixture
def queue(mocker):
    """What the queue answers to the next questions."""
    return mocker.patch("hpcorch.shell.run", return_value=Result((), 0, "", ""))


@pytest.fixture
def run(tmp_path):
    def make(name="m", elements=1, job: str | None = "7", rejected=False, **facts):
        (tmp_path / name / "exit").mkdir(parents=True, exist_ok=True)
        return Run(
            entity=name,
            kind=facts.pop("kind", "model"),
            directory=str(tmp_path / name),
            elements=elements,
            run_id=0,
            token=name,
            scheduler="local",
            submitted_at=0.0,
            parts=(Part(name, elements, JobId(job) if job else None, rejected=rejected),),
            **facts,
        )

    return make


@pytest.fixture
def record(tmp_path):
    def write(name="m", index=0, job="7", code=0, signal=None, reason=""):
        facts = {"index": index, "job": job, "code": code, "signal": signal}
        text = json.dumps({**facts, "elapsed": 1.0, "reason": reason})
        (tmp_path / name / "exit").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "exit" / str(index)).write_text(text)

    return write


def says(queue, *lines, code=0):
    queue.return_value = Result((), code, "".join(line + "\n" for line in lines), "oh no")


def state(tracker, *runs):
    return [shot.state for shot in tracker.snapshot(runs)]


def test_a_listed_task_runs_and_a_supervised_one_is_queued(queue, run):
    says(queue, "7_0 RUNNING", "7 SUPERVISOR")
    shot = Tracker(Eager("t")).snapshot([run(elements=2)])[0]
    assert [task.state for task in shot.tasks] == [TaskState.RUNNING, TaskState.QUEUED]
    assert shot.state is TaskState.RUNNING


@pytest.mark.parametrize("failure", ["code", CommandTimeout("slow"), CommandFailed("gone"), "junk"])
def test_when_the_queue_fails_the_last_state_is_kept_and_called_stale(queue, run, failure):
    tracker = Tracker(Eager("t"))
    says(queue, "7_0 RUNNING")
    assert state(tracker, run()) == [TaskState.RUNNING]
    if failure == "code":
        says(queue, code=1)
    elif failure == "junk":
        says(queue, "what is this")
    else:
        queue.side_effect = failure
    shot = tracker.snapshot([run()])[0]
    assert shot.state is TaskState.RUNNING
    assert shot.stale
    queue.side_effect = None
    says(queue, "7_0 RUNNING")
    assert tracker.snapshot([run()])[0].stale == ""


def test_when_the_queue_fails_from_the_start_the_state_is_unknown(queue, run):
    says(queue, code=1)
    shot = Tracker(Eager("t")).snapshot([run()])[0]
    assert shot.state is TaskState.UNKNOWN
    assert not shot.state.terminal
    assert "oh no" in shot.stale


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"code": 0}, TaskState.COMPLETED),
        ({"code": 3}, TaskState.FAILED),
        ({"code": 137}, TaskState.FAILED),
        ({"code": 143, "signal": "TERM"}, TaskState.CANCELLED),
    ],
)
def test_a_task_that_left_the_queue_is_what_its_record_says(queue, run, record, facts, expected):
    tracker = Tracker(Eager("t"))
    says(queue, "7_0 RUNNING")
    assert state(tracker, run()) == [TaskState.RUNNING]
    record(**facts)
    says(queue)
    assert state(tracker, run()) == [expected]


def test_a_task_that_left_the_queue_without_a_record_is_lost(queue, run):
    tracker = Tracker(Eager("t"))
    says(queue)
    shot = tracker.snapshot([run()])[0]
    assert shot.state is TaskState.LOST
    assert "no exit record" in shot.reason
    says(queue, "7_0 RUNNING")
    assert state(tracker, run()) == [TaskState.LOST]


def test_a_record_may_be_late(queue, run, record):
    tracker = Tracker(Patient("t"))
    says(queue, "7_0 RUNNING")
    assert state(tracker, run()) == [TaskState.RUNNING]
    says(queue)
    assert state(tracker, run()) == [TaskState.RUNNING]
    record(code=0)
    assert state(tracker, run()) == [TaskState.COMPLETED]


def test_a_record_of_another_job_does_not_count(queue, run, record):
    record(job="6")
    says(queue, "7_0 RUNNING")
    assert state(Tracker(Eager("t")), run()) == [TaskState.RUNNING]


def test_an_ended_service_was_cancelled_and_not_completed(queue, run, record):
    record(code=0)
    assert state(Tracker(Eager("t")), run(kind="database")) == [TaskState.CANCELLED]


@pytest.mark.parametrize(
    ("stopped", "state"), [(True, TaskState.CANCELLED), (False, TaskState.FAILED)]
)
def test_a_shard_that_saw_anothers_end_first_was_stopped_like_it(
    queue, run, record, stopped, state
):
    """Signals reach the tasks of a job one after the other."""
    record("db", code=143, signal="TERM")
    record("db", index=1, code=1, reason="shard 0 ended before the database was ready")
    database = run("db", elements=2, kind="database", stopped=stopped)
    (shot,) = Tracker(Eager("/tool")).snapshot([database])
    assert shot.tasks[1].state is state


def test_a_wanted_stop_makes_being_killed_no_failure(queue, run, record):
    record(code=137)
    assert state(Tracker(Eager("t")), run(stopped=True)) == [TaskState.CANCELLED]
    assert state(Tracker(Eager("t")), run()) == [TaskState.FAILED]


def test_many_runs_are_asked_about_at_once(queue, run):
    says(queue, "1_0 RUNNING", "2_0 RUNNING", "3_0 RUNNING")
    runs = [run(f"m{number}", job=str(number)) for number in (1, 2, 3)]
    assert state(Tracker(Eager("t")), *runs) == [TaskState.RUNNING] * 3
    assert queue.call_count == 1


def test_the_queue_is_not_asked_more_often_than_it_allows(queue, run, mocker):
    clock = mocker.patch("hpcorch.track.time.monotonic", return_value=1000.0)
    tracker = Tracker(LocalScheduler("t"))
    says(queue, "7_0 RUNNING")
    for tenth in range(11):
        clock.return_value = 1000.0 + tenth * 0.1 + 1e-6 * tenth
        assert state(tracker, run()) == [TaskState.RUNNING]
    # One second with a floor of 0.2 s.
    assert queue.call_count == 6


def test_what_has_ended_is_not_asked_about(queue, run, record):
    record(code=0)
    tracker = Tracker(Eager("t"))
    for _ in range(3):
        assert state(tracker, run()) == [TaskState.COMPLETED]
    assert queue.call_count == 0


def test_records_are_seen_between_two_questions(queue, run, record, mocker):
    mocker.patch("hpcorch.track.time.monotonic", return_value=1000.0)
    tracker = Tracker(LocalScheduler("t"))
    says(queue, "7_0 RUNNING")
    assert state(tracker, run()) == [TaskState.RUNNING]
    record(code=0)
    assert state(tracker, run()) == [TaskState.COMPLETED]
    assert queue.call_count == 1


def test_a_run_whose_driver_died_before_it_knew_the_job_tells_that_itself(queue, run, tmp_path):
    found = run(job=None)
    says(queue, "7_0 RUNNING")
    tracker = Tracker(Eager("t"))
    assert state(tracker, found) == [TaskState.UNKNOWN]
    (tmp_path / "m/job.json").write_text('{"job":"6","token":"another"}')
    assert state(tracker, found) == [TaskState.UNKNOWN]
    (tmp_path / "m/job.json").write_text('{"job":"7","token":"m"}')
    (shot,) = tracker.snapshot([found])
    assert (shot.state, shot.run.job) == (TaskState.RUNNING, JobId("7"))


def test_a_run_without_a_job_is_refused_or_unfinished(queue, run):
    shots = Tracker(Eager("t")).snapshot([run("a", job=None), run("b", job=None, rejected=True)])
    assert [shot.state for shot in shots] == [TaskState.UNKNOWN, TaskState.FAILED]
    assert "unfinished" in shots[0].reason
    assert "refused" in shots[1].reason


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("Completed Completed", "Completed"),
        ("Completed Cancelled", "Cancelled"),
        ("Cancelled TimedOut", "TimedOut"),
        ("TimedOut Lost", "Lost"),
        ("Lost Failed", "Failed"),
        ("Failed Running", "Running"),
        ("Completed Queued", "Queued"),
        ("Queued Unknown", "Unknown"),
        ("Queued Running", "Running"),
    ],
)
def test_the_state_of_a_run_is_its_worst_end_or_its_progress(run, states, expected):
    tasks = tuple(
        TaskSnapshot(index, TaskState(word), code=index)
        for index, word in enumerate(states.split())
    )
    shot = RunSnapshot(run(elements=2), tasks)
    assert str(shot.state) == expected
    assert (shot.code is None) == (not shot.state.terminal)


def test_the_reason_of_a_run_is_the_first_cause(run):
    tasks = (
        TaskSnapshot(0, TaskState.FAILED, 1, reason="shard 1 ended before the database was ready"),
        TaskSnapshot(1, TaskState.FAILED, 1, reason="the server ended while starting"),
    )
    assert RunSnapshot(run(elements=2), tasks).reason == "task 1: the server ended while starting"
    assert RunSnapshot(run(), tasks[:1]).reason.startswith("shard 1")
    assert RunSnapshot(run(), (TaskSnapshot(0, TaskState.COMPLETED),)).reason == ""


def parts_of(run, *sizes, **facts):
    """A run whose tasks are several jobs, with ids from 7 on."""
    jobs = [Part(f"m_{n}", size, JobId(str(7 + n))) for n, size in enumerate(sizes)]
    return replace(run(elements=sum(sizes)), kind="ensemble", parts=tuple(jobs), **facts)


def test_tasks_of_several_jobs_are_one_run_and_one_question(queue, run, record):
    whole = parts_of(run, 2, 2, 1)
    says(queue, "7_1 RUNNING", "8 SUPERVISOR", "9_0 RUNNING")
    record(index=0, job="m", code=4)
    shot = Tracker(Eager("t")).snapshot([whole])[0]
    words = [str(task.state) for task in shot.tasks]
    assert words == ["Failed", "Running", "Queued", "Queued", "Running"]
    assert shot.state is TaskState.RUNNING
    (call,) = queue.call_args_list
    assert call.args[0].argv[4:] == ("7:m_0", "8:m_1", "9:m_2")


def test_shards_of_a_host_are_one_element_to_the_scheduler(queue, run, record):
    """Five shards, two on each host: three elements, of which the last one waits."""
    parts = (Part("m", 3, JobId("7")),)
    hosts = replace(run(elements=5, kind="database"), per_element=2, parts=parts)
    says(queue, "7_0 RUNNING", "7_1 RUNNING", "7 SUPERVISOR")
    record(index=1, code=137)
    shot = Tracker(Eager("t")).snapshot([hosts])[0]
    words = [str(task.state) for task in shot.tasks]
    assert words == ["Running", "Failed", "Running", "Running", "Queued"]
    assert [ref.only for ref in hosts.refs([3, 4])] == [(1, 2)]
    # An element is cancelled as long as one of its shards lives.
    assert [ref.only for ref in hosts.refs([0])] == [(0,)]


def test_numbers_that_are_not_in_order_are_those_of_the_members(queue, run, record):
    mixed = parts_of(run, 2, 1, indices=(0, 2, 1))
    says(queue, "7_1 RUNNING", "8 SUPERVISOR")
    record(index=0, job="m")
    shot = Tracker(Eager("t")).snapshot([mixed])[0]
    assert [(task.index, str(task.state)) for task in shot.tasks] == [
        (0, "Completed"),
        (1, "Queued"),
        (2, "Running"),
    ]


def test_a_job_whose_tasks_have_all_ended_is_not_asked_about(queue, run, record):
    whole = parts_of(run, 1, 1)
    record(index=0, job="m")
    says(queue, "8_0 RUNNING")
    Tracker(Eager("t")).snapshot([whole])
    assert queue.call_args.args[0].argv[4:] == ("8:m_1",)


def test_a_refused_part_has_failed_and_the_rest_is_as_it_is(queue, run):
    parts = (Part("m_0", 1, JobId("7")), Part("m_1", 1, rejected=True))
    half = replace(run(elements=2), parts=parts, stopped=True)
    shot = Tracker(Eager("t")).snapshot([half])[0]
    assert [str(task.state) for task in shot.tasks] == ["Cancelled", "Failed"]
    assert shot.tasks[1].reason == "the scheduler refused the job"


def test_only_stopped_tasks_are_cancelled(queue, run, record):
    one = replace(run(elements=3), stopped_tasks=frozenset({1}))
    says(queue, "7_0 RUNNING", "7_2 RUNNING")
    for index, code in ((0, 143), (1, 143)):
        record(index=index, code=code)
    shot = Tracker(Eager("t")).snapshot([one])[0]
    assert [str(task.state) for task in shot.tasks] == ["Failed", "Cancelled", "Running"]


def test_a_rerun_of_some_members_completes_the_run_before_it(queue, run, record):
    first = replace(run(elements=3), kind="ensemble")
    for index, code in enumerate((0, 9, 0)):
        record(index=index, code=code)
    tracker = Tracker(Eager("t"))
    assert tracker.snapshot([first])[0].code == 9
    again = replace(
        first,
        elements=1,
        run_id=1,
        token="n",
        parts=(Part("n", 1, JobId("8")),),
        indices=(1,),
        again=True,
    )
    record(index=1, job="8")
    (shot,) = fold(tracker.snapshot([first, again]))
    assert [(task.index, task.code) for task in shot.tasks] == [(0, 0), (1, 0), (2, 0)]
    assert (shot.run.run_id, shot.state) == (1, TaskState.COMPLETED)
