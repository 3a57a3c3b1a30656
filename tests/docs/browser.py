"""The documentation in a real browser; `make docs-check` runs it, since Chromium is large.

Needs the extra `browser`, and a Chromium on PATH.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.helpers import ROOT

SITE = ROOT / "build/docs"
NAMES = sorted(path.name for path in SITE.glob("*.html") if path.name != "404.html")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and does not write down each one."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the built site is served, on this machine only."""
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    assert program, "chromium is missing: install it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A tab in which no script may fail, and that may ask nobody else."""
    faults: list[str] = []
    page = browser.new_page()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(address) else faults.append(asked.url),
    )
    yield page
    page.close()
    assert not faults


def test_the_site_was_built() -> None:
    assert "index.html" in NAMES, "run make docs"


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_shown(page: Page, address: str, name: str) -> None:
    answer = page.goto(f"{address}/{name}", wait_until="networkidle")
    assert answer is not None
    assert answer.ok
    expect(page.locator("article h1")).to_be_visible()
    # A fence that Markdown did not understand stays in the text.
    assert "```" not in page.locator("article").inner_text()


def test_the_menu_leads_through_all_pages(page: Page, address: str) -> None:
    page.goto(f"{address}/index.html", wait_until="networkidle")
    links = page.locator("nav.md-nav--primary a.md-nav__link[href]")
    found = {links.nth(i).get_attribute("href") for i in range(links.count())}
    assert set(NAMES) - {"index.html"} <= {(link or "").partition("#")[0] for link in found}


def test_the_search_finds_a_word(page: Page, address: str) -> None:
    page.goto(f"{address}/index.html", wait_until="networkidle")
    page.locator("input.md-search__input").click()
    page.keyboard.type("colocate_db_uds")
    first = page.locator("a.md-search-result__link").first
    expect(first).to_be_visible()
    first.click()
    expect(page.locator("article")).to_contain_text("colocate_db_uds")
