"""Where the shipped templates and site files are: in a wheel, an editable install or a checkout.

They are found by path, because a folder that is no Python package cannot be imported from an
editable install.
"""

from __future__ import annotations

from pathlib import Path

from hpcorch.errors import HpcorchError

_PACKAGE = Path(__file__).parent


def templates_dir() -> Path:
    """Return the folder of the shipped job script templates."""
    return _data_dir("templates")


def site_dir() -> Path:
    """Return the folder of the shipped site profiles and example overrides."""
    return _data_dir("site")


def _data_dir(name: str) -> Path:
    # A wheel carries the folder inside the package; else the package lies in a checkout.
    places = (_PACKAGE / "_data" / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise HpcorchError(
        f"the {name} folder of hpcorch is missing: neither {places[0]} nor {places[1]} exists",
        hint="the installation is incomplete; reinstall it: pip install --force-reinstall hpcorch",
    )
