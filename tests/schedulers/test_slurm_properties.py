"""What holds for all inputs: ids and times survive a round trip, directives mean what was said."""

from __future__ import annotations

import gc
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcorch.describe import check
from hpcorch.errors import InputError
from hpcorch.schedulers.base import JobId, JobRef, Resources, Result, TaskState
from hpcorch.schedulers.slurm import SlurmScheduler
from hpcorch.schedulers.slurm_states import expand_indices, parse_task_id, seconds, state

SLURM = SlurmScheduler()
JOBS = st.integers(1, 2**32).map(str)
INDEX = st.integers(0, 4_000_000)
SPANS = st.tuples(INDEX, st.integers(0, 200), st.integers(1, 9))
# As check.line lets through: no control characters, and no halves of surrogate pairs.
LINES = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60)


def written(first: int, length: int, step: int) -> str:
    if length == 0:
        return str(first)
    return f"{first}-{first + length}" + (f":{step}" if step > 1 else "")


def meant(first: int, length: int, step: int) -> list[int]:
    return list(range(first, first + length + 1, step if length else 1))


@given(JOBS, INDEX)
def test_an_element_survives_the_round_trip(job, index):
    assert parse_task_id(f"{job}_{index}") == (job, (index,))


@given(
    JOBS,
    st.lists(SPANS, min_size=1, max_size=8),
    st.sampled_from(["", "%1", "%20"]),
    st.sampled_from(["", "+0", ".0", ".batch", ";east"]),
)
def test_a_list_of_elements_survives_the_round_trip(job, spans, throttle, suffix):
    text = ",".join(written(*span) for span in spans)
    indices = tuple(index for span in spans for index in meant(*span))
    assert expand_indices(text) == indices
    assert parse_task_id(f"{job}_[{text}{throttle}]{suffix}") == (job, indices)


@given(JOBS, st.lists(SPANS, min_size=1, max_size=8), st.integers(1, 60))
def test_a_list_cut_anywhere_is_the_whole_job_and_never_a_wrong_task(job, spans, width):
    text = ",".join(written(*span) for span in spans)[:width]
    assert parse_task_id(f"{job}_[{text}...]") == (job, None)
    assert parse_task_id(f"{job}_[{text}") == (job, None)


@given(st.text(max_size=30))
def test_any_text_is_an_id_or_a_value_error(text):
    try:
        job, _ = parse_task_id(text)
    except ValueError:
        return
    assert job.isdecimal()


@given(st.text(max_size=30))
def test_any_word_has_a_state(text):
    assert isinstance(state(text), TaskState)


@given(st.integers(0, 1000), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_times_survive_the_round_trip(days, hours, minutes, rest):
    clock = f"{minutes:02}:{rest:02}"
    wanted = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    assert seconds(f"{days}-{hours:02}:{clock}") == wanted
    assert seconds(f"{days * 24 + hours}:{clock}") == wanted
    assert seconds(clock) == minutes * 60 + rest


@given(st.text(max_size=20))
def test_any_text_is_a_time_or_none(text):
    found = seconds(text)
    assert found is None or found >= 0


def as_sbatch_reads(line: str) -> list[str]:
    """Split a line of `#SBATCH` as sbatch does (tried on 22.05): quotes, backslashes, comments."""
    words: list[str] = []
    word, quote, escaped = "", "", False
    for char in line + " ":
        if escaped:
            word, escaped = word + char, False
        elif char == "\\":
            escaped = True
        elif quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char in "\"'":
            quote = char
        elif char == "#":
            break
        elif char == " ":
            words, word = [*words, word] if word else words, ""
        else:
            word += char
    assert not quote
    return words


@given(LINES)
@example("two words")
@example('it\'s "quoted"')
@example("# no comment")
@example("a\\b \\")
@example("100% %j %%")
@example("")
@example("$HOME `id` $(id)")
def test_directives_mean_what_was_said(value):
    check.line("value", value)
    lines = SLURM.directives(
        Resources("db", "token", extra=(("constraint", value), ("requeue", None)))
    )
    assert lines[-1] == "--requeue"
    assert as_sbatch_reads(lines[-2]) == [f"--constraint={value}"]
    assert "\n" not in lines[-2]


@given(LINES)
def test_a_directive_is_quoted_unless_it_is_plain(value):
    line = SLURM.directives(Resources("db", "token", extra=(("constraint", value),)))[-1]
    if any(char in value for char in " '\"#\\$`;&|<>*?()~"):
        assert line.startswith('--constraint="')
        assert line.endswith('"')


@given(LINES, LINES, st.sampled_from([chr(code) for code in (*range(32), 127)]))
def test_control_characters_are_refused_before_they_could_end_a_directive(before, after, char):
    with pytest.raises(InputError):
        check.line("value", before + char + after)


def rows(count: int) -> Result:
    states = ("RUNNING|None", "PENDING|Resources", "COMPLETED|None", "FAILED|NonZeroExitCode")
    lines = [f"{7 + index % 10}|{index // 10}|{states[index % 4]}" for index in range(count)]
    return Result(("squeue",), 0, "\n".join(lines) + "\n", "")


def seconds_to_parse(count: int) -> float:
    answer = rows(count)
    jobs = [JobRef(JobId(str(job)), "token", count // 10) for job in range(7, 17)]
    took = []
    for _ in range(7):
        gc.collect()
        began = time.process_time()
        report = SLURM.parse_queue(answer, jobs)
        took.append(time.process_time() - began)
        assert len(report) == count
    return min(took)


def test_ten_times_the_rows_take_about_ten_times_as_long(capsys):
    # CPU time, as the machine may be busy; a quadratic parser would take 100 times as long.
    ratios = []
    for _ in range(3):
        few, many = seconds_to_parse(1_000), seconds_to_parse(10_000)
        ratios.append(many / few)
        with capsys.disabled():
            sys.stdout.write(f"\nparse of 10,000 squeue rows {many * 1000:.1f} ms, ")
            sys.stdout.write(f"{ratios[-1]:.1f} times as long as of 1,000\n")
        if ratios[-1] < 40:
            return
    pytest.fail(f"not linear: the ratios are {ratios}")
