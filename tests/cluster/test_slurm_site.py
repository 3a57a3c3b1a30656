"""`hpcorch site check` on a cluster, with a site's profile and templates."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    done = lab.cluster.run(words, cwd=lab.path, env=site_env, check=False, timeout=100)
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
