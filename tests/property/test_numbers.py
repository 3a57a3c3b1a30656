"""CPU lists, hash slots and the merging of states, for any input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch import slots
from hpcorch.describe import cpus
from hpcorch.errors import InputError
from hpcorch.rundir import ExitRecord
from hpcorch.schedulers.base import TaskState, TaskStatus
from hpcorch.snapshots import TaskSnapshot, merge

NUMBERS = st.sets(st.integers(0, 5000), max_size=60)


@given(NUMBERS)
def test_a_cpu_list_survives_being_written_and_read(numbers):
    text = cpus.format_list(numbers)
    assert cpus.parse_list(text) == tuple(sorted(numbers))
    assert cpus.format_list(cpus.parse_list(text)) == text


@given(st.lists(st.integers(0, 99) | st.lists(st.integers(0, 99)) | st.builds(range, st.just(3))))
def test_normalising_gives_every_cpu_once_in_order_and_is_stable(pinning):
    flat = set()
    for item in pinning:
        flat |= {item} if isinstance(item, int) else set(item)
    found = cpus.normalise(pinning)
    assert found == tuple(sorted(flat)) == cpus.normalise(found)
    assert found == cpus.normalise(np.array(sorted(flat), dtype=np.int16))
    assert {type(cpu) for cpu in found} <= {int}


@given(st.text(alphabet="0123456789,- ab²", max_size=12))
def test_reading_a_cpu_list_gives_numbers_or_an_input_error(text):
    try:
        found = cpus.parse_list(text)
    except InputError:
        return
    assert cpus.parse_list(cpus.format_list(found)) == found


@given(st.integers(1, slots.SLOT_COUNT))
def test_slot_ranges_are_a_partition_that_is_as_even_as_can_be(shards):
    ranges = slots.ranges(shards)
    assert len(ranges) == shards
    assert ranges[0][0] == 0
    assert ranges[-1][1] == slots.SLOT_COUNT - 1
    assert all(low[1] + 1 == high[0] for low, high in itertools.pairwise(ranges))
    sizes = {high - low + 1 for low, high in ranges}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@given(st.text(max_size=20), st.integers(0, 100))
def test_node_ids_are_forty_hex_digits_and_differ(token, shard):
    found = slots.node_id(token, shard)
    assert len(found) == 40
    assert set(found) <= set("0123456789abcdef")
    assert found == slots.node_id(token, shard) != slots.node_id(token, shard + 1)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"123456789", 0x31C3),
        (b"", 0),
        (b"foo", 12182),
        (b"bar", 5061),
        (b"{user}.x", slots.key_slot(b"user")),
        (b"a{user}b", slots.key_slot(b"user")),
        (b"user", 5474),
        (b"{}.x", slots.key_slot(b"{}.x")),
        (b"{user", 0x0),
    ],
)
def test_slots_of_keys_are_those_of_the_cluster_specification(key, slot):
    if key == b"{user":  # An open brace is no tag: all of the key counts.
        assert slots.key_slot(key) != slots.key_slot(b"user")
    else:
        assert slots.key_slot(key) == slot


@given(st.binary(max_size=20), st.binary(min_size=1, max_size=9), st.binary(max_size=20))
def test_keys_with_one_hash_tag_share_a_slot(before, tag, after):
    before, tag = before.replace(b"{", b""), tag.replace(b"}", b"") or b"t"
    assert slots.key_slot(before + b"{" + tag + b"}" + after) == slots.key_slot(b"{" + tag + b"}")


LIVE = st.sampled_from([TaskState.QUEUED, TaskState.RUNNING, TaskState.UNKNOWN])
STATUS = st.builds(TaskStatus, st.sampled_from(list(TaskState)), reason=st.text(max_size=3))
RECORD = st.builds(
    ExitRecord,
    index=st.just(0),
    job=st.just("1"),
    code=st.sampled_from([0, 1, 3, 137, 143, 255]),
    signal=st.sampled_from(["", "TERM", "INT"]),
    elapsed=st.floats(0, 9),
    reason=st.text(max_size=3),
)


@given(
    st.lists(
        st.tuples(
            st.none() | STATUS,
            st.none() | RECORD,
            st.booleans(),
            st.booleans(),
            st.booleans(),
        )
    )
)
def test_a_terminal_state_never_changes(observations):
    now: TaskSnapshot | None = None
    for queued, record, service, stop_wanted, gone in observations:
        before = now
        now = merge(0, now, queued, record, service=service, stop_wanted=stop_wanted, gone=gone)
        if before is not None and before.state.terminal:
            assert now == before


@given(st.lists(st.builds(TaskStatus, LIVE), max_size=4), RECORD, st.booleans(), st.data())
def test_the_end_does_not_depend_on_who_reports_first(queue, record, service, data):
    order = data.draw(st.permutations([*queue, record]))
    now: TaskSnapshot | None = None
    for item in order:
        from_queue = item if isinstance(item, TaskStatus) else None
        from_task = item if isinstance(item, ExitRecord) else None
        now = merge(0, now, from_queue, from_task, service=service)
    # At the end the queue has forgotten the task and its record is there.
    now = merge(0, now, None, record, service=service, gone=True)
    assert now == merge(0, None, None, record, service=service, gone=True)
    assert now.state.terminal


@given(st.none() | st.builds(TaskStatus, LIVE), RECORD, st.booleans())
def test_a_task_s_own_record_outweighs_the_queue(queued, record, service):
    both = merge(0, None, queued, record, service=service, gone=True)
    assert both == merge(0, None, None, record, service=service, gone=True)


@given(RECORD)
def test_completed_means_code_zero_and_no_signal(record):
    found = merge(0, None, None, record, gone=True)
    assert (found.state is TaskState.COMPLETED) == (record.code == 0 and not record.signal)
