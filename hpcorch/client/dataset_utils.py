"""Datasets to xarray: notes which tensors are data, coordinates and so on, and builds DataArrays.

The notes are metadata fields of the dataset itself, as SmartRedis makes them: `_xarray_data_names`
holds the names of all variables, and for each of them `_xarray_<name>_dim_names`, `…_coord_names`
and `…_attr_names` hold comma-separated names of other fields and tensors, or `null`.
"""

from __future__ import annotations

import importlib
from typing import Any

from hpcorch.client.dataset import Dataset
from hpcorch.client.errors import RedisRuntimeError
from hpcorch.errors import InputError, InputTypeError

Names = list[str] | str

_VARIABLES = "_xarray_data_names"
_NONE = "null"


class DatasetConverter:
    """Between datasets and xarray; needs the package xarray only for `transform_to_xarray`."""

    @staticmethod
    def add_metadata_for_xarray(
        dataset: Dataset,
        data_names: Names,
        dim_names: Names,
        coord_names: Names | None = None,
        attr_names: Names | None = None,
    ) -> None:
        """Note in `dataset` what belongs to the tensors `data_names`.

        `dim_names` and `attr_names` are metadata fields that hold the name of a dimension and the
        value of an attribute; `coord_names` are tensors that were noted by a call of their own.
        Raises InputTypeError for anything but strings and lists of strings, InputError for a name
        that is empty or holds a comma.
        """
        _check_dataset(dataset)
        notes = {
            "dim_names": _joined(dim_names, "dim_names"),
            "coord_names": _joined(coord_names or [], "coord_names"),
            "attr_names": _joined(attr_names or [], "attr_names"),
        }
        for name in _listed(data_names, "data_names"):
            dataset.add_meta_string(_VARIABLES, name)
            for what, joined in notes.items():
                dataset.add_meta_string(_note(name, what), joined)

    @staticmethod
    def transform_to_xarray(dataset: Dataset) -> dict[str, Any]:
        """Return an xarray.DataArray for each variable that is no coordinate of another one.

        Raises RedisRuntimeError when xarray is not installed or something noted is not there.
        """
        _check_dataset(dataset)
        xarray = _xarray()
        variables = dataset.get_meta_strings(_VARIABLES)
        coordinates = {
            name for variable in variables for name in _names(dataset, variable, "coord_names")
        }
        return {
            name: _data_array(xarray, dataset, name)
            for name in variables
            if name not in coordinates
        }


def _data_array(xarray: Any, dataset: Dataset, name: str) -> Any:
    coords = {
        coord: (_dimensions(dataset, coord), dataset.get_tensor(coord), _attributes(dataset, coord))
        for coord in _names(dataset, name, "coord_names")
    }
    return xarray.DataArray(
        name=name,
        data=dataset.get_tensor(name),
        dims=_dimensions(dataset, name),
        coords=coords,
        attrs=_attributes(dataset, name),
    )


def _dimensions(dataset: Dataset, variable: str) -> list[str]:
    return [dataset.get_meta_strings(field)[0] for field in _names(dataset, variable, "dim_names")]


def _attributes(dataset: Dataset, variable: str) -> dict[str, str]:
    fields = _names(dataset, variable, "attr_names")
    return {field: dataset.get_meta_strings(field)[0] for field in fields}


def _names(dataset: Dataset, variable: str, what: str) -> list[str]:
    noted = dataset.get_meta_strings(_note(variable, what))[0]
    return [] if noted == _NONE else noted.split(",")


def _note(variable: str, what: str) -> str:
    return f"_xarray_{variable}_{what}"


def _xarray() -> Any:
    try:
        return importlib.import_module("xarray")
    except ImportError as error:
        raise RedisRuntimeError(
            "the package xarray is not installed", hint="pip install 'hpcorch[xarray]'"
        ) from error


def _joined(names: Names, what: str) -> str:
    return ",".join(_listed(names, what)) or _NONE


def _listed(names: Names, what: str) -> list[str]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputTypeError(f"{what} must be a string or a list of strings, not {names!r}")
    for name in listed:
        if not name or "," in name:
            raise InputError(f"{what} holds {name!r}: a name must not be empty or hold a comma")
    return listed


def _check_dataset(dataset: Dataset) -> None:
    if not isinstance(dataset, Dataset):
        raise InputTypeError(f"dataset must be a Dataset, not {type(dataset).__name__}")
