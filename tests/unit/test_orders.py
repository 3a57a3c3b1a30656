"""How a worker reads what the server's module asks of it, whatever came before."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcorch.client.redisai import TENSORS
from hpcorch.inference.orders import Orders
from tests.unit.client.test_wire import SIZES, reader


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def sent(name: str, arrays: list[np.ndarray[Any, Any]], number: int) -> bytes:
    """Return an order as the module sends it."""
    words = b"".join(map(bulk, (b"MODEL", name.encode(), b"7", b"")))
    inputs = b"".join(
        b"*3\r\n%b*%d\r\n%b%b"
        % (
            bulk(TENSORS[array.dtype.name]),
            array.ndim,
            b"".join(b":%d\r\n" % length for length in array.shape),
            bulk(array.tobytes()),
        )
        for array in arrays
    )
    return b"*8\r\n%b:1500\r\n:1\r\n*%d\r\n%b:%d\r\n" % (words, len(arrays), inputs, number)


INPUTS = st.lists(
    st.builds(
        lambda kind, shape, seed: np.asarray(
            np.random.default_rng(seed).integers(0, 99, shape), kind
        ),
        st.sampled_from(["f4", "i8"]),
        st.sampled_from([(3,), (2, 4), (4, 2), (90, 70)]),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None)
@given(
    orders=st.lists(st.tuples(st.sampled_from(["m", "other"]), INPUTS), max_size=8),
    sizes=SIZES,
    whole=st.booleans(),
)
def test_one_order_after_another(orders, sizes, whole):
    parts = [sent(name, arrays, number) for number, (name, arrays) in enumerate(orders)]
    parts = [part for one in parts for part in (one, b"*-1\r\n")]
    found, used = reader(b"".join(parts), *(map(len, parts) if whole else sizes)), Orders()
    for number, (name, arrays) in enumerate(orders):
        order = found.one(used.read)
        assert order is not None
        assert order.number == number
        assert order.kind.request.name == name
        assert order.kind.request.seconds == 1.5
        assert len(order.arrays) == len(arrays) == len(order.kind.layouts)
        for got, array, layout in zip(order.arrays, arrays, order.kind.layouts, strict=True):
            assert got.dtype == array.dtype == layout.dtype
            assert got.shape == array.shape == layout.shape
            assert np.array_equal(got, array)
        assert found.one(used.read) is None
