"""The documents as a site, opened from files in Debian's chromium: no network, no error, fit for a page."""

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import pytest_muster as muster
from support import browser
from support.browser import Browser, open_browser

pytestmark = [
    pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING),
    pytest.mark.timeout(400, func_only=True),
]

ROOT = Path(__file__).resolve().parents[2]
WIDTH = "[document.documentElement.scrollWidth, innerWidth]"
LINKS = """
[...document.querySelectorAll("a[href]")].map(link => link.href).filter(href => href.startsWith("file:"))
"""
COPIED = "document.addEventListener('copy', () => { window.copied = document.activeElement.value })"


@muster.shared(timeout=300)
def site_folder(muster_run: muster.Workspace) -> str:
    """The site, built as `make docs` builds it."""
    folder = muster_run.directory / "site"
    command = ["make", "docs", f"ARGS=--site-dir {folder}"]
    built = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return str(folder)


@pytest.fixture
def site(site_folder: str) -> Path:
    return Path(site_folder)


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(("width", "is_dark"), [(390, False), (1280, True)], ids=["phone-light", "desktop-dark"])
async def test_pages_are_accessible_fit_the_screen_and_have_no_dead_link(site, chromium, width, is_dark):
    pages = {path: path.as_uri() for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    findings: dict[str, list[object]] = {}
    targets: dict[str, set[str]] = {}
    ids: dict[str, set[str]] = {}
    page = await chromium.open(width=width, is_dark=is_dark)
    for path, url in pages.items():
        page.complaints.clear()
        await page.goto(url)
        found: list[object] = [*page.complaints, *await page.accessibility_findings()]
        scroll_width, inner_width = await page.evaluate(WIDTH)
        if scroll_width > inner_width or inner_width != width:
            found.append(f"{scroll_width} pixels wide on a screen of {inner_width}")
        if found:
            findings[str(path.relative_to(site))] = found
        targets[url] = set(await page.evaluate(LINKS))
        ids[url] = set(await page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)"))
    dead = {
        f"{target} in {url}"
        for url, links in targets.items()
        for target, _, fragment in (link.partition("#") for link in links)
        if not _leads_somewhere(target, fragment, ids)
    }

    assert len(pages) > 50
    assert findings == {}
    assert dead == set()


def _leads_somewhere(target: str, fragment: str, ids: dict[str, set[str]]) -> bool:
    if target in ids:
        return not fragment or fragment in ids[target]
    return Path(unquote(urlsplit(target).path)).is_file()


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
async def test_search_finds_a_page_and_the_button_copies_what_is_typed(site, chromium, is_dark):
    page = await chromium.open((site / "start.html").as_uri(), is_dark=is_dark)
    await page.evaluate("document.querySelector('.md-search__input').focus()")
    await page.type("witness")
    await page.until("document.querySelectorAll('.md-search-result__item').length > 0")
    results = await page.evaluate("document.querySelector('.md-search-result__list').innerText")
    await page.submit(".md-search-result__link")
    has_led = "witness" in (await page.evaluate("document.body.innerText")).lower()

    found = await page.accessibility_findings()
    await page.goto((site / "start.html").as_uri())
    await page.evaluate(COPIED)
    await page.evaluate("document.querySelector('.md-clipboard, .md-code__button').click()")
    copied = await page.until("window.copied")

    assert "witness" in results.lower()
    assert (has_led, found) == (True, [])
    assert not any(line.startswith("$") for line in copied.splitlines())
    assert page.complaints == []
