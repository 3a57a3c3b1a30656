from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from hpcorch.client import Dataset, LLInfo, RedisKeyError, RedisRuntimeError
from hpcorch.client.dataset import Contents
from hpcorch.errors import InputError, InputTypeError


@pytest.fixture
def dataset():
    made = Dataset("run")
    made.add_tensor("field", np.arange(6, dtype=np.float32).reshape(2, 3))
    made.add_meta_scalar("step", 7)
    made.add_meta_scalar("step", 8)
    made.add_meta_string("unit", "m/s")
    return made


def test_a_tensor_has_a_name(dataset):
    with pytest.raises(RedisRuntimeError, match="must not be empty"):
        dataset.add_tensor("", np.ones(3))


def test_what_it_holds(dataset):
    assert dataset.get_name() == "run"
    assert dataset.get_tensor_names() == ["field"]
    assert dataset.get_tensor_dims("field") == [2, 3]
    assert dataset.get_tensor_type("field") is np.float32
    assert dataset.get_metadata_field_names() == ["step", "unit"]
    assert dataset.get_metadata_field_type("step") is np.int64
    assert dataset.get_metadata_field_type("unit") is str
    assert dataset.get_meta_scalars("step").tolist() == [7, 8]
    assert dataset.get_meta_strings("unit") == ["m/s"]
    assert str(dataset) == (
        "DataSet (run):\nTensors:\n  field: float32 [2, 3]\n"
        "Metadata:\n  step: int64, 2 values\n  unit: str, 1 value"
    )


def test_types_have_the_names_that_programs_compare_with(dataset):
    dataset.add_tensor("long", np.arange(3, dtype=np.longlong))
    dataset.add_tensor("text", np.array(["a"]))
    assert dataset.get_tensor_type("long") is np.int64
    assert dataset.get_tensor_type("text") is np.str_


@pytest.mark.parametrize("arrange", [np.array, np.asfortranarray, lambda a: a[::-1]])
def test_tensors_are_copied_when_they_are_added(arrange):
    array = arrange(np.arange(12).reshape(3, 4))
    dataset = Dataset("d")
    dataset.add_tensor("t", array)
    expected = array.copy()
    array[:] = 0
    assert np.array_equal(dataset.get_tensor("t"), expected)


def test_what_is_given_out_is_not_the_metadata_itself(dataset):
    dataset.get_meta_scalars("step")[0] = 0
    dataset.get_meta_strings("unit").append("x")
    assert dataset.get_meta_scalars("step").tolist() == [7, 8]
    assert dataset.get_meta_strings("unit") == ["m/s"]


def test_what_is_missing(dataset):
    for call in (dataset.get_tensor, dataset.get_tensor_dims, dataset.get_tensor_type):
        with pytest.raises(RedisKeyError, match="dataset 'run' has no tensor 'step'"):
            call("step")
    with pytest.raises(RedisKeyError, match="no metadata field 'field'"):
        dataset.get_metadata_field_type("field")
    for get in (dataset.get_meta_scalars, dataset.get_meta_strings):
        with pytest.raises(RedisRuntimeError, match="no metadata field 'field'"):
            get("field")


def test_what_does_not_fit(dataset):
    with pytest.raises(RedisRuntimeError, match="has a tensor 'field' already"):
        dataset.add_tensor("field", np.ones(2))
    with pytest.raises(RedisRuntimeError, match=r"'step' .*holds int64, .*float64 cannot be added"):
        dataset.add_meta_scalar("step", 1.5)
    with pytest.raises(RedisRuntimeError, match=r"'unit' .*holds str, .*int64 cannot be added"):
        dataset.add_meta_scalar("unit", 1)
    with pytest.raises(RedisRuntimeError, match="'step' of 'run' holds numbers"):
        dataset.add_meta_string("step", "x")
    with pytest.raises(RedisRuntimeError, match="holds numbers"):
        dataset.get_meta_strings("step")
    with pytest.raises(RedisRuntimeError, match="holds strings"):
        dataset.get_meta_scalars("unit")
    with pytest.raises(InputError, match=r"'\.COMPLETE' cannot be the name"):
        dataset.add_meta_string(".COMPLETE", "1")


def test_wrong_types(dataset):
    wrong: Any = 3
    for call in (
        lambda: Dataset(wrong),
        lambda: dataset.add_tensor(wrong, np.ones(2)),
        lambda: dataset.add_tensor("t", cast("Any", [1, 2])),
        lambda: dataset.add_tensor("t", np.array([{}, None], object)),
        lambda: dataset.get_tensor(wrong),
        lambda: dataset.get_tensor_type(wrong),
        lambda: dataset.add_meta_scalar(wrong, 1),
        lambda: dataset.add_meta_scalar("s", cast("Any", np.arange(3))),
        lambda: dataset.add_meta_string(wrong, "x"),
        lambda: dataset.add_meta_string("s", wrong),
        lambda: dataset.get_meta_scalars(wrong),
        lambda: dataset.get_meta_strings(wrong),
        lambda: dataset.get_metadata_field_type(wrong),
        lambda: dataset.set_data(dataset),
        lambda: Dataset.from_pybind(dataset),
        lambda: dataset.log_data("high", "x"),
    ):
        with pytest.raises(InputTypeError):
            call()
    assert dataset.get_tensor_names() == ["field"]
    assert dataset.get_metadata_field_names() == ["step", "unit"]


def test_contents_can_be_exchanged(dataset):
    other = Dataset.from_pybind(dataset.get_data())
    assert other.get_tensor_names() == ["field"]
    other.set_data(Contents("empty"))
    assert other.get_name() == "empty"
    assert dataset.get_name() == "run"


def test_it_logs_under_its_name(dataset, capsys):
    dataset.log_data(LLInfo, "one")
    dataset.log_warning(LLInfo, "two")
    dataset.log_error(LLInfo, "three")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("@")[0] for line in lines] == ["run"] * 3
    assert [line.split(":", 1)[1] for line in lines] == ["one", "WARNING: two", "ERROR: three"]
