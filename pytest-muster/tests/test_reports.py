"""The reports of a triage say what the record and the findings say, whatever those hold."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_muster.reading import (
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
from pytest_muster.record import Outcome
from pytest_muster.triage.findings import Cause, Evidence, Finding, Triage
from pytest_muster.triage.reports import json as as_json
from pytest_muster.triage.reports import markdown, terminal

BEGAN = 1_765_800_000.0


def a_test(name="test_a.py::test_one", *, worker="gw0", order=0, start=0.0, took=0.5, outcome=Outcome.PASSED, **more):
    begun = BEGAN + start
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
        end=End(exit=int(failed), at=BEGAN + 9, ending="finished", wall=10.0) if end else None,
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
