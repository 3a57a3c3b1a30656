"""What `--json` prints is what docs/cli.md tells: every field, and its type."""

from __future__ import annotations

import importlib
import json
import re
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcorch.cli.main import VERBS, main
from hpcorch.cli.status import Service
from tests.helpers import ROOT
from tests.unit.cli.fakes import fake_run, say

CHAPTER = (ROOT / "docs/cli.md").read_text(encoding="utf-8").partition("\n## JSON\n")[2]
TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "flag": (bool,),
    "object": (dict,),
    "null": (type(None),),
    "any": (str, int, float, bool, dict, list),
}


def documented(verb: str) -> dict[str, tuple[type, ...]]:
    """Return the fields of the table that follows the first mention of a verb, with their types."""
    rows = CHAPTER.partition(f"`{verb}`")[2].partition("|---|---|---|\n")[2].partition("\n\n")[0]
    found = {}
    for row in rows.splitlines():
        names, kinds = row.split("|")[1:3]
        fields = re.findall(r"`([^`]+)`", names)
        each = kinds.split(",") * (1 if "," in kinds else len(fields))
        for field, kind in zip(fields, each, strict=True):
            found[field] = tuple(
                item for word in kind.split(" or ") for item in TYPES[word.strip()]
            )
    assert found, f"docs/cli.md tells nothing of the JSON of {verb}"
    return found


def fields(value: Any, path: str, free: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield what is in an object by its path; below the paths `free`, names are the user's own."""
    if isinstance(value, dict) and path not in free:
        if path:
            yield path, value
        for key, item in value.items():
            yield from fields(item, f"{path}.{key}" if path else key, free)
    elif isinstance(value, dict):
        for item in value.values():
            yield from fields(item, f"{path}.*", free)
    elif isinstance(value, list):
        for item in value:
            yield from fields(item, f"{path}[]", free)
    else:
        yield path, value


def assert_told(text: str, verb: str, also: tuple[str, ...] = ()) -> None:
    printed = json.loads(text)
    assert printed.pop("version") == 1
    known = {field: kinds for name in (verb, *also) for field, kinds in documented(name).items()}
    free = {field.partition(".*")[0] for field in known if ".*" in field}
    seen = set()
    for path, value in fields(printed, "", free):
        # A list of anything is one thing there.
        field = path if path in known else path.removesuffix("[]")
        if isinstance(value, dict) and field not in known:
            continue
        assert field in known, f"docs/cli.md does not tell of {path}, which {verb} prints"
        assert type(value) in known[field], (path, value)
        seen.add(field)
    missing = {field for field in documented(verb) if field not in seen}
    assert not missing, f"docs/cli.md tells of {missing}, which {verb} does not print"


@pytest.fixture
def ran(here: Path, mocker) -> Path:
    """A directory with a database that answers, a failed program and an ensemble."""
    fake_run(here, "db", kind="database", elements=2)
    fake_run(here, "m", code=1, reason="the program ended with exit code 1")
    heat = fake_run(here, "heat", kind="ensemble", elements=2, code=0)
    (heat / "task-table").mkdir()
    (heat / "task-table" / "names").write_text("heat_0\nheat_1\n")
    say(here, "heat", "x")
    answers = Service(True, ("127.0.0.1:7000",), "none")
    mocker.patch("hpcorch.cli.status.service", side_effect=[answers, None, None])
    return here


@pytest.mark.parametrize("verb", ["status", "logs", "stop"])
def test_verbs_that_look_at_runs(verb, ran, capsys):
    assert main([verb, "--json"]) == 0
    assert_told(capsys.readouterr().out, verb)


def test_render(here, capsys):
    words = ["render", "database", "--security", "smartredis", "--json"]
    assert main([*words, "-o", "db.sh"]) == 0
    assert_told(capsys.readouterr().out, "render")
    assert main([*words, "--explain-pinning", "--db-cpus", "1"]) == 0
    assert_told(capsys.readouterr().out, "render --explain-pinning")
    (here / "x.toml").write_text('[database.db]\nsecurity = "smartredis"\n')
    assert main(["render", "x.toml", "--json", "-o", "jobs"]) == 0
    (script,) = json.loads(capsys.readouterr().out)["scripts"]
    assert_told(json.dumps({"version": 1, **script}), "render")


def test_verbs_that_look_at_the_machine(here, capsys):
    main(["doctor", "--json"])
    assert_told(capsys.readouterr().out, "doctor")
    main(["config", "show", "--json"])
    assert_told(capsys.readouterr().out, "config show")


def test_templates(here, capsys):
    folder = here / "local"
    folder.mkdir()
    (folder / "database.sh.j2").write_text("{{ job.name }}\n")
    assert main(["template", "lint", str(here), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert main(["template", "list", "--json"]) == 0
    both = {**json.loads(capsys.readouterr().out), **found}
    assert_told(json.dumps(both), "template list")


def test_a_template_its_extension_and_what_a_site_changes(here, capsys, monkeypatch):
    monkeypatch.setenv("HPCORCH_TEMPLATE_DIRS", str(here))
    assert main(["template", "eject", "base.sh.j2", "-o", "base.sh.j2", "--json"]) == 0
    ejected = json.loads(capsys.readouterr().out)
    assert ejected["text"] == (here / "base.sh.j2").read_text()
    assert ejected["file"] == str(here / "base.sh.j2")
    filled = ejected["text"].replace("{% block after_stop %}", "{% block after_stop %}\ntrue")
    (here / "base.sh.j2").write_text(filled)
    assert main(["template", "show", "base.sh.j2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["text"], shown["site"]) == (filled, True)
    assert main(["template", "diff", "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert "+true\n" in changed["changes"][0]["diff"]
    of_list = ("path", "summary", "site")
    both = {**{key: shown[key] for key in shown if key not in of_list}, **ejected, **changed}
    assert_told(json.dumps(both), "template show")


def test_every_verb_has_it_but_one(capsys):
    """What --help tells of a verb, or of the first of its actions."""
    for verb in VERBS:
        module = importlib.import_module(f"hpcorch.cli.{verb}")
        parser = ArgumentParser()
        module.arguments(parser)
        without = [name for name, it in leaves(verb, parser) if "--json" not in it.format_help()]
        assert without == (["completion"] if verb == "completion" else [])


def leaves(name: str, parser: ArgumentParser) -> list[tuple[str, ArgumentParser]]:
    """Return the parsers that have no actions below them."""
    below = [it for it in parser._actions if isinstance(it, _SubParsersAction)]
    if not below:
        return [(name, parser)]
    return [
        leaf for action, it in below[0].choices.items() for leaf in leaves(f"{name} {action}", it)
    ]


def test_a_module(here, mocker, capsys):
    mocker.patch("hpcorch.cli.module.find_module", return_value=here / "hpcorch.so")
    mocker.patch("hpcorch.cli.module._check", return_value="127.0.0.1:6379")
    for action in ("path", "check"):
        assert main(["module", action, "--json"]) == 0
        assert_told(capsys.readouterr().out, "module")


def test_an_error_is_told_elsewhere(here, capsys):
    for words in (["status"], ["logs"], ["stop"], ["start", "x.toml"], ["render", "x.toml"]):
        assert main([*words, "--json"]) in (2, 3)
        caught = capsys.readouterr()
        assert caught.out == ""
        assert caught.err.startswith("hpcorch: error: ")
