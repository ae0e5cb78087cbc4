"""The pages as Debian's chromium shows them."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from support import browser
from support.browser import Browser, open_browser
from support.datastorage import BATCH
from support.ledger_events import a_wire_event

pytestmark = [pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING)]


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(tmp_path) as opened:
        yield opened


@pytest.fixture
async def url(http: httpx2.AsyncClient) -> str:
    return str(http.base_url).rstrip("/")


# The smallest contrast of a text with what is behind it, as WCAG 2 computes it, with the text.
SMALLEST_CONTRAST = """
(() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const part = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = numbers(getComputedStyle(each).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = [21, ""];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const own = numbers(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(own), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
})()
"""

WIDTH = "[document.documentElement.scrollWidth, innerWidth]"
NAMELESS = """
[...document.querySelectorAll("input, select, textarea, button, a")]
  .filter(each => !(each.textContent.trim() || each.labels?.length || each.getAttribute("aria-label")))
  .map(each => each.outerHTML)
"""


async def test_pages_fit_every_screen_are_readable_and_quiet(http: httpx2.AsyncClient, url: str, chromium: Browser):
    long = "x" * 255
    await http.post(BATCH, json=[a_wire_event(correlation_id=long, actor_id=long, namespace="n" * 253)])
    await http.post(BATCH, json=[a_wire_event(severity=each) for each in ("critical", "warning", "info", "other")])

    for path in ("/ui/", "/ui/?severity=critical"):
        for width, is_dark in ((360, False), (360, True), (1200, False), (1200, True)):
            page = await chromium.open(url + path, width=width, is_dark=is_dark)

            assert page.complaints == [], path
            scroll_width, inner_width = await page.evaluate(WIDTH)
            assert scroll_width <= inner_width == width, path
            ratio, text = await page.evaluate(SMALLEST_CONTRAST)
            assert ratio >= 4.5, (path, width, is_dark, text)
            assert await page.evaluate(NAMELESS) == []


NAMESPACE = "[...document.querySelectorAll('label')].find(label => label.textContent == 'Namespace')"


async def test_filters_are_found_by_their_labels_and_submitted(http: httpx2.AsyncClient, url: str, chromium: Browser):
    await http.post(BATCH, json=[a_wire_event(namespace="shop"), a_wire_event(namespace="bank")])
    page = await chromium.open(f"{url}/ui/")

    await page.evaluate(
        "[...document.querySelectorAll('label')].find(l => l.textContent == 'Namespace').control.value = 'bank'"
    )
    await page.submit("form.filters button")

    assert "1 event" in await page.evaluate("document.querySelector('.summary').textContent")
    assert page.complaints == []
