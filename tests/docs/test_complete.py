"""The pages leave out no error, site key or verb, and quote what is really said."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from hpcorch import errors
from hpcorch.cli.main import VERBS
from hpcorch.client import errors as client_errors
from hpcorch.sites import Queue, Site
from tests.helpers import ROOT

_PAGE = (ROOT / "docs/failures.md").read_text(encoding="utf-8")
# Shorter pieces of a sentence would be found everywhere.
_SHORT = 6


def said(path: Path) -> str:
    """Return a source's text with sentences that go over several lines in one piece."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"""["']\s*\n\s*f?["']""", "", text)
    return re.sub(r'"\s*\\\n\s*"', " ", text)


def quotations() -> list[str]:
    """Return what stands in the column of things that are said, or in the first one without it."""
    rows = re.findall(r"^\| (?:`\w+` \| )?`([^`]*… ?[^`]*|[^`]* [^`]*)` \|", _PAGE, re.MULTILINE)
    assert len(rows) > 30
    return [row for row in rows if " " in row]


def test_every_error_has_a_row() -> None:
    for module in (errors, client_errors):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, errors.HpcorchError):
                assert f"`{name}`" in _PAGE, name


def test_every_site_key_has_a_row() -> None:
    page = (ROOT / "docs/start-site.md").read_text(encoding="utf-8")
    for key in {item.name for item in dataclasses.fields(Site)} - {"origins"}:
        assert f"| `{key}` |" in page, key
    for item in dataclasses.fields(Queue):
        assert re.search(rf"^\| .*`{item.name}`.* \|", page, re.MULTILINE), item.name


def test_every_verb_has_a_row() -> None:
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"| [`{verb}`](" in page, verb


def test_what_is_quoted_is_what_is_said() -> None:
    sources = [*(ROOT / "hpcorch").rglob("*.py"), *(ROOT / "templates").rglob("*.*")]
    texts = "\n".join(said(path) for path in sources)
    for quotation in quotations():
        for piece in quotation.split("…"):
            if len(piece.strip()) >= _SHORT:
                assert piece.strip(" :") in texts, quotation
