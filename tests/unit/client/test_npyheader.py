"""Headers of .npy values: as NumPy writes them, and as nobody should."""

from __future__ import annotations

import contextlib
import io
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib import format as npy

from hpcorch.client.codecs import NpyCodec
from hpcorch.client.errors import RedisReplyError, RedisRuntimeError
from hpcorch.client.npyheader import Layout, npy_header, parse_header
from hpcorch.errors import InputTypeError
from tests.unit.client.test_wire import reader, stored

DTYPES = st.one_of(
    hnp.scalar_dtypes(),
    hnp.array_dtypes(allow_subarrays=True),
    hnp.nested_dtypes(),
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9)


def reference(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    npy.write_array(out, array)
    return out.getvalue()


def value_of(text: bytes, version: tuple[int, int] = (1, 0), data: bytes = b"") -> bytes:
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little") + text + data


def read(value: bytes) -> Any:
    found = reader(b"$%d\r\n%b\r\n:7\r\n" % (len(value), value))
    try:
        return found.one(NpyCodec().read_tensor)
    finally:
        # Whatever happened, the next reply is read.
        assert found.value() == 7


@given(dtype=DTYPES, shape=SHAPES, fortran=st.booleans())
def test_numpy_reads_what_we_write(dtype, shape, fortran):
    if dtype.hasobject:
        return
    layout = Layout(np.dtype(dtype), shape, fortran)
    header = npy_header(layout)
    assert parse_header(header) == layout
    assert len(header) % 64 == 0
    # NumPy stores no dtype that has a sub-array on its outside.
    if dtype.subdtype is None:
        got = np.load(io.BytesIO(header + bytes(layout.nbytes)))
        assert (got.dtype, got.shape) == (layout.dtype, layout.shape)


@given(dtype=hnp.scalar_dtypes(), shape=SHAPES, order=st.sampled_from("CF"))
def test_the_bytes_are_those_of_numpy(dtype, shape, order):
    array: Any = np.zeros(shape, dtype, order=order)
    ours, theirs = stored(array), reference(array)
    assert np.array_equal(read(theirs), array)
    # NumPy leaves room in its header for a longer first axis, which is no part of the format.
    end = -array.nbytes or None
    assert parse_header(ours[:end]) == parse_header(theirs[:end])


def test_field_names_outside_latin_1_and_long_descriptions():
    record = np.zeros(2, [("Ω", "f4"), ("b", "i8", (2,))])
    assert np.load(io.BytesIO(stored(record))).dtype == record.dtype
    assert read(stored(record)).dtype == record.dtype
    wide = np.zeros(1, [(f"field{index:04}", "f4") for index in range(2500)])
    assert read(stored(wide)).dtype == wide.dtype
    wider = np.zeros(1, [(f"field{index:04}", "f4") for index in range(5000)])
    with pytest.raises(InputTypeError, match="5000 fields"):
        NpyCodec().store_command(b"k", wider)


def test_keys_in_any_order_and_version_2():
    text = b'{ "shape":(2,),\n "descr" : "<i2","fortran_order":False}'
    for version in ((1, 0), (2, 0), (3, 0)):
        got = read(value_of(text, version, b"\x01\x00\x02\x00"))
        assert got.tolist() == [1, 2]
        assert got.dtype == "<i2"


GOOD = "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "must hold descr"),
        ("{'descr': '<f8'}", "must hold descr"),
        (GOOD.replace("<f8", "nonsense"), "cannot be read"),
        (GOOD.replace("<f8", "|O"), "Python objects"),
        (GOOD.replace("(3,)", "(-3,)"), "no plain description"),
        (GOOD.replace("(3,)", "3"), "impossible shape 3"),
        (GOOD.replace("(3,)", "(True,)"), "impossible shape"),
        (GOOD.replace("(3,)", "('3',)"), "impossible shape"),
        (GOOD.replace("(3,)", f"({'9' * 19}, 0)"), "impossible shape"),
        (GOOD.replace("(3,)", f"({'9' * 5000}, 0)"), "no plain description"),
        (GOOD.replace("(3,)", f"({'1,' * 100})"), "fit the size"),
        (GOOD.replace("(3,)", f"(0, {'1,' * 100})"), "impossible shape"),
        (GOOD.replace("False", "0"), "truth value"),
        (GOOD.replace("'<f8'", "__import__('os').abort()"), "no plain description"),
        (GOOD.replace("'<f8'", "f'{0}'"), "no plain description"),
        (GOOD.replace("(3,)", "(3 if 1 else 2,)"), "no plain description"),
        (GOOD.replace("(3,)", "-" * 60_000 + "1"), "no plain description"),
        (GOOD.replace("(3,)", "(" * 30_000 + ")" * 30_000), "nested too deeply"),
        ("{" * 60_000, "nested too deeply"),
        ("9" * 60_000, "no plain description"),
        (GOOD + "\0", "no plain description"),
        ("x" * 70_000, "too long"),
    ],
)
def test_headers_that_make_no_sense(text, message):
    started = time.process_time()
    version = (1, 0) if len(text) < 2**16 else (2, 0)
    with pytest.raises(RedisRuntimeError, match=message):
        read(value_of(text.encode(), version))
    # A hostile header costs no more than an honest one of that length.
    assert time.process_time() - started < 5


@pytest.mark.parametrize("value", [value_of(GOOD.encode(), (9, 1)), value_of(GOOD.encode())[:20]])
def test_unknown_versions_and_cut_headers(value):
    with pytest.raises(RedisRuntimeError, match=r"version \(9, 1\)|cut short"):
        read(value)


@given(
    text=st.one_of(
        st.binary(max_size=200),
        st.text("{}[]()'\"\\:,0123456789<>|fiSUVO TrueFalsNo\n", max_size=200).map(str.encode),
        st.tuples(st.sampled_from(range(len(GOOD))), st.binary(max_size=3)).map(
            lambda change: GOOD[: change[0]].encode() + change[1] + GOOD[change[0] + 1 :].encode()
        ),
    ),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0), (0, 0)]),
    size=st.integers(0, 100),
)
@example(text=b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 5)}", version=(1, 0), size=0)
def test_any_header_is_read_or_refused(text, version, size):
    # `read` itself checks that the connection stays in step.
    with contextlib.suppress(RedisReplyError):
        assert isinstance(read(value_of(text, version, bytes(size))), np.ndarray)


def test_what_a_value_announces_takes_no_memory_before_it_is_there():
    tracemalloc.start()
    try:
        with pytest.raises(ConnectionError):
            reader(b"$%d\r\nabc" % 2**62).value()
        huge = value_of(GOOD.replace("(3,)", f"({2**60},)").encode())
        with pytest.raises(RedisRuntimeError, match="fit the size"):
            read(huge)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
