"""Templates: what is refused, what a site may override, and how values are quoted."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from hpcorch.describe.model import Model
from hpcorch.describe.settings import RunSettings
from hpcorch.errors import RenderError, TemplateError, UnsafeTemplate
from hpcorch.paths import templates_dir
from hpcorch.render import FILTERS, Renderer, refuse_if_others_may_write
from tests.helpers import model_job


@pytest.fixture
def site(tmp_path):
    """A site's template directory with a way to write into it."""
    folder = tmp_path / "templates"
    (folder / "local").mkdir(parents=True, mode=0o700)
    return folder


def write(site: Path, text: str, name: str = "local/model.sh.j2") -> Path:
    path = site / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return path


def rendered(*dirs: Path):
    job = model_job(Model("m", RunSettings("p")), "/r", "/bin/p")
    return Renderer(templates_dir(), [str(item) for item in dirs]).render(job, "local", "1")


@pytest.mark.parametrize(
    "expression",
    [
        "{{ job.name }}",
        "{{ job.name|upper }}",
        "{{ job.name|sh|upper }}",
        "{{ 'a' ~ job.name }}",
        "{{ job.name|safe }}",
        "{% if true %}{{ job.run_dir }}{% endif %}",
        "{{ job.name|sh ~ 'x' }}",
        "{{ (job.name|sh) if true else job.name }}",
    ],
)
def test_a_value_without_an_approved_filter_is_refused_with_its_place(site, expression):
    path = write(site, f"#!/bin/bash\n\necho {expression}\n")
    with pytest.raises(UnsafeTemplate) as caught:
        rendered(site)
    assert caught.value.message.startswith(f"{path}:3: a value is printed without")
    assert "|sh" in caught.value.hint


@pytest.mark.parametrize("name", FILTERS)
def test_every_approved_filter_is_let_through(site, name):
    value = "job.elements" if name == "count" else "job.name"
    write(site, f"{{{{ {value}|{name} }}}}\n")
    assert rendered(site).text


def test_a_value_in_an_included_or_parent_template_is_checked_too(site):
    write(site, '{% include "mine.j2" %}\n')
    path = write(site, "{{ job.name }}\n", "mine.j2")
    with pytest.raises(UnsafeTemplate, match=f"{path}:1"):
        rendered(site)


def test_a_site_s_template_may_extend_the_shipped_one_of_the_same_name(site):
    write(
        site,
        '{% extends "!core/local/model.sh.j2" %}\n'
        "{% block site_modules %}\nmodule load {{ job.name|sh }}\n{% endblock %}\n",
    )
    ours, theirs = rendered().text, rendered(site).text
    assert "module load m\n" in theirs
    assert "hpcorch_run_program\n" in theirs
    assert "module load" not in ours


@pytest.mark.parametrize(
    "block", ["site_directives", "site_modules", "before_launch", "after_stop"]
)
def test_every_reserved_block_can_be_filled(site, block):
    write(
        site,
        '{% extends "!core/local/model.sh.j2" %}\n'
        f"{{% block {block} %}}\n: filled\n{{% endblock %}}\n",
    )
    assert rendered(site).text.count(": filled\n") == 1


def test_a_template_of_a_site_wins_over_the_shipped_one_and_the_first_site_wins(site, tmp_path):
    second = tmp_path / "second"
    write(site, "first\n")
    write(second, "second\n")
    assert rendered(site, second).text == "first\n"
    assert rendered(second, site).text == "second\n"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_template_that_others_may_write_is_refused(site, mode):
    path = write(site, "x\n")
    path.chmod(mode)
    with pytest.raises(UnsafeTemplate, match="can be written by others") as caught:
        rendered(site)
    assert caught.value.hint == f"chmod go-w {path}"


def test_a_template_in_a_directory_that_others_may_write_is_refused(site):
    write(site, "x\n")
    (site / "local").chmod(0o777)
    with pytest.raises(UnsafeTemplate, match="can be written by others"):
        rendered(site)
    (site / "local").chmod(0o700)
    site.chmod(0o777)
    with pytest.raises(UnsafeTemplate, match="can be written by others"):
        rendered(site)


def test_a_template_of_another_user_is_refused(site, mocker):
    path = write(site, "x\n")
    mocker.patch("os.getuid", return_value=4711)
    if path.stat().st_uid == 0:
        refuse_if_others_may_write(path)  # What belongs to root is believed.
        os.chown(path, 4712, -1)
    with pytest.raises(UnsafeTemplate, match="belongs to neither you nor root"):
        refuse_if_others_may_write(path)


@pytest.mark.parametrize(
    "text",
    ["{{ job.no_such_thing|sh }}", "{{ nothing|sh }}", "{% if job.colocation.x %}{% endif %}"],
)
def test_an_unknown_name_is_an_error(site, text):
    write(site, text + "\n")
    with pytest.raises(RenderError, match=r"local/model\.sh\.j2"):
        rendered(site)


def test_a_syntax_error_is_told_with_its_place(site):
    path = write(site, "\n{% if %}\n")
    with pytest.raises(TemplateError, match=rf"{path}:2: "):
        rendered(site)


@pytest.mark.parametrize("name", ["../x.j2", "/etc/passwd", "!core/../setup.cfg"])
def test_a_template_name_cannot_leave_the_directories(site, name):
    write(site, f'{{% include "{name}" %}}\n')
    with pytest.raises(TemplateError, match="leaves the template directories"):
        rendered(site)


def test_a_missing_template_is_named(site):
    write(site, '{% include "missing.j2" %}\n')
    with pytest.raises(TemplateError, match=r"there is no template missing\.j2"):
        rendered(site)


def test_bash_libraries_are_taken_as_they_are(site):
    write(site, '{% include "mine.sh" %}\n')
    write(site, "# shellcheck shell=bash\necho ${#x} {{ y }} {% z %}\n", "mine.sh")
    assert rendered(site).text == "echo ${#x} {{ y }} {% z %}\n"


def test_the_shell_filter_quotes_texts_numbers_and_lists():
    words = ["a b", "it's", "", "$(x)", "\n", 5]
    text = FILTERS["sh"](words)
    assert shlex.split(text) == [str(word) for word in words]
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\0")[:-1] == [str(word) for word in words]


@pytest.mark.parametrize("value", [None, True, 1.5, {"a": 1}, object()])
def test_the_shell_filter_refuses_what_is_neither_text_nor_number(value):
    with pytest.raises(RenderError, match="the sh filter got"):
        FILTERS["sh"](value)


def test_the_count_filter_takes_whole_numbers_and_flags_only():
    assert FILTERS["count"](7) == "7"
    assert FILTERS["count"](True) == "1"
    for value in ("7", 1.0, None):
        with pytest.raises(RenderError, match="the count filter got"):
            FILTERS["count"](value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain-1.2_/:,", "plain-1.2_/:,"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        (["save", "900", ""], 'save 900 ""'),
    ],
)
def test_the_conf_filter_quotes_as_redis_conf_does(value, expected):
    assert FILTERS["conf"](value) == expected


def test_a_comment_stays_on_its_line():
    assert FILTERS["comment"]("a\nb\x1b[0m") == "a?b?[0m"
