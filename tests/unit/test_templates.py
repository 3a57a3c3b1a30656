"""A site's templates: what is listed, ejected and found by the lint; what jobs offer to them."""

from __future__ import annotations

import dataclasses
import os
import typing
from pathlib import Path

import pytest

from hpcorch import rehearse, schedulers
from hpcorch.cli.template_check import check_directories
from hpcorch.errors import InputError, SiteRefusal, TemplateError
from hpcorch.paths import templates_dir
from hpcorch.plan import CONTEXT_VERSION, context
from hpcorch.plan.jobs import DatabaseJob, ModelJob
from hpcorch.render.catalogue import RESERVED, Catalogue
from hpcorch.sites import Site
from tests.helpers import tool

SHIPPED = Catalogue(templates_dir())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's template directory, on a machine that has shellcheck."""
    monkeypatch.setenv("PATH", str(Path(tool("shellcheck")).parent), prepend=os.pathsep)
    (tmp_path / "templates").mkdir(mode=0o755)
    return tmp_path / "templates"


def put(folder: Path, text: str, name: str = "base.sh.j2") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.write_text(text)
    path.chmod(0o644)
    return path


def extending(text: str) -> str:
    return '{#- hpcorch context 1 -#}{% extends "!core/base.sh.j2" %}\n' + text


def found(folder: Path) -> list[str]:
    """Return what the lint finds: line, message and cure."""
    return [
        f"{item.line}: {item.message} [{item.cure}]"
        for item in check_directories([folder], Site(), ["local"])
        if item.fault
    ]


def rendered(folder: Path, scheduler: str = "local") -> list[str]:
    return [
        rehearse.render(item, scheduler, [str(folder)]).text
        for item in rehearse.rehearsals(scheduler, Site())
    ]


@pytest.mark.parametrize(("kind", "job"), [("database", DatabaseJob), ("model", ModelJob)])
def test_every_attribute_of_a_job_is_documented_and_nothing_else(kind, job):
    told = {item.path for item in context.variables(kind) if item.path.count(".") == 1}
    assert told == {f"job.{item.name}" for item in dataclasses.fields(job)}
    for item in context.variables(kind):
        assert item.meaning
        assert item.type != "object" or any(
            other.path.startswith(item.path + ".") for other in context.variables(kind)
        )


def test_parts_of_a_job_are_documented_wholly():
    paths = {item.path for kind in context.kinds() for item in context.variables(kind)}
    for name, job in (("server", DatabaseJob), ("colocation", ModelJob), ("resources", ModelJob)):
        for part in typing.get_args(typing.get_type_hints(job)[name]) or [
            typing.get_type_hints(job)[name]
        ]:
            if dataclasses.is_dataclass(part):
                assert {f"job.{name}.{item.name}" for item in dataclasses.fields(part)} <= paths
    assert "job.databases[].directory" in paths


@pytest.mark.parametrize("scheduler", schedulers.names())
def test_every_kind_of_job_is_rehearsed_the_same_way_every_time(scheduler, folder):
    assert len(rendered(folder, scheduler)) >= 5
    assert rendered(folder, scheduler) == rendered(folder, scheduler)


def test_the_catalogue_names_every_template_and_says_what_it_is(folder):
    put(folder, extending(""))
    put(folder, "x\n", "own.j2")
    entries = {item.name: item for item in Catalogue(templates_dir(), [str(folder)]).entries()}
    assert entries["base.sh.j2"].path == str(folder / "base.sh.j2")
    assert entries["own.j2"].is_site
    assert not entries["slurm/database.sh.j2"].is_site
    assert all(item.summary for item in SHIPPED.entries())


def test_a_template_is_shown_as_it_is_used_and_as_it_was_shipped(folder):
    put(folder, "mine\n")
    both = Catalogue(templates_dir(), [str(folder)])
    assert both.source("base.sh.j2") == "mine\n"
    assert both.source("base.sh.j2", core=True) == SHIPPED.source("base.sh.j2")
    with pytest.raises(InputError, match=r"there is no template 'bse\.sh\.j2'") as caught:
        both.source("bse.sh.j2")
    assert caught.value.hint == "did you mean base.sh.j2?"


@pytest.mark.parametrize("name", ["base.sh.j2", "slurm/database.sh.j2", "pbs/model.sh.j2"])
def test_an_ejected_template_changes_nothing_until_it_is_filled(folder, name):
    text = SHIPPED.extension(name)
    for block in RESERVED:
        assert f"{{% block {block} %}}" in text
    for scheduler in ("slurm", "pbs"):
        before = rendered(folder, scheduler)
        path = put(folder, text, name)
        assert rendered(folder, scheduler) == before
        assert found(folder) == []
        path.unlink()


def test_blocks_that_hold_nothing_but_comments_make_a_script(folder):
    text = SHIPPED.extension("base.sh.j2").replace("%}\n{% endblock", "%}\n# later\n{% endblock")
    assert text.count("# later") == len(RESERVED)
    put(folder, text)
    assert found(folder) == []


def test_a_template_without_blocks_for_sites_is_not_ejected():
    with pytest.raises(InputError, match="has no blocks for sites to fill"):
        SHIPPED.extension("slurm/directives.sh.j2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            extending("{% block site_module %}{% endblock %}\n"),
            "2: no template above has a block 'site_module': it would be left out [did",
        ),
        (
            extending("{% block site_modules %}{{ job.nme|sh }}{% endblock %}\n"),
            "2: no job has 'nme' [did you mean name?]",
        ),
        (
            extending("{% if job.resources.acount %}{% endif %}\n"),
            "2: no job has 'resources.acount' [did you mean account?]",
        ),
        ("\n{{ job.name }}\n", "2: a value is printed without an approved filter"),
        ("{% if %}\n", "1: Expected an expression"),
        ('{% extends "bose.sh.j2" %}\n', "1: there is no template bose.sh.j2"),
        (
            "{#- hpcorch context 99 -#}\n",
            f"1: it was written for context 99, this hpcorch has {CONTEXT_VERSION}",
        ),
        (
            extending('{% block site_modules %}\n{% include "lib/module.sh" %}\n{% endblock %}\n'),
            "3: there is no template lib/module.sh [did you mean lib/modules.sh?]",
        ),
        (
            extending("{% block site_modules %}\nif true; then\n{% endblock %}\n"),
            "0: syntax error: unexpected end of file",
        ),
        (
            extending("{% block site_modules %}\n{{ job.elements|sh|comment }}{{ x|sh }}\n"
                      "{% endblock %}\n"),
            "3: there is no 'x' [`hpcorch template vars` lists all]",
        ),
        (
            extending("{% block site_modules %}{{ jobname|sh }}{% endblock %}\n"),
            "2: there is no 'jobname' [did you mean job.name?]",
        ),
        (
            extending("{% if job.acount %}{% endif %}\n"),
            "2: no job has 'acount' [did you mean job.resources.account?]",
        ),
        (
            extending("{% block site_modules %}\n{% if job.name %}\n{% endblock %}\n"),
            "4: {% endblock %} comes while {% if %} is still open [write {% endif %} before it]",
        ),
        (
            extending("{% if job.name %}{% elsif %}{% endif %}\n"),
            "2: there is no tag {% elsif %} [did you mean {% elif %}?]",
        ),
        (
            '{% extends "base.sh.j2" %}\n',
            '1: it extends itself [write "!core/base.sh.j2" there]',
        ),
        (
            '{% extends "core/base.sh.j2" %}\n',
            "1: there is no template core/base.sh.j2 [did you mean !core/base.sh.j2?]",
        ),
        (
            extending("{% block site_modules %}\necho {{ job.name|sh }} >>(x)\n{% endblock %}\n"),
            "3: syntax error near unexpected token `(' (in the local script: database of 1 shard",
        ),
        (
            extending("{% block before_launch %}\n#SBATCH --nice=1\n{% endblock %}\n"),
            "3: this #SBATCH line stands after the first command and has no effect",
        ),
    ],
)  # fmt: skip
def test_the_lint_names_the_line_and_the_cure(folder, text, expected):
    put(folder, text)
    assert any(item.startswith(expected) for item in found(folder)), found(folder)


def test_a_file_that_nothing_uses_is_a_slip_of_the_pen_unless_it_is_included(folder):
    put(folder, "x=1\n", "xyzzy.sh")
    assert found(folder) == [
        "1: no template of this name is used [`hpcorch template list` shows all]"
    ]
    put(folder, extending('{% block site_modules %}{% include "xyzzy.sh" %}{% endblock %}\n'))
    assert found(folder) == []


def test_a_file_that_others_may_write_is_found(folder):
    put(folder, extending("")).chmod(0o666)
    assert found(folder) == [f"1: it can be written by others [chmod go-w {folder / 'base.sh.j2'}]"]


def test_what_shellcheck_finds_is_told_once_at_the_line_of_the_file(folder):
    path = put(folder, extending("{% block site_modules %}\ncd $MODULES\n{% endblock %}\n"))
    (problem,) = check_directories([folder], Site(), ["local"])
    assert (problem.place, problem.quote) == (f"{path}:3", "cd $MODULES")
    assert problem.message.endswith(" more)")
    assert "(in the local script: database of 1 shard" in problem.message


def test_templates_that_extend_each_other_in_a_circle_are_refused(folder):
    put(folder, '{% extends "database.sh.j2" %}\n', "base.sh.j2")
    put(folder, '{% extends "base.sh.j2" %}\n', "database.sh.j2")
    with pytest.raises(TemplateError, match="go in a circle"):
        rendered(folder)
    assert found(folder)


def test_a_site_may_refuse_a_request_in_its_own_words(folder):
    rule = (
        '{% if job.kind == "database" and job.elements > 2 %}'
        '{% raise "databases have 2 shards here, " ~ job.name ~ " wants more" %}{% endif %}\n'
    )
    path = put(folder, extending("{% block site_modules %}\n" + rule + "{% endblock %}\n"))
    with pytest.raises(SiteRefusal) as caught:
        rendered(folder)
    assert caught.value.message == "databases have 2 shards here, db wants more"
    assert caught.value.hint == f"this rule of the site is in {path}:3"
    refusals = check_directories([folder], Site(), ["local"])
    assert [item.fault for item in refusals] == [False]
    assert "refused: databases have 2 shards here" in refusals[0].message


def test_a_template_for_another_context_is_refused_when_it_is_used(folder):
    path = put(folder, "{#- hpcorch context 0 -#}\n" + '{% extends "!core/base.sh.j2" %}\n')
    with pytest.raises(TemplateError, match=f"{path}:1: it was written for context 0"):
        rendered(folder)
