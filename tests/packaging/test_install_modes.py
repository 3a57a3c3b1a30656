"""Templates and site files are found from a wheel, an editable install and a plain checkout."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = (
    *("setup.cfg", "setup.py", "pyproject.toml", "LICENSE", "README.md"),
    *("hpcorch", "templates", "site"),
)
FOLDERS = ("templates", "site")

Files = dict[str, dict[str, str]]  # folder, file in it, digest

# Prints where each folder was found and the digest of every file in it.
LOOK = """
import hashlib, json
from hpcorch import paths
folders = {"templates": paths.templates_dir(), "site": paths.site_dir()}
files = {
    name: {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*") if path.is_file()
    }
    for name, folder in folders.items()
}
print(json.dumps([{name: str(folder) for name, folder in folders.items()}, files]))
"""


class Found(NamedTuple):
    folders: dict[str, str]
    files: Files


def call(*argv: str | Path, cwd: Path, **variables: str) -> str:
    # Without PYTHONPATH and outside the checkout, so that only what is installed can be found.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= variables
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def look(python: Path, cwd: Path) -> Found:
    return Found(*json.loads(call(python, "-c", LOOK, cwd=cwd)))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, with the awkward kinds of files that templates may be."""
    copy = tmp_path_factory.mktemp("checkout")
    unwanted = shutil.ignore_patterns("__pycache__", "*.so")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=unwanted)
        elif source.exists():
            shutil.copy2(source, copy / name)
    for name in ("top.j2", "new/deep/er/no-extension", "new/x.sh", "new/x.toml", "new/x.md"):
        path = copy / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return copy


@pytest.fixture(scope="module")
def expected(checkout: Path) -> Files:
    return {
        name: {
            path.relative_to(checkout / name).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in (checkout / name).rglob("*")
            if path.is_file()
        }
        for name in FOLDERS
    }


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # No isolation: the build then needs no network.
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir")
    call(*build, out, checkout, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def fresh_python(folder: Path, wheel: Path | None = None) -> Path:
    """Make an environment; the pip of this one installs into it, so no network is needed."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    if wheel:
        pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q")
        call(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    return python


def test_wheel(wheel: Path, checkout: Path, expected: Files, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for folder in FOLDERS:
        assert {f"hpcorch/_data/{folder}/{name}" for name in expected[folder]} <= set(names)
    assert "hpcorch/py.typed" in names
    assert any(name.startswith("hpcorch/module/server_module.") for name in names)
    assert "hpcorch/module/src/tensor.c" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"hpcorch"}

    python = fresh_python(tmp_path / "env", wheel)
    found = look(python, tmp_path)
    assert found.files == expected
    assert all(folder.startswith(str(tmp_path)) for folder in found.folders.values())
    assert (tmp_path / "env" / "bin" / "hpcorch").exists()


def test_without_a_compiler_the_server_module_is_left_out_and_the_rest_is_there(
    checkout: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(
        checkout, tmp_path / "copy", ignore=shutil.ignore_patterns("build", "*.egg-info")
    )
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir")
    call(*build, tmp_path, copy, cwd=tmp_path, CC="no-such-compiler")
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    assert not any(name.endswith(".so") for name in names)
    assert {"hpcorch/module/library.py", "hpcorch/module/src/tensor.c"} <= set(names)


def test_editable(checkout: Path, expected: Files, tmp_path: Path) -> None:
    # Building in place leaves files behind: not in the copy that the other tests share.
    copy = shutil.copytree(checkout, tmp_path / "copy")
    backend = "import sys; from setuptools.build_meta import *; build_editable(sys.argv[1])"
    call(sys.executable, "-c", backend, tmp_path, cwd=copy)
    (built,) = tmp_path.glob("*.whl")
    found = look(fresh_python(tmp_path / "env", built), tmp_path)
    assert found.files == expected
    assert found.folders["templates"] == str(copy / "templates")


def test_plain_checkout(checkout: Path, expected: Files, tmp_path: Path) -> None:
    found = look(fresh_python(tmp_path / "env"), checkout)
    assert found.files == expected
    assert found.folders["templates"] == str(checkout / "templates")


def test_every_package_is_listed() -> None:
    """`packages` in setup.cfg is written by hand: a new folder with code has to be added there."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = {name for name in config["options"]["packages"].split() if "._data." not in name}
    holding_code = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "hpcorch").rglob("*.py")
    }
    assert listed == holding_code
