"""Where the shipped templates and site files are: in a wheel, an editable install or a checkout.

They are found by path, because a folder that is no Python package cannot be imported from an
editable install.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hpcorch.errors import HpcorchError

_PACKAGE = Path(__file__).parent


def templates_dir() -> Path:
    """Return the folder of the shipped job script templates."""
    return _data_dir("templates")


def site_dir() -> Path:
    """Return the folder of the shipped site profiles and example overrides."""
    return _data_dir("site")


def distrust(path: Path) -> tuple[str, str] | None:
    """Say why a file that decides what jobs run cannot be trusted, and the cure; None if it can.

    Only its owner may write it, and that must be you, root, or whoever owns this installation and
    could change hpcorch itself. Raises OSError when the file cannot be looked at.
    """
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others", f"chmod go-w {path}"
    if status.st_uid not in (0, os.getuid(), _PACKAGE.stat().st_uid):
        return f"{path} belongs to neither you nor root", f"copy it, or: chown root {path}"
    return None


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
