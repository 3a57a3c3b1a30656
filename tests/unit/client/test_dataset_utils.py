"""Datasets to xarray and the notes that this needs."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import xarray

from hpcorch.client import Dataset, DatasetConverter, RedisRuntimeError
from hpcorch.errors import InputError, InputTypeError


@pytest.fixture
def grid():
    made = Dataset("grid")
    made.add_tensor("speed", np.arange(6.0).reshape(2, 3))
    made.add_tensor("lat", np.array([10.0, 20.0]))
    made.add_tensor("lon", np.array([1.0, 2.0, 3.0]))
    for field, text in (("d0", "y"), ("d1", "x"), ("unit", "m/s"), ("degrees", "N")):
        made.add_meta_string(field, text)
    return made


def test_a_variable_with_coordinates(grid):
    DatasetConverter.add_metadata_for_xarray(grid, "speed", ["d0", "d1"], ["lat", "lon"], "unit")
    DatasetConverter.add_metadata_for_xarray(grid, "lat", "d0", attr_names=["degrees"])
    DatasetConverter.add_metadata_for_xarray(grid, "lon", "d1")
    made = DatasetConverter.transform_to_xarray(grid)
    expected = xarray.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=["y", "x"],
        coords={
            "lat": ("y", [10.0, 20.0], {"degrees": "N"}),
            "lon": ("x", [1.0, 2.0, 3.0]),
        },
        attrs={"unit": "m/s"},
        name="speed",
    )
    assert list(made) == ["speed"]
    assert made["speed"].identical(expected)


def test_notes_are_those_of_smartredis(grid):
    DatasetConverter.add_metadata_for_xarray(grid, ["speed", "lat"], ["d0", "d1"], ["lon"])
    notes = {
        name: grid.get_meta_strings(name)
        for name in grid.get_metadata_field_names()
        if name.startswith("_xarray")
    }
    assert notes == {
        "_xarray_data_names": ["speed", "lat"],
        "_xarray_speed_dim_names": ["d0,d1"],
        "_xarray_speed_coord_names": ["lon"],
        "_xarray_speed_attr_names": ["null"],
        "_xarray_lat_dim_names": ["d0,d1"],
        "_xarray_lat_coord_names": ["lon"],
        "_xarray_lat_attr_names": ["null"],
    }


@pytest.mark.parametrize("names", [{"speed"}, 2, ["speed", 3], None])
def test_names_of_the_wrong_type(grid, names):
    wrong: Any = names
    with pytest.raises(InputTypeError, match="data_names must be a string or a list"):
        DatasetConverter.add_metadata_for_xarray(grid, wrong, "d0")
    assert "_xarray_data_names" not in grid.get_metadata_field_names()


def test_other_bad_arguments(grid):
    wrong: Any = "grid"
    with pytest.raises(InputTypeError, match="must be a Dataset, not str"):
        DatasetConverter.add_metadata_for_xarray(wrong, "speed", "d0")
    with pytest.raises(InputTypeError, match="must be a Dataset, not str"):
        DatasetConverter.transform_to_xarray(wrong)
    for name in ("", "a,b"):
        with pytest.raises(InputError, match="must not be empty or hold a comma"):
            DatasetConverter.add_metadata_for_xarray(grid, "speed", ["d0", name])


def test_what_is_noted_but_missing(grid):
    with pytest.raises(RedisRuntimeError, match="no metadata field '_xarray_data_names'"):
        DatasetConverter.transform_to_xarray(grid)
    DatasetConverter.add_metadata_for_xarray(grid, "speed", ["nowhere"])
    with pytest.raises(RedisRuntimeError, match="no metadata field 'nowhere'"):
        DatasetConverter.transform_to_xarray(grid)


def test_without_xarray(grid, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(RedisRuntimeError, match="xarray is not installed"):
        DatasetConverter.transform_to_xarray(grid)
