"""The page of a triage in Debian's chromium: for all eyes and screens, and whatever tests and errors are called."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import (
    End,
    Error,
    Header,
    PhaseRun,
    ResourceEvent,
    RunRecord,
    TestRun,
    WorkerEvent,
)
from pytest_muster.triage.findings import Cause, Evidence, Finding, Triage
from pytest_muster.triage.reports import html
from support import browser
from support.browser import Browser, Page, open_browser

pytestmark = [pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING), pytest.mark.timeout(200)]

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "triage-2025-12-15.html"
LONG = "TestThatHasAVeryLongNameWithoutAPlaceToBreakTheLine" * 6
HOSTILE = (
    "<script>document.title = 'was run'</script>",
    "</pre><img src=x onerror=\"document.title = 'was run'\">",
    "\u202egnp.exe\u2069",
    "\x1b[2J\x07\0",
    "\ud800 and \udfff",
    "a\u2028b\tc",
    "🧪" * 99,
    LONG,
)
STEPS = {
    "as it opens": "0",
    "a test and a finding chosen, everything unfolded": """
        document.querySelector("#rows tr").click();
        document.querySelector("[data-finding]").click();
        for (const each of document.querySelectorAll("details")) each.open = true;
    """,
    "in the other colours": "document.querySelector('#theme').click()",
}
WIDTH = "[document.documentElement.scrollWidth, innerWidth]"
# A character that cannot be seen, but for tabs and lines; as numbers, for none of them may stand in a name of a test.
UNSEEN = r"[...document.body.innerText].filter(one => /[^\P{C}\n\t]/u.test(one)).map(one => one.codePointAt(0))"
ELEMENTS = "[document.scripts.length, document.images.length, document.title]"


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(tmp_path) as opened:
        yield opened


def a_test(number: int, name: str, text: str, *, outcome: Outcome = Outcome.FAILED) -> TestRun:
    phases = {"call": PhaseRun(start=number / 9, took=0.1, outcome=outcome)}
    error = Error(phase="call", kind="AssertionError", message=text, text=f"{text}\n{'x' * 400}\n" * 9)
    return TestRun(
        test=f"tests/test_a.py::{name}",
        worker=f"gw{number % 3}",
        slot=number % 3 + 1,
        order=number // 3,
        outcome=outcome,
        start=number / 9,
        stop=number / 9 + 0.1,
        phases=phases,
        error=error if outcome is Outcome.FAILED else None,
        output={text: text * 9},
    )


def the_tests() -> Iterator[TestRun]:
    for number, text in enumerate(HOSTILE):
        yield a_test(number, f"test_one[{text}]", text)
    for number in range(len(HOSTILE), 1000):
        yield a_test(number, f"{LONG}::test_{number}", f"assert {number} == -1")
    yield a_test(1001, "test_passes", "", outcome=Outcome.PASSED)


def the_page() -> str:
    tests = tuple(the_tests())
    names = tuple(test.test for test in tests if test.failed)
    findings = tuple(
        Finding(
            cause=Cause.POLLUTION,
            tests=names[number:],
            title=f"`{text}` {text}",
            confidence=0.9 - number / 10,
            evidence=(Evidence(text=text, at=1.0, worker=f"gw{number % 3}", test=text, source=f"{text}:3"),),
            remedy=f"`{text}` {text}",
            polluter=text,
            resource=text,
        )
        for number, text in enumerate(HOSTILE)
    )
    resources = tuple(
        ResourceEvent(name=text, event="died", at=2.0, error=text, tail=f"{text}\n" * 60) for text in HOSTILE
    )
    record = RunRecord(
        id="run-1",
        directory=Path("run-1"),
        header=Header(run="run-1", argv=("-n", "3", *HOSTILE), rootdir="/project", workers=3, seed=7, at=-1.0),
        tests=tests,
        resources=resources,
        workers=(WorkerEvent(worker="gw1", slot=2, event="crashed", at=3.0, error=LONG),),
        end=End(exit=1, at=200.0, stop_reason="complete", wall=200.0),
    )
    return html.render(Triage(run="run-1", findings=findings, unexplained=names[:20]), record)


async def faults(page: Page, url: str, width: int) -> dict[str, list[object]]:
    """What is wrong with a page after each of the steps."""
    found: dict[str, list[object]] = {}
    await page.goto(url)
    for step, script in STEPS.items():
        await page.evaluate(f"(() => {{ {script} }})(), {browser.AFTER_A_FRAME}")
        wrong: list[object] = [*page.complaints, *await page.accessibility_findings()]
        if await page.evaluate(WIDTH) != [width, width]:
            wrong.append(f"{await page.evaluate(WIDTH)} pixels wide")
        if unseen := await page.evaluate(UNSEEN):
            wrong.append(f"characters that cannot be seen: {sorted(set(unseen))}")
        if wrong:
            found[step] = wrong
    return found


@pytest.mark.parametrize(("width", "is_dark"), [(390, True), (1280, False)], ids=["phone-dark", "desktop-light"])
async def test_the_page_is_accessible_fits_the_screen_and_shows_text_as_text(chromium, tmp_path, width, is_dark):
    (tmp_path / "triage.html").write_text(the_page(), encoding="utf-8")
    page = await chromium.open(width=width, is_dark=is_dark)

    written = await faults(page, (tmp_path / "triage.html").as_uri(), width)
    elements = await page.evaluate(ELEMENTS)
    published = await faults(page, PUBLISHED.as_uri(), width)

    assert written == {}
    assert elements == [2, 0, "Triage: project, 1000 of 1001 failed"]
    assert published == {}
