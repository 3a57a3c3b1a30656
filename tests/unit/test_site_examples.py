"""The profiles in site/: they can be read, and every kind of job is made with them."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from hpcorch import rehearse
from hpcorch.cli.template_check import check_directories, new_complaints
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import SiteRefusal
from hpcorch.paths import site_dir
from hpcorch.sites import Site, load_site

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROFILES = sorted(path.name for path in site_dir().glob("*.toml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that nobody else may write, whatever the modes in the checkout are."""
    copy = Path(shutil.copytree(site_dir(), tmp_path / "site"))
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


def loaded(folder: Path, name: str) -> Site:
    return load_site({"XDG_CONFIG_HOME": "/nonexistent"}, str(folder / name))


def test_the_example_has_every_key_with_its_default(folder):
    found = tomllib.loads((folder / "example.toml").read_text())
    defaults = {item.name: getattr(Site(), item.name) for item in dataclasses.fields(Site)}
    del defaults["origins"]
    assert {key: tuple(it) if isinstance(it, list) else it for key, it in found.items()} == defaults


@pytest.mark.parametrize("name", PROFILES)
def test_every_kind_of_job_is_made_with_a_profile(folder, name):
    site = loaded(folder, name)
    scheduler = "slurm" if site.scheduler == "auto" else site.scheduler
    made = rehearse.rehearsals(scheduler, site)
    assert len(made) >= 6
    for item in made:
        script = rehearse.render(item, scheduler, site.template_dirs)
        assert new_complaints(item, scheduler, script.text) == []
        if item.job.kind == "database" and site.interface:
            assert f"HPCORCH_INTERFACES=({' '.join(site.interface)})" in script.text


@pytest.mark.parametrize("name", PROFILES)
def test_the_lint_finds_nothing_in_the_templates_of_a_profile(folder, name):
    dirs = [Path(item) for item in loaded(folder, name).template_dirs]
    assert check_directories(dirs, Site(), ["slurm"]) == []


def test_the_machine_with_accounts_refuses_a_job_without_one(folder):
    site = loaded(folder, "slurm-gpu.toml")
    item = rehearse.rehearsals("slurm", site, BatchSettings())[0]
    with pytest.raises(SiteRefusal, match="db needs an account here"):
        rehearse.render(item, "slurm", site.template_dirs)


def test_the_readme_names_every_profile():
    text = (site_dir() / "README.md").read_text()
    assert [name for name in PROFILES if f"({name})" not in text] == []
