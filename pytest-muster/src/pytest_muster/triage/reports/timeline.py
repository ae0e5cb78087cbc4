"""The data of a timeline: lanes of workers, bars of tests, lives of shared things; in seconds, from the first test."""

from collections.abc import Iterable
from typing import Any

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import ResourceEvent, RunRecord, TestRun, WorkerEvent
from pytest_muster.triage.findings import Triage
from pytest_muster.triage.reports.run_summary import origin

MAX_TEXT_LENGTH = 6000
"""Characters that are kept of one error, and of one output."""
MAX_TOTAL_LENGTH = 4_000_000
"""Characters of all errors and outputs; beyond it only first lines are kept."""

ENDS = {"stopped", "died", "failed"}

Data = dict[str, Any]  # JSON, read by the script of the page


def timeline(triage: Triage, record: RunRecord) -> Data:
    """Plain data; a test is a list, whose places the script names, since there may be ten thousand."""
    texts = Texts()
    began = origin(record)
    lanes = Lanes(record)
    outcomes = [outcome.value for outcome in Outcome]
    explained = {
        test: number for number, finding in reversed(list(enumerate(triage.findings))) for test in finding.tests
    }
    tests = []
    for test in record.tests:
        phases = [test.phases[name].took if name in test.phases else 0.0 for name in ("setup", "call", "teardown")]
        if not test.phases:
            phases[1] = test.took
        tests.append(
            [
                test.test,
                lanes.of(test.worker),
                test.worker,
                round(test.start - began, 4),
                *(round(took, 4) for took in phases),
                outcomes.index(test.outcome),
                explained.get(test.test, -1) if test.failed else -1,
                texts.keep(_errors(test)) if test.failed else texts.keep(test.reason or ""),
                texts.keep(_output(test)) if test.failed else -1,
                test.order,
                int(test.serial),
            ]
        )
    by_name: dict[str, list[int]] = {}
    for index, test in enumerate(record.tests):
        by_name.setdefault(test.test, []).append(index)
    findings = [
        {
            "tests": [index for test in dict.fromkeys(finding.tests) for index in by_name.get(test, ())],
            "pins": [
                {"at": round(one.at - began, 4), "lane": lanes.of(one.worker) if one.worker else -1}
                for one in finding.evidence
                if one.at is not None
            ],
        }
        for finding in triage.findings
    ]
    resources = _lives(record, began)
    marks = [mark for event in record.workers if (mark := _mark(event, began, lanes))]
    moments = [0.0]
    moments += [moment for test in record.tests for moment in (test.start - began, test.stop - began)]
    moments += [mark["at"] for mark in marks if mark["kind"] == "crashed"]
    moments += [life[key] for row in resources for life in row["lives"] for key in ("from", "to")]
    margin = max(0.01, (max(moments) - min(moments)) * 0.01)
    return {
        "from": round(min(moments) - margin, 4),
        "to": round(max(moments) + margin, 4),
        "outcomes": outcomes,
        "lanes": lanes.described(),
        "tests": tests,
        "findings": findings,
        "resources": resources,
        "marks": marks,
        "texts": texts.kept,
    }


class Texts:
    """Each text once, each bounded, and all of them together, too."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self._known: dict[str, int] = {}
        self._left = MAX_TOTAL_LENGTH

    def keep(self, text: str) -> int:
        """Its number; -1 for an empty one."""
        if not text.strip():
            return -1
        if len(text) > MAX_TEXT_LENGTH:
            text = f"{text[: MAX_TEXT_LENGTH // 3]}\n…\n{text[-MAX_TEXT_LENGTH * 2 // 3 :]}"
        if text not in self._known and self._left < len(text):
            text = text.strip().splitlines()[-1][:300]
        if text not in self._known:
            self._left -= len(text)
            self._known[text] = len(self.kept)
            self.kept.append(text)
        return self._known[text]


class Lanes:
    """One lane a slot; a replacement runs in the lane of the worker that it replaces."""

    def __init__(self, record: RunRecord) -> None:
        slots = {event.worker: event.slot for event in record.workers if event.slot}
        slots |= {test.worker: test.slot for test in record.tests if test.slot}
        workers = dict.fromkeys([*slots, *(test.worker for test in record.tests)])
        keys = {worker: slots.get(worker) or worker for worker in workers}
        order = sorted(set(keys.values()), key=lambda key: (isinstance(key, str), str(key).zfill(9)))
        self._lanes = {worker: order.index(key) for worker, key in keys.items()}

    def of(self, worker: str) -> int:
        """The lane of a worker, -1 for any other process."""
        return self._lanes.get(worker, -1)

    def described(self) -> list[dict[str, str]]:
        lanes: dict[int, list[str]] = {}
        for worker, lane in self._lanes.items():
            lanes.setdefault(lane, []).append(worker)
        return [{"label": ", ".join(lanes[lane])} for lane in sorted(lanes)]


def _errors(test: TestRun) -> str:
    errors = [test.error, test.teardown_error]
    return "\n\n".join(error.text or f"{error.kind}: {error.message}" for error in errors if error)


def _output(test: TestRun) -> str:
    return "\n\n".join(f"── {section}\n{text.rstrip()}" for section, text in test.output.items())


def _mark(event: WorkerEvent, began: float, lanes: Lanes) -> dict[str, Any] | None:
    if event.event not in {"finished", "crashed"} or lanes.of(event.worker) < 0:
        return None
    text = f"{event.worker} {event.event}" + (f": {event.error}" if event.error else "")
    return {"lane": lanes.of(event.worker), "at": round(event.at - began, 4), "kind": event.event, "text": text}


def _lives(record: RunRecord, began: float) -> list[dict[str, Any]]:
    """A row per shared resource: from when to when it lived, from when it was ready, and how each life ended."""
    until = max((test.stop for test in record.tests), default=record.header.at) - began
    rows = []
    shared = [event for event in record.resources if event.scope == "shared"]
    for name in dict.fromkeys(event.name for event in shared):
        events = [event for event in shared if event.name == name]
        rows.append({"name": name, "lives": _spans(events, began, until), "marks": _ends(events, began)})
    return rows


def _spans(events: Iterable[ResourceEvent], began: float, until: float) -> list[dict[str, float | None]]:
    spans: list[dict[str, float | None]] = []
    open_span: dict[str, float | None] | None = None
    for event in events:
        at = round(event.at - began, 4)
        if event.event in {"starting", "ready"} and open_span is None:
            start = at - (event.took or 0.0) if event.event == "ready" else at
            open_span = {"from": round(start, 4), "ready": None, "to": max(at, round(until, 4))}
            spans.append(open_span)
        if event.event == "ready" and open_span is not None:
            open_span["ready"] = at
        if event.event in ENDS and open_span is not None:
            open_span["to"] = at
            open_span = None
    return spans


def _ends(events: Iterable[ResourceEvent], began: float) -> list[dict[str, Any]]:
    return [
        {"at": round(event.at - began, 4), "kind": event.event, "text": f"{event.name} {event.event}"}
        for event in events
        if event.event in ENDS
    ]
