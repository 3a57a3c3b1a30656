"""Requests that are joined, split again, and kept apart where they must be."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hpcorch.inference.batching import Batcher
from hpcorch.inference.faults import Fault
from tests.helpers import until


class Doubler:
    """Doubles its input; counts the rows of each run, and can be held up."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.may_run = threading.Event()
        self.may_run.set()

    def __call__(self, arrays, seconds):
        self.rows.append(len(arrays[0]))
        assert self.may_run.wait(30)
        if (arrays[0] < 0).any():
            raise ValueError("a negative number")
        return [arrays[0] * 2]


@pytest.fixture
def model():
    return Doubler()


def together(batcher, inputs):
    with ThreadPoolExecutor(len(inputs)) as pool:
        futures = [pool.submit(batcher.run, [item], 30.0) for item in inputs]
        return [future.exception() or future.result()[0].tolist() for future in futures]


def test_requests_wait_for_each_other_and_get_their_own_rows(model):
    batcher = Batcher(model, most=64, least=6, wait=30.0)
    assert together(batcher, [np.full((n, 1), n) for n in (1, 2, 3)]) == [
        [[2]],
        [[4]] * 2,
        [[6]] * 3,
    ]
    assert model.rows == [6]


def test_what_comes_while_a_batch_runs_makes_the_next_one(model):
    batcher = Batcher(model, most=100, least=0, wait=0.0)
    model.may_run.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(batcher.run, [np.zeros((1, 2))], 30.0)
        until(lambda: model.rows == [1], "the first run")
        others = [pool.submit(batcher.run, [np.full((1, 2), n)], 30.0) for n in range(8)]
        until(lambda: len(batcher._waiting) == 8, "eight waiting requests")
        model.may_run.set()
        assert [item.result()[0].tolist() for item in [first, *others]] == [
            [[0, 0]],
            *([[2 * n, 2 * n]] for n in range(8)),
        ]
    assert model.rows == [1, 8]


def test_a_batch_has_no_more_rows_than_allowed(model):
    batcher = Batcher(model, most=4, least=4, wait=0.1)
    together(batcher, [np.ones((3, 1)) for _ in range(3)])
    assert model.rows == [3, 3, 3]


def test_other_shapes_and_dtypes_are_not_joined(model):
    batcher = Batcher(model, most=8, least=2, wait=0.05)
    found = together(batcher, [np.ones((1, 1)), np.ones((1, 2)), np.ones((1, 1), int)])
    assert found == [[[2.0]], [[2.0, 2.0]], [[2]]]
    assert model.rows == [1, 1, 1]


def test_one_bad_input_spoils_only_its_own_result(model):
    batcher = Batcher(model, most=8, least=3, wait=30.0)
    good, bad, other = together(batcher, [np.full((1, 1), n) for n in (1, -1, 2)])
    assert (good, other) == ([[2]], [[4]])
    assert "a negative number" in str(bad)


def test_a_lonely_request_runs_after_the_wait(model):
    batcher = Batcher(model, most=8, least=8, wait=0.05)
    assert batcher.run([np.ones((1, 1))], 30.0)[0].tolist() == [[2.0]]


def test_a_request_whose_time_is_up_is_told_so(model):
    batcher = Batcher(model, most=8, least=0, wait=0.0)
    model.may_run.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batcher.run, [np.ones((1, 1))], 30.0)
        until(lambda: model.rows == [1], "the first run")
        with pytest.raises(Fault, match="until its time was up"):
            batcher.run([np.ones((1, 1))], 0.05)
        model.may_run.set()
        assert first.result()[0].tolist() == [[2.0]]
    assert batcher.run([np.ones((1, 1))], 30.0)[0].tolist() == [[2.0]]


def test_outputs_that_cannot_be_split_are_computed_one_by_one():
    def total(arrays, seconds):
        return [arrays[0].sum()[None]]

    found = together(Batcher(total, most=9, least=2, wait=30.0), [np.ones((1, 1)), np.ones((2, 1))])
    assert found == [[1.0], [2.0]]


def test_nobody_is_forgotten_under_load(model):
    batcher = Batcher(model, most=7, least=3, wait=0.002)

    def many(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            array = rng.random((int(rng.integers(1, 4)), 2))
            np.testing.assert_array_equal(batcher.run([array], 30.0)[0], array * 2)
            time.sleep(rng.random() / 2000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many, range(8)))
    assert max(model.rows) <= 7
