"""A site's templates in real runs: what they add is done, when it should be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hpcorch import Experiment
from hpcorch.errors import SiteRefusal
from hpcorch.schedulers.base import TaskState
from tests.helpers import bash_model, free_port, until

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


# The first shard publishes the address when the second one has just ended.
ENDS_TOO_SOON = r"""{% extends "!core/base.sh.j2" %}
{% block before_launch %}
eval "publish() $(declare -f hpcorch_publish_address | tail -n +2)"
hpcorch_publish_address() {
  [[ $(<"$HPCORCH_RUN_DIR/shards/1.json") =~ \"pid\":([0-9]+) ]]
  kill -TERM "${BASH_REMATCH[1]}"
  until [[ -e $HPCORCH_RUN_DIR/exit/1 ]]; do hpcorch_pause; done
  publish
}
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


def test_a_line_of_the_site_that_fails_is_told_by_its_block(tmp_path, capsys):
    path = Path(os.environ["XDG_CONFIG_HOME"], "hpcorch", "templates", "base.sh.j2")
    for block, state in (
        ("site_modules", TaskState.FAILED),
        ("before_launch", TaskState.FAILED),
        ("after_stop", TaskState.COMPLETED),
    ):
        path.write_text(
            '{% extends "!core/base.sh.j2" %}\n'
            f"{{% block {block} %}}\nmissing-command\n{{% endblock %}}\n"
        )
        exp = Experiment(block, exp_path=tmp_path / block, launcher="local")
        model = bash_model(exp, "m", "exit 0")
        exp.start(model)
        assert exp.get_status(model) == [state]
        told = f"a line of the block {block} of this site's templates failed"
        assert (told in capsys.readouterr().out) is (state is TaskState.FAILED)
    errors = Path(exp.exp_path, "m", "logs", "m.0.err").read_text()
    assert "the block after_stop of this site's templates ended with code 127" in errors


@pytest.mark.redis
def test_a_shard_that_ends_while_the_address_is_published_has_it_taken_back(exp):
    path = Path(os.environ["XDG_CONFIG_HOME"], "hpcorch", "templates", "base.sh.j2")
    path.write_text(ENDS_TOO_SOON)
    database = exp.create_database(db_nodes=2, port=free_port(2))
    exp.start(database, wait=False)
    record = Path(exp.exp_path, "orchestrator", "exit", "0")
    until(record.exists, "the end of the first shard")
    reason = json.loads(record.read_text())["reason"]
    assert reason == "shard 1 ended before the database was ready"
    assert not Path(exp.exp_path, "orchestrator", "address.env").exists()
