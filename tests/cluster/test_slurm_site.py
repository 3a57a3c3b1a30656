"""`hpcorch site check` on a cluster, with a site's profile and templates."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch.paths import site_dir
from tests.cluster.scenarios import Lab
from tests.helpers import tool
from tests.testbed.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.redis]

OVERRIDE = """\
{% extends "!core/base.sh.j2" %}
{% block site_directives %}
#SBATCH --nice=1
{% endblock %}
{% block after_stop %}
echo {{ job.name|sh }} >>{{ ended|sh }}
{% endblock %}
"""


@pytest.fixture
def lab(cluster: Cluster, shared_path: Path) -> Lab:
    return Lab(cluster, shared_path)


@pytest.fixture
def site_env(shared_path: Path) -> dict[str, str]:
    """A site with a profile and templates of its own; `ended` notes what has stopped."""
    templates = shared_path / "templates"
    templates.mkdir(mode=0o755)
    text = OVERRIDE.replace("{{ ended|sh }}", str(shared_path / "ended"))
    (templates / "base.sh.j2").write_text(text)
    profile = shared_path / "site.toml"
    profile.write_text('scheduler = "slurm"\ntemplate_dirs = ["templates"]\n')
    return {"HPCORCH_SITE": str(profile)}


def check(lab: Lab, site_env: dict[str, str], *options: str) -> tuple[int, str]:
    words = [tool("hpcorch"), "site", "check", *options]
    done = lab.cluster.run(words, cwd=lab.path, env=site_env, check=False, timeout=180)
    return done.returncode, done.stdout + done.stderr


def test_site_check_runs_a_database_and_a_program_with_the_site_s_templates(lab, site_env):
    code, text = check(lab, site_env, "--submit", "--time", "0:10:00")
    assert code == 0, text
    assert "to start at" in text  # Slurm itself has looked at the scripts.
    assert "ok    program with a database" in text
    ended = (lab.path / "ended").read_text().split()
    assert sorted(ended) == ["orchestrator", "orchestrator", "site_check_program"]
    assert not list(lab.path.glob("hpcorch-site-check*"))


def test_what_slurm_would_refuse_is_told_before_anything_is_submitted(lab, site_env):
    code, text = check(lab, site_env, "--submit", "--queue", "nowhere")
    assert code == 1
    assert "invalid partition specified: nowhere" in text
    assert "nothing is submitted" in text
    assert not lab.jobs()


def test_queues_of_the_profile_are_held_against_those_of_the_cluster(lab, site_env):
    profile = Path(site_env["HPCORCH_SITE"])
    profile.write_text('scheduler = "slurm"\n[queues.debug]\nmax_nodes = 99\n')
    code, text = check(lab, site_env, "--queue", "debug")
    assert code == 0, text
    assert "warn  queues                         queue debug allows 99 nodes and has 4" in text
    profile.write_text('scheduler = "slurm"\n[queues.debgu]\n')
    code, text = check(lab, site_env)
    assert code == 1
    assert "fail  queues                         there is no queue debgu; cure: the batch " in text


@pytest.fixture
def example_sites(cluster: Cluster, shared_path: Path) -> Iterator[Path]:
    """The profiles of site/ for Slurm, where nodes see them; the cluster has their queues."""
    folder = Path(shutil.copytree(site_dir(), shared_path / "site"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    modules = folder / "modules"
    modules.mkdir(mode=0o755)
    # A module as the machine with GPUs has it; it notes each job that has loaded it.
    note = f"exec sh -c {{echo loaded >>{shared_path}/loaded}}"
    (modules / "valkey").write_text(f"#%Module\nsetenv SITE_MODULE valkey\n{note}\n")
    queues = ("gpu", "shared", "batch")
    for name in queues:
        cluster.run(["scontrol", "create", f"PartitionName={name}", "Nodes=ALL", "State=UP"])
    yield folder
    # Slurm keeps a partition while it thinks that a job runs there.
    cluster.wait_idle()
    for name in queues:
        cluster.run(["scontrol", "delete", f"PartitionName={name}"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("slurm-gpu", ("--account", "abc", "--time", "00:10:00")),
        ("slurm-shared", ()),
    ],
)
def test_an_example_profile_runs_databases_and_programs(lab, example_sites, name, options):
    env = {
        "HPCORCH_SITE": str(example_sites / f"{name}.toml"),
        # The one thing that this cluster has otherwise.
        "HPCORCH_INTERFACE": "eth0",
        "MODULEPATH": str(example_sites / "modules"),
    }
    code, text = check(lab, env, "--submit", *options)
    assert code == 0, text
    assert "in partition gpu" in text if name == "slurm-gpu" else "in partition batch" in text
    assert "ok    program with a database" in text
    loaded = lab.path / "loaded"
    # Two shards and a program.
    assert (loaded.read_text().split() if loaded.exists() else []) == 3 * ["loaded"] * (
        name == "slurm-gpu"
    )


def test_a_module_that_is_not_there_fails_the_job_by_its_name(lab, example_sites):
    env = {"HPCORCH_LOAD_MODULES": "nothere", "MODULEPATH": str(example_sites / "modules")}
    code, text = check(lab, env, "--submit", "--time", "0:10:00")
    assert code == 1
    assert "module nothere cannot be loaded on node" in text
