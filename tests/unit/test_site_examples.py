"""The profiles in site/: they can be read, and every kind of job is made with them."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from hpcorch import rehearse
from hpcorch.cli.script_check import new_complaints
from hpcorch.cli.template_check import check_directories
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError, SiteRefusal
from hpcorch.paths import site_dir
from hpcorch.plan import check_site
from hpcorch.sites import Queue, Site, load_site

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
    del defaults["origins"], defaults["queues"]
    assert {key: tuple(it) if isinstance(it, list) else it for key, it in found.items()} == defaults


@pytest.mark.parametrize("name", PROFILES)
def test_every_kind_of_job_is_made_with_a_profile(folder, name):
    site = loaded(folder, name)
    scheduler = "slurm" if site.scheduler == "auto" else site.scheduler
    made = rehearse.rehearsals(scheduler, site)
    assert len(made) >= 6
    for item in made:
        script = rehearse.render(item, scheduler, site.template_dirs)
        assert ("hpcorch_load_modules" in script.text) is bool(site.load_modules)
        assert new_complaints(item, scheduler, script.text) == []
        if item.job.kind == "database" and site.interface:
            assert f"HPCORCH_INTERFACES=({' '.join(site.interface)})" in script.text


@pytest.mark.parametrize("name", PROFILES)
def test_the_lint_finds_nothing_in_the_templates_of_a_profile(folder, name):
    dirs = [Path(item) for item in loaded(folder, name).template_dirs]
    assert check_directories(dirs, Site(), ["slurm"]) == []


def test_the_example_shows_every_key_of_a_queue(folder):
    text = (folder / "example.toml").read_text()
    shown = "".join(line.removeprefix("# ") + "\n" for line in text.splitlines()[-7:])
    table = tomllib.loads(shown)["queues"]["batch"]
    defaults = {item.name: getattr(Queue(), item.name) for item in dataclasses.fields(Queue)}
    assert {key: tuple(it) if isinstance(it, list) else it for key, it in table.items()} == defaults


@pytest.mark.parametrize(
    ("name", "queue", "refusal"),
    [
        ("slurm-gpu.toml", "", "account of db is missing"),
        ("slurm-gpu.toml", "debgu", "this site has gpu, debug, shared"),
        ("cray-pbs.toml", "", "account of db is missing"),
        ("cray-pbs.toml", "debug", "db needs 3 nodes: the queue debug allows 2"),
        ("slurm-shared.toml", "short", "time of db is 3:00:00: the queue short allows 02:00:00"),
    ],
)
def test_a_profile_refuses_what_its_machine_would_not_run(folder, name, queue, refusal):
    site = loaded(folder, name)
    account = "" if "account" in refusal else "abc"
    batch = BatchSettings(time="3:00:00", queue=queue, account=account)
    gang = [item for item in rehearse.rehearsals(site.scheduler, site, batch) if item.job.gang]
    with pytest.raises(InputError, match=refusal):
        check_site(gang[0].job, site, batch=True)


def test_the_machine_with_gpus_refuses_model_workers_where_there_are_none(folder):
    site = loaded(folder, "slurm-gpu.toml")
    for queue, refused in (("shared", True), ("gpu", False)):
        made = rehearse.rehearsals("slurm", site, BatchSettings(queue=queue))
        (item,) = (item for item in made if item.title == "database with AI model workers")
        if refused:
            with pytest.raises(SiteRefusal, match="nodes of the queue shared have no GPU"):
                rehearse.render(item, "slurm", site.template_dirs)
        else:
            script = rehearse.render(item, "slurm", site.template_dirs).text
            assert "#SBATCH --gpus-per-node=1" in script


def test_the_readme_names_every_profile():
    text = (site_dir() / "README.md").read_text()
    assert [name for name in PROFILES if f"({name})" not in text] == []
