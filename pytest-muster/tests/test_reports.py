"""The reports of a triage say what the record and the findings say, whatever those hold."""

import json
import re
import shutil
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import (
    Collected,
    End,
    Error,
    Frame,
    Header,
    PhaseRun,
    ResourceEvent,
    RunRecord,
    SuitePhase,
    TestRun,
    WorkerEvent,
)
from pytest_muster.triage.findings import Cause, Evidence, Finding, Triage
from pytest_muster.triage.reports import html, markdown, terminal
from pytest_muster.triage.reports import json as as_json

BEGAN = 1_765_800_000.0


def a_test(name="test_a.py::test_one", *, worker="gw0", order=0, start=0.0, took=0.5, outcome=Outcome.PASSED, **more):
    begun = BEGAN + start
    more.setdefault("slot", int(worker.removeprefix("gw")) + 1)
    phases = {
        "setup": PhaseRun(start=begun, took=took * 0.2, outcome="passed"),
        "call": PhaseRun(start=begun + took * 0.2, took=took * 0.7, outcome=outcome),
        "teardown": PhaseRun(start=begun + took * 0.9, took=took * 0.1, outcome="passed"),
    }
    return TestRun(
        test=name, worker=worker, order=order, outcome=outcome, start=begun, stop=begun + took, phases=phases, **more
    )


def an_error(text="AssertionError: assert 0 == 3"):
    frame = Frame(file="test_a.py", line=12, function="test_one", code="assert total() == 3")
    return Error(phase="call", kind="AssertionError", message=text, text=text, frames=(frame,))


def a_record(tests, *, directory=Path("run-1"), end=True, **more):
    header = Header(run="run-1", argv=("-n", "2"), rootdir="/project", workers=2, seed=7, at=BEGAN - 1, pytest="9.2.0")
    failed = any(test.failed for test in tests)
    return RunRecord(
        id="run-1",
        directory=directory,
        header=header,
        tests=tuple(tests),
        collected=(Collected(at=BEGAN, count=len(tests)),),
        end=End(exit=int(failed), at=BEGAN + 9, stop_reason="finished", wall=10.0) if end else None,
        **more,
    )


def a_finding(*tests, cause=Cause.PORT_CLASH, **more):
    told = {
        "title": "Two tests listen on 127.0.0.1:18094.",
        "confidence": 0.9,
        "evidence": (Evidence(text="gw0 listened first", at=BEGAN + 0.25, worker="gw0", source="lamp.py:3"),),
        "remedy": "Take a port of `muster_test.port()`.",
    }
    return Finding(cause=cause, tests=tests, **(told | more))


@pytest.fixture
def clash():
    tests = [
        a_test("test_a.py::test_lamp[1]"),
        a_test("test_a.py::test_lamp[2]", worker="gw1", outcome=Outcome.FAILED, error=an_error()),
        a_test("test_a.py::test_lamp[3]", worker="gw1", order=1, start=1, outcome=Outcome.FAILED, error=an_error()),
        a_test("test_b.py::test_else", order=1, start=1, outcome=Outcome.SKIPPED),
    ]
    events = (
        ResourceEvent(name="store", event="ready", at=BEGAN - 0.5, took=0.4),
        ResourceEvent(name="store", event="died", at=BEGAN + 1.2, tail="out of paper"),
    )
    phases = (SuitePhase(name="tests", start=BEGAN, stop=BEGAN + 1.5),)
    workers = (WorkerEvent(worker="gw1", slot=2, event="crashed", at=BEGAN + 2),)
    record = a_record(tests, resources=events, phases=phases, workers=workers)
    finding = a_finding("test_a.py::test_lamp[2]", "test_a.py::test_lamp[3]", reruns=3)
    return Triage(run="run-1", findings=(finding,)), record


def test_the_terminal_shows_cause_tests_reasons_and_remedy(clash):
    text = terminal.render(*clash)

    assert text.splitlines()[0] == "1. port clash  (sure, 90%)"
    assert "2 of 2 failed tests" in text
    assert "test_a.py::test_lamp[…] (2)" in text
    assert "+0.25 s  gw0  gw0 listened first  [lamp.py:3]" in text
    assert "(3 reruns made)" in text
    assert "Ran 3 of 4 Specs in 10.000 seconds\nFAIL! -- 1 Passed | 2 Failed | 0 Pending | 1 Skipped\n" in text
    assert "\x1b" not in text


def test_colours_change_nothing_but_colours(clash):
    plain = terminal.render(*clash)
    coloured = terminal.render(*clash, colour=True)

    assert coloured != plain
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


def test_the_terminal_is_not_steered_by_foreign_text(clash):
    triage, record = clash
    finding = replace(triage.findings[0], title="a\x1b[2J\x07b", remedy="c\rd")

    assert "\x1b" not in terminal.render(replace(triage, findings=(finding,)), record)
    assert r"a\x1b[2J\x07b" in terminal.render(replace(triage, findings=(finding,)), record)


def test_json_keeps_its_schema(clash):
    told = json.loads(as_json.render(*clash))

    assert list(told) == ["schema", "run", "result", "conditions", "findings", "unexplained"]
    assert told["schema"] == 1
    assert told["result"]["status"] == "failed"
    assert told["result"]["counts"] == {"passed": 1, "failed": 2, "skipped": 1, "pending": 0, "infrastructure": 0}
    assert told["conditions"]["workers"] == 2
    (finding,) = told["findings"]
    assert finding["cause"] == "port clash"
    assert finding["evidence"] == [
        {"text": "gw0 listened first", "at": BEGAN + 0.25, "worker": "gw0", "test": None, "source": "lamp.py:3"}
    ]


def test_markdown_has_the_chapters_of_a_report(clash):
    text = markdown.render(*clash)

    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "Executive summary",
        "Test results",
        "Issues discovered",
        "Parallel execution analysis",
        "Test isolation problems",
        "Root cause summary",
        "Options for resolution",
        "Recommended plan",
        "References",
        "Conclusions",
    ]
    assert "AssertionError: assert 0 == 3" in text
    assert "**Frequency**: 2 of 2 failed tests (gw1: 2); the first ended at +0.50 s" in text
    assert "**Location**: `test_a.py:12 in test_one`" in text
    assert "- gw0 listened first (`+0.25 s`, `gw0`, `lamp.py:3`)" in text
    assert "- `store` (shared): ready after 0.40 s, at -0.50 s" in text
    assert "out of paper" in text
    assert "- worker gw1 crashed" in text
    assert "| gw1 | 2 | 0 | 2 | 1.00 s | at 0.00 s | until 1.50 s |" in text
    assert "Take a port of `muster_test.port()`." in text
    assert "`serial` on 2 tests" in text


def test_markdown_of_a_green_run_has_no_options():
    text = markdown.render(Triage(run="run-1", findings=()), a_record([a_test()]))

    assert "**Status**: passed" in text
    assert "No test failed." in text
    assert "Options" not in text


def test_terminal_shows_the_error_of_what_is_not_explained():
    triage = Triage(run="run-1", findings=(), unexplained=("test_a.py::test_one",))

    text = terminal.render(triage, a_record([a_test(outcome=Outcome.FAILED, error=an_error("total is wrong"))]))

    assert "test_a.py::test_one\n      AssertionError: total is wrong  [test_a.py:12]\n" in text


def test_a_run_that_was_killed_is_not_said_to_have_ended():
    record = a_record([a_test(outcome=Outcome.FAILED, error=an_error())], end=False)
    triage = Triage(run="run-1", findings=(), unexplained=("test_a.py::test_one",))

    assert "killed, or still running; 1 of 1 test failed until then" in markdown.render(triage, record)
    assert json.loads(as_json.render(triage, record))["result"]["status"] == "incomplete"
    assert "did not come to its end" in terminal.render(triage, record)


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["</script><script>alert(1)</script>", "<!--", "]]>", "`", "```", "\x1b[2J", "|", "a\u2028b", "'\""]
    ),
)


@settings(deadline=None, max_examples=60)
@given(name=HOSTILE, text=HOSTILE, title=HOSTILE, output=HOSTILE)
def test_no_report_trusts_a_name_or_an_output(name, text, title, output):
    failed = a_test(name, outcome=Outcome.FAILED, error=an_error(text), output={output: text})
    evidence = (Evidence(text=text, at=BEGAN, worker=name, test=name, source=output),)
    finding = a_finding(name, title=title, evidence=evidence, remedy=text, polluter=name, resource=output)
    triage, record = Triage(run=name, findings=(finding,)), a_record([failed])

    assert "\x1b" not in terminal.render(triage, record)
    assert json.loads(as_json.render(triage, record))["findings"][0]["title"] == title
    tokens = MarkdownIt("commonmark").parse(markdown.render(triage, record))
    kinds = {token.type for block in tokens for token in [block, *(block.children or ())]}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    assert [block.tag for block in tokens if block.type == "heading_open"].count("h1") == 1
    page = Page(html.render(triage, record))
    assert page.scripts == [{"type": "application/json", "id": "data"}, {}]
    assert page.open == []
    assert not page.outside
    assert page.data["tests"][0][0] == name


class Page(HTMLParser):
    """What a browser would find in a page."""

    VOID = {"meta", "input", "br"}

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.outside: list[str] = []
        self.text = ""
        self.data: dict = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append(dict(attrs))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name.startswith("on") or name in {"style", "src"} or (name == "href" and not value.startswith("#")):
                self.outside.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["script"]:
            self.text += data
        elif self.scripts[-1].get("id") == "data":
            self.data = json.loads(data)


def test_the_page_holds_findings_lanes_lives_and_marks(clash):
    page = Page(html.render(*clash))

    assert "Two tests listen on 127.0.0.1:18094." in page.text
    assert [lane["label"] for lane in page.data["lanes"]] == ["gw0", "gw1"]
    assert page.data["findings"] == [{"tests": [1, 2], "pins": [{"at": 0.25, "lane": 0}]}]
    assert [mark["text"] for mark in page.data["marks"]] == ["gw1 crashed"]
    (store,) = page.data["resources"]
    assert store["lives"] == [{"from": -0.9, "ready": -0.5, "to": 1.2}]
    assert [mark["kind"] for mark in store["marks"]] == ["died"]
    assert page.data["texts"] == ["AssertionError: assert 0 == 3"]


TOO_WIDE = """<script>
const parts = ["html", ".findings", ".left", ".card"].flatMap(one => [...document.querySelectorAll(one)]);
document.title = "too wide: " + parts.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.className);
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("width", [700, 1280, 1920])
def test_no_column_of_the_page_is_wider_than_its_place(width, tmp_path):
    """Names without a place to break a line are the rule: node ids, dotted names, paths."""
    name = "tests/integration/" + "a_long_name" * 12 + ".py::test_one"
    tests = [a_test(name, outcome=Outcome.FAILED, error=an_error("x" * 300))]
    evidence = (Evidence(text=f"`{name}` is None", at=BEGAN, worker="gw0", source=f"{name}:70"), Evidence(text=name))
    finding = a_finding(name, title=f"`{name}` {name}", evidence=evidence, remedy=name, polluter=name, resource=name)
    page = html.render(Triage(run="run-1", findings=(finding,), unexplained=(name,)), a_record(tests))
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace(
        "</body>", TOO_WIDE + "</body>"
    )
    (tmp_path / "page.html").write_text(page)

    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},900", "--dump-dom", (tmp_path / "page.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout

    assert re.findall("<title>(.*)</title>", shown) == ["too wide: "]


def test_a_replacement_runs_in_the_lane_of_the_dead():
    tests = [a_test(worker="gw0", slot=1), a_test("b", worker="gw1", slot=2), a_test("c", worker="gw2", slot=1)]
    page = Page(html.render(Triage(run="run-1", findings=()), a_record(tests)))

    assert [lane["label"] for lane in page.data["lanes"]] == ["gw0, gw2", "gw1"]
    assert [test[1] for test in page.data["tests"]] == [0, 1, 0]


@pytest.mark.parametrize("tests", [[], [a_test()], [a_test(outcome=Outcome.FAILED, error=an_error())]])
def test_the_page_has_what_its_script_asks_for_and_loads_nothing(tests):
    text = html.render(
        Triage(run="run-1", findings=(), unexplained=tuple(t.test for t in tests if t.failed)), a_record(tests)
    )
    page = Page(text)
    asked = re.findall(r'element\("([a-z]+)"\)', files("pytest_muster.triage.reports").joinpath("page.js").read_text())

    assert set(asked) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not page.outside
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|url\(", text)


def test_ten_thousand_tests_make_a_page_that_is_written_soon_and_can_be_sent():
    error = an_error("AssertionError: " + "assert 0 == 3\n" * 40)
    tests = [
        a_test(
            f"tests/area_{number % 40}/test_{number % 400}.py::test_something_that_has_a_name[{number}]",
            worker=f"gw{number % 8}",
            order=number // 8,
            start=number * 0.01,
            took=0.07,
            outcome=Outcome.FAILED if number % 3 == 0 else Outcome.PASSED,
            error=replace(error, text=f"{error.text}{number}") if number % 3 == 0 else None,
        )
        for number in range(10_000)
    ]
    failed = tuple(test.test for test in tests if test.failed)
    since = time.perf_counter()
    text = html.render(Triage(run="run-1", findings=(a_finding(*failed),)), a_record(tests))

    assert time.perf_counter() - since < 10
    assert len(text) < 8_000_000
    assert len(Page(text).data["tests"]) == 10_000
