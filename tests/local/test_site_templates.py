"""A site's templates in real runs: what they add is done, when it should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcorch.errors import SiteRefusal
from tests.helpers import bash_model, free_port

OVERRIDE = """\
{% extends "!core/base.sh.j2" %}
{% block site_modules %}
{% if "forbidden" in job.name %}
{% raise "no job may be called " ~ job.name %}
{% endif %}
export SITE_LOADED={{ job.name|sh }}
{% endblock %}
{% block before_launch %}
echo "before $SITE_LOADED" >>{{ job.run_dir|sh }}/site.log
{% endblock %}
{% block after_stop %}
echo "after with code $HPCORCH_CODE" >>{{ job.run_dir|sh }}/site.log
{% endblock %}
"""


@pytest.fixture(autouse=True)
def site_templates(own_surroundings):
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "hpcorch" / "templates"
    folder.mkdir(parents=True, mode=0o755)
    (folder / "base.sh.j2").write_text(OVERRIDE)


def log(directory: str, name: str) -> list[str]:
    return Path(directory, name, "site.log").read_text().splitlines()


@pytest.mark.redis
def test_what_a_site_adds_is_done_before_the_start_and_after_the_stop(exp):
    database = exp.create_database(port=free_port())
    model = bash_model(exp, "m", 'echo "$SITE_LOADED" >seen; exit 3')
    exp.start(database, model)
    assert log(exp.exp_path, "m") == ["before m", "after with code 3"]
    assert Path(exp.exp_path, "m", "seen").read_text() == "m\n"
    assert log(exp.exp_path, "orchestrator") == ["before orchestrator"]
    exp.stop()
    assert log(exp.exp_path, "orchestrator")[1:] == ["after with code 0"]


def test_what_a_site_refuses_is_not_submitted(exp):
    model = bash_model(exp, "forbidden", "exit 0")
    with pytest.raises(SiteRefusal, match="no job may be called forbidden"):
        exp.start(model)
    assert not Path(exp.exp_path, "forbidden").exists()
