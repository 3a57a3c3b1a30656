"""Where templates and site files are looked for, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch import paths
from hpcorch.errors import HpcorchError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "root" / "hpcorch"
    package.mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    return package


def test_a_checkout_has_them_beside_the_package(package: Path) -> None:
    for name in ("templates", "site"):
        (package.parent / name).mkdir()
    assert paths.templates_dir() == package.parent / "templates"
    assert paths.site_dir() == package.parent / "site"


def test_those_inside_the_package_win(package: Path) -> None:
    for name in ("templates", "site"):
        (package.parent / name).mkdir()
        (package / "_data" / name).mkdir(parents=True)
    assert paths.templates_dir() == package / "_data" / "templates"
    assert paths.site_dir() == package / "_data" / "site"


def test_missing_ones_say_what_to_do(package: Path) -> None:
    (package.parent / "templates").touch()  # a file of that name does not count
    with pytest.raises(HpcorchError, match="templates folder of hpcorch is missing") as caught:
        paths.templates_dir()
    assert "reinstall" in caught.value.hint
