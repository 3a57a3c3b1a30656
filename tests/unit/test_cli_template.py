"""The verb `template`: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcorch.cli.main import main
from hpcorch.paths import templates_dir

LOADS = (
    '{% extends "!core/base.sh.j2" %}\n{% block site_modules %}\nmodule load x\n{% endblock %}\n'
)


@pytest.fixture
def user_dir(tmp_path: Path) -> Path:
    """The user's template directory, which is always in use."""
    folder = tmp_path / "config" / "hpcorch" / "templates"
    folder.mkdir(parents=True, mode=0o755)
    return folder


def test_list_shows_which_templates_are_the_site_s(user_dir, capsys):
    (user_dir / "base.sh.j2").write_text(LOADS)
    assert main(["template", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["base.sh.j2", str(user_dir / "base.sh.j2")] for line in lines)
    assert main(["template", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["templates"]
    assert [row["name"] for row in rows if row["site"]] == ["base.sh.j2"]


def test_show_prints_a_template_byte_for_byte(capsysbinary):
    assert main(["template", "show", "base.sh.j2"]) == 0
    assert capsysbinary.readouterr().out == (templates_dir() / "base.sh.j2").read_bytes()


def test_eject_writes_a_file_that_the_lint_accepts_and_never_overwrites(user_dir, capsys):
    path = user_dir / "base.sh.j2"
    assert main(["template", "eject", "base.sh.j2", "-o", str(path)]) == 0
    assert f"hpcorch template lint {user_dir}" in capsys.readouterr().err
    text = path.read_text()
    assert main(["template", "lint"]) == 0
    assert "nothing to cure" in capsys.readouterr().err
    assert main(["template", "eject", "base.sh.j2", "-o", str(path)]) == 2
    assert path.read_text() == text


def test_lint_returns_1_and_shows_the_line_and_the_cure(user_dir, capsys):
    path = user_dir / "base.sh.j2"
    path.write_text(LOADS.replace("module load x", "module load {{ job.name }}"))
    assert main(["template", "lint"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(
        f"{path}:3: a value is printed without an approved filter\n"
        "    module load {{ job.name }}\n"
        "  cure: end it in one of: |sh,"
    )
    assert "1 to cure" in said.err
    assert main(["template", "lint", "--json", str(user_dir)]) == 1
    finding = json.loads(capsys.readouterr().out)["findings"][0]
    assert (finding["line"], finding["fault"]) == (3, True)


def test_lint_of_what_is_no_directory_is_bad_input(tmp_path, capsys):
    assert main(["template", "lint", str(tmp_path / "none")]) == 2
    assert "is no directory" in capsys.readouterr().err


def test_a_directory_of_the_profile_that_is_missing_is_told(user_dir, capsys):
    profile = user_dir.parent / "site.toml"
    profile.write_text('template_dirs = ["nowhere"]\n')
    assert main(["template", "lint"]) == 2
    said = capsys.readouterr().err
    assert f"{user_dir.parent / 'nowhere'} is no directory" in said
    assert f"correct template_dirs in {profile}" in said
    assert main(["site", "check", "--scheduler", "local"]) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fail")]
    assert len(found) == 1
    assert "nowhere is no directory; cure: correct template_dirs" in found[0]


def test_an_override_that_does_not_extend_the_core_template_is_told(user_dir, capsys):
    path = user_dir / "base.sh.j2"
    path.write_text("{#- hpcorch context 1 -#}\n{% block body %}{% endblock %}\n")
    assert main(["template", "lint"]) == 1
    said = capsys.readouterr().out
    assert f"{path}:1: it does not extend !core/base.sh.j2: scripts have only what" in said
    assert "without the blocks directives, site_directives" in said
    assert 'cure: write {% extends "!core/base.sh.j2" %} at its beginning' in said
    core = (templates_dir() / "base.sh.j2").read_text()
    path.write_text("{#- hpcorch context 1 -#}\n" + core)
    assert main(["template", "lint", "--scheduler", "local"]) == 0
    assert "it does not extend !core/base.sh.j2: scripts have only what stands here\n" in (
        capsys.readouterr().out
    )
    # What has no blocks can only be replaced as a whole.
    path.rename(user_dir / "redis.conf.j2")
    (user_dir / "redis.conf.j2").write_text("{#- hpcorch context 1 -#}\nsave 900 1\n")
    assert main(["template", "lint", "--scheduler", "local"]) == 0
    assert capsys.readouterr().out == ""


def test_diff_shows_what_the_site_changes_in_the_scripts(user_dir, capsys):
    assert main(["template", "diff"]) == 0
    assert "no difference" in capsys.readouterr().err
    (user_dir / "base.sh.j2").write_text(LOADS)
    assert main(["template", "diff", "--scheduler", "pbs"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n+module load x\n") >= 5
    assert main(["template", "diff", "base.sh.j2"]) == 0
    assert "\n+module load x\n" in capsys.readouterr().out


def test_vars_lists_what_templates_can_print(capsys):
    assert main(["template", "vars", "database"]) == 0
    out = capsys.readouterr().out
    assert "job.resources.account" in out
    assert "template context 1" in out
    assert main(["template", "vars", "--json"]) == 0
    kinds = json.loads(capsys.readouterr().out)["kinds"]
    assert {"database", "model"} <= set(kinds)


def test_without_an_action_the_next_step_is_told(capsys):
    assert main(["template"]) == 2
    assert "hpcorch template list" in capsys.readouterr().err
