"""What holds for all inputs: ids and times survive a round trip, directives mean what was said."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcorch.describe import check
from hpcorch.errors import CommandFailed, InputError, ParseError
from hpcorch.schedulers.base import JobId, JobRef, Resources, Result, TaskState
from hpcorch.schedulers.pbs import PbsScheduler
from hpcorch.schedulers.pbs_states import PbsId, clock, exit_code, parse_id, seconds, status

PBS = PbsScheduler()
NUMBERS = st.integers(0, 10**7)
SERVERS = st.from_regex(r"[a-z][a-z0-9-]{0,8}(\.[a-z][a-z0-9]{0,5}){0,3}", fullmatch=True)
# As check.line lets through: no control characters, and no halves of surrogate pairs.
LINES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60)


@given(NUMBERS, SERVERS, st.none() | NUMBERS)
def test_ids_survive_the_round_trip(number, server, index):
    assert parse_id(f"{number}.{server}") == PbsId(number, False, None, server)
    task = parse_id(f"{number}[{'' if index is None else index}].{server}")
    assert task == PbsId(number, True, index, server)
    assert task.is_of(parse_id(f"{number}[].{server}"))
    assert not task.is_of(parse_id(f"{number}.{server}"))
    assert not task.is_of(parse_id(f"{number + 1}[].{server}"))
    assert task.is_of(parse_id(f"{number}[]"))
    assert task.is_of(parse_id(f"{number}[].{server}.example.org"))
    assert not task.is_of(parse_id(f"{number}[].{server}x"))


@given(st.text(max_size=30))
@example("0.head")
@example("1[.head")
@example("1[1-2].head")
def test_any_text_is_an_id_or_a_value_error(text):
    try:
        job = parse_id(text)
    except ValueError:
        return
    assert job.number >= 0


@given(st.text(max_size=200), st.text(max_size=200), st.integers(0, 255))
def test_no_output_makes_a_job_that_was_asked_for_disappear(out, err, code):
    try:
        report = PBS.parse_queue(Result((), code, out, err), [JobRef(JobId("7.head"), "t", 1)])
    except (CommandFailed, ParseError):
        return
    assert report or "7.head" in err


@given(st.integers(-300, 600), st.booleans())
def test_every_exit_status_is_an_end(number, deleted):
    told = {"job_state": "F", "substate": "91" if deleted else "93", "Exit_status": str(number)}
    found = status(told)
    assert found is not None
    assert found.state.terminal
    assert found.code == exit_code(number)
    assert found.code is None or found.code >= 0
    if not deleted and number != -29:
        assert (found.state is TaskState.COMPLETED) == (number == 0)


@given(st.text(max_size=3))
def test_any_state_is_known_or_unknown(native):
    found = status({"job_state": native})
    assert found is None or isinstance(found.state, TaskState)


@given(st.integers(0, 1000), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_times_survive_the_round_trip(days, hours, minutes, rest):
    walltime = clock(f"{days}-{hours:02}:{minutes:02}:{rest:02}")
    assert "-" not in walltime
    assert seconds(walltime) == ((days * 24 + hours) * 60 + minutes) * 60 + rest


def as_qsub_reads(line: str) -> list[str]:
    """Split a directive as qsub does: both kinds of quotes, nothing that escapes."""
    words: list[str] = []
    word, quote, begun = "", "", False
    for char in line + " ":
        if quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char in "\"'":
            quote, begun = char, True
        elif char == " ":
            words, word, begun = [*words, word] if word or begun else words, "", False
        else:
            word += char
    assert not quote
    return words


@given(LINES)
@example("two words")
@example("it's")
@example('"quoted"')
@example("# no comment")
@example("$HOME `id` \\")
def test_directives_mean_what_was_said(value):
    check.line("value", value)
    wanted = Resources("db", "token", extra=(("W", value), ("h", None)))
    if "'" in value and '"' in value:
        with pytest.raises(InputError, match="one kind of quotes"):
            PBS.directives(wanted)
        return
    lines = PBS.directives(wanted)
    assert lines[-1] == "-h"
    assert as_qsub_reads(lines[-2]) == ["-W", value]


def answer(count: int) -> Result:
    lines = ["Job Id: 7[].head", "    job_state = B"]
    for index in range(count):
        lines += [f"Job Id: 7[{index}].head", "    Job_Name = x", "    job_state = R"]
        lines += ["    Variable_List = A=b,", "\tC=d", "    comment = Job run at", "\t noon", ""]
    return Result(("qstat",), 0, "\n".join(lines) + "\n", "")


def seconds_to_parse(count: int) -> float:
    told, asked = answer(count), [JobRef(JobId("7[].head"), "token", count)]
    took = []
    for _ in range(5):
        gc.collect()
        began = time.process_time()
        assert len(PBS.parse_queue(told, asked)) == count
        took.append(time.process_time() - began)
    return min(took)


def test_ten_times_the_tasks_take_about_ten_times_as_long():
    # CPU time, as the machine may be busy; a quadratic parser would take 100 times as long.
    ratios = [seconds_to_parse(5_000) / seconds_to_parse(500) for _ in range(3)]
    assert min(ratios) < 40
