from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpcorch.client import RedisRuntimeError
from hpcorch.client.metadata import SCALARS, decode_field, encode_field, scalar, type_of
from hpcorch.errors import InputTypeError

NUMBERS = st.sampled_from(sorted(SCALARS)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), st.integers(0, 5))
)


@pytest.mark.parametrize(
    ("field", "stored"),
    [
        (["hello", "wörld"], b"\7\5\0\0\0\0\0\0\0hello\6\0\0\0\0\0\0\0w\xc3\xb6rld"),
        ([""], b"\7\0\0\0\0\0\0\0\0"),
        (np.array([10], np.uint64), b"\6\n\0\0\0\0\0\0\0"),
        (np.array([9], np.uint32), b"\5\t\0\0\0"),
        (np.array([-3], np.int64), b"\4\xfd\xff\xff\xff\xff\xff\xff\xff"),
        (np.array([7], np.int32), b"\3\7\0\0\0"),
        (np.array([0.5], np.float32), b"\2\0\0\0?"),
        (np.array([1.5, 2.5]), b"\1\0\0\0\0\0\0\xf8?\0\0\0\0\0\0\4@"),
    ],
)
def test_bytes_are_those_that_smartredis_was_seen_to_send(field, stored):
    assert encode_field(field) == stored
    same(decode_field(stored), field)


@settings(deadline=None)
@given(NUMBERS | st.lists(st.text(max_size=20), max_size=5))
def test_there_and_back(field):
    same(decode_field(encode_field(field)), field)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_field_or_refused(raw):
    try:
        found = decode_field(raw)
    except RedisRuntimeError:
        return
    assert encode_field(found) == raw


@pytest.mark.parametrize(
    "raw", [b"", b"\0", b"\x08abc", b"\1abc", b"\7\5\0\0", b"\7" + b"\xff" * 9]
)
def test_damaged_fields_are_refused(raw):
    with pytest.raises(RedisRuntimeError, match=r"unknown type|cut short"):
        decode_field(raw)


def test_text_that_is_not_utf_8_survives():
    raw = b"\7\2\0\0\0\0\0\0\0\xe9\x00"
    assert encode_field(decode_field(raw)) == raw


@pytest.mark.parametrize(
    "data", [True, "x", np.int8(1), np.float16(1), 1j, None, [1, 2], [], 2**64]
)
def test_what_is_no_scalar(data):
    with pytest.raises(InputTypeError, match="a metadata scalar must"):
        scalar(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (1, np.int64),
        (1.5, np.float64),
        (np.float32(1), np.float32),
        (np.array([5], "u4"), np.uint32),
        (2**63, np.uint64),
        (np.longlong(5), np.int64),
    ],
)
def test_scalars(data, kind):
    assert type_of(scalar(data)) is kind
    assert scalar(np.array(2.5, ">f8")).tolist() == [2.5]


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, list):
        assert one == other
    else:
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
