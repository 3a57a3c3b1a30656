"""The documentation site: it builds without a warning, and its links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.blocks import PAGES
from tests.helpers import ROOT

# Tags that make a browser fetch something, with the attribute that says what.
_FETCHES = {"script": "src", "link": "href", "img": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page refers to, what it fetches, and which anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if _FETCHES.get(tag) in found and found.get("rel") != "canonical":
            self.fetched.append(found[_FETCHES[tag]])


def build(checkout: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """All pages that readers come to by links; 404.html has absolute ones."""
    return {path.name: Page(path) for path in site.glob("*.html") if path.name != "404.html"}


def test_links_inside_the_site_lead_somewhere(pages: dict[str, Page], site: Path) -> None:
    assert len(pages) == len(PAGES) - 1 + 1, "README.md is no page, the changelog is one"
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = parts.path or name
            if target.endswith(".html"):
                assert target in pages, f"{name}: {link}"
                anchor = unquote(parts.fragment)
                assert not anchor or anchor in pages[target].anchors, f"{name}: {link}"
            else:
                assert (site / target).exists(), f"{name}: {link}"


def test_nothing_is_fetched_from_elsewhere(pages: dict[str, Page], site: Path) -> None:
    for name, page in pages.items():
        assert page.fetched
        for address in page.fetched:
            assert not urlsplit(address).netloc, f"{name}: {address}"
            assert (site / urlsplit(address).path).exists(), f"{name}: {address}"


def test_every_public_name_is_in_the_reference(pages: dict[str, Page]) -> None:
    import hpcorch
    import hpcorch.ml

    anchors = pages["api.html"].anchors
    described = {anchor.rpartition(".")[2] for anchor in anchors}
    levels = {"LLQuiet", "LLInfo", "LLDebug", "LLDeveloper"}
    assert {*hpcorch.__all__, *hpcorch.ml.__all__} - levels <= described
    for kind in (hpcorch.Client, hpcorch.Experiment, hpcorch.Model, hpcorch.RunSettings):
        for name in dir(kind):
            where = f"{kind.__module__}.{kind.__name__}.{name}"
            assert name.startswith("_") or where in anchors, where


def test_a_page_in_no_menu_and_a_broken_link_are_errors(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / "hpcorch").mkdir()
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=compiled)
    (tmp_path / "docs/api.md").write_text("# Python API\n")
    (tmp_path / "docs/lost.md").write_text("# Lost\n\n[away](nowhere.md)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "lost.md" in done.stderr
    assert "nowhere.md" in done.stderr


def test_links_of_files_lead_to_files() -> None:
    """As somebody sees them who reads the sources, README.md first of all."""
    for page in (*PAGES, ROOT / "CHANGELOG.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            made_by_hook = link == "changelog.md"
            if not urlsplit(link).scheme and not made_by_hook:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
