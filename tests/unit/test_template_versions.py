"""Upgrades that change what templates see: which override must be looked at, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch import rehearse
from hpcorch.cli.main import main
from hpcorch.cli.template_check import check_directories
from hpcorch.errors import TemplateError
from hpcorch.plan import CONTEXT_VERSION, context
from hpcorch.plan.changes import CHANGES, Change
from hpcorch.render import versions
from hpcorch.sites import Site
from tests.helpers import ROOT

NAMES = ROOT / "tests/golden/context.txt"
OVERRIDE = """\
{#- hpcorch context 1 -#}
{% extends "!core/base.sh.j2" %}
{% block site_modules %}
echo {{ job.run_dir|sh }} {{ job.resources.queue|sh }}
{% endblock %}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir(mode=0o755)
    (folder / "base.sh.j2").write_text(OVERRIDE)
    return folder


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch):
    """As if hpcorch had a later context, with these changes."""

    def upgrade(*changes: Change) -> None:
        monkeypatch.setattr(versions, "CONTEXT_VERSION", max(it.version for it in changes))
        monkeypatch.setattr(versions, "CHANGES", changes)

    return upgrade


def told(folder: Path) -> list[str]:
    return [item.text() for item in check_directories([folder], Site(), ["local"])]


def render(folder: Path) -> None:
    rehearse.render(rehearse.rehearsals("local", Site())[0], "local", [str(folder)])


def test_lines_that_use_what_has_changed_are_named(folder, upgraded):
    upgraded(
        Change(2, "job.run_dir", "a list"),
        Change(3, "site_modules", "printed twice"),
        Change(3, "job.resources", "gone: use job.request"),
    )
    path = folder / "base.sh.j2"
    cure = "\n  cure: correct it, then write context 3 in line 1"
    block = "{% block site_modules %}"
    line = "echo {{ job.run_dir|sh }} {{ job.resources.queue|sh }}"
    assert told(folder) == [
        f"{path}:3: since context 3 site_modules is printed twice\n    {block}{cure}",
        f"{path}:4: since context 3 job.resources is gone: use job.request\n    {line}{cure}",
        f"{path}:4: since context 2 job.run_dir is a list\n    {line}{cure}",
    ]
    with pytest.raises(TemplateError, match=r"site_modules is printed twice.*\(and 2 more: "):
        render(folder)


def test_a_template_that_uses_nothing_of_it_goes_on_with_a_remark(folder, upgraded):
    upgraded(Change(2, "job.token", "longer"), Change(2, "job.run", "gone"))
    (remark,) = check_directories([folder], Site(), ["local"])
    assert not remark.fault
    assert remark.message == (
        "it was written for context 1, this hpcorch has 2; changed since: job.token, job.run"
    )
    assert "then write 2 there" in remark.cure
    render(folder)


def test_site_check_and_lint_tell_which_file_must_be_looked_at(folder, upgraded, capsys):
    profile = folder.parent / "config" / "hpcorch" / "site.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text(f'template_dirs = ["{folder}"]\n')
    upgraded(Change(2, "job.token", "longer"))
    assert main(["site", "check", "--scheduler", "local"]) == 0
    assert f"warn  templates                      {folder}/base.sh.j2:1: it was written for" in (
        capsys.readouterr().out
    )
    upgraded(Change(2, "job.run_dir", "a list"))
    assert main(["site", "check", "--scheduler", "local"]) == 1
    assert f"fail  templates                      {folder}/base.sh.j2:4: since context 2 job." in (
        capsys.readouterr().out
    )
    assert main(["template", "lint"]) == 1
    assert "base.sh.j2:4: since context 2 job.run_dir is a list" in capsys.readouterr().out


def test_a_template_that_does_not_say_its_version_gets_a_remark(folder):
    path = folder / "base.sh.j2"
    path.write_text(OVERRIDE.partition("\n")[2])
    (remark,) = check_directories([folder], Site(), ["local"])
    assert not remark.fault
    assert "begin it with {#- hpcorch context" in remark.cure
    render(folder)


def test_names_that_templates_know_stay_as_long_as_the_version_does(request):
    """Sites rely on them: whoever takes one away or changes its type raises the version."""
    lines = [
        f"{kind} {item.path}: {item.type}"
        for kind in context.kinds()
        for item in context.variables(kind)
    ]
    if request.config.getoption("--update-golden"):
        NAMES.write_text("".join(f"{line}\n" for line in (f"context {CONTEXT_VERSION}", *lines)))
    version, *known = NAMES.read_text().splitlines()
    hint = "raise CONTEXT_VERSION, write down in plan/changes.py what has changed, `make golden`"
    assert version == f"context {CONTEXT_VERSION}", "`make golden`"
    assert [line for line in known if line not in lines] == [], hint


def test_every_version_has_changes():
    assert {change.version for change in CHANGES} == set(range(2, CONTEXT_VERSION + 1))
