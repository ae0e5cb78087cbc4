"""How long tests took in earlier runs of a project, and what the fixtures that they share cost.

Fixtures of a module or class are timed when they are set up, in every process, and written as lines of type `fixture`
if they take a millisecond or more. A test's own time is what its three phases took without them.
"""

import json
import time
from collections import defaultdict
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_muster.records.journal import Line, Outcome
from pytest_muster.records.run import Run
from pytest_muster.schedule.plans import Timings

MIN_RECORDED_DURATION = 0.001  # seconds
MAX_RUNS = 5  # as many runs are looked at; a run of a part of the suite does not know the rest
TAIL_BYTES = 4096  # bytes in which the last line of a record is looked for


class FixtureTimer:
    """Times the fixtures that more than one test may use."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.test = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test = nodeid

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        __tracebackhide__ = True
        if fixturedef.scope == "function":
            return (yield)
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            took = time.perf_counter() - began
            if took >= MIN_RECORDED_DURATION:
                self.run.journal.write(
                    "fixture",
                    name=fixturedef.argname,
                    scope=fixturedef.scope,
                    node=request.node.nodeid,
                    took=took,
                    worker=self.run.worker,
                    test=self.test,
                )


def load_timings(runs: Path, tests: Collection[str]) -> Timings:
    """What the newest finished runs in this directory say about these tests; the newest that knows a test counts."""
    wanted = set(tests)
    took: dict[str, float] = {}
    shared: dict[str, float] = {}
    doubtful: dict[str, float] = {}  # a test that failed may have ended early, or late
    for directory in _finished(runs):
        costs, inside = _fixtures(directory)
        for node, cost in costs.items():
            shared.setdefault(node, cost)
        for line in _lines(directory / "record.jsonl", "test"):
            test = line["test"]
            if test not in wanted or test in took:
                continue
            own = sum(phase["took"] for phase in line["phases"].values()) - inside.get((line["worker"], test), 0.0)
            known = doubtful if line["outcome"] in {Outcome.FAILED, Outcome.INFRASTRUCTURE} else took
            known.setdefault(test, max(own, 0.0))
        if len(took) == len(wanted):
            break
    return Timings(took=doubtful | took, shared=shared)


def _finished(runs: Path) -> Iterator[Path]:
    """The newest runs that came to their end."""
    found = 0
    for directory in sorted(runs.iterdir(), reverse=True):
        if found < MAX_RUNS and _ended(directory / "record.jsonl"):
            found += 1
            yield directory


def _ended(file: Path) -> bool:
    try:
        with file.open("rb") as record:
            record.seek(max(0, file.stat().st_size - TAIL_BYTES))
            return record.read().rpartition(b'{"type":"end"')[1] != b""
    except OSError:
        return False


def _fixtures(directory: Path) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """The mean cost of the fixtures of each module and class, and what they cost within which test."""
    costs: dict[tuple[str, str], list[float]] = defaultdict(list)
    inside: dict[tuple[str, str], float] = defaultdict(float)
    for file in [directory / "record.jsonl", *sorted((directory / "workers").glob("*.jsonl"))]:
        for line in _lines(file, "fixture"):
            inside[line["worker"], line["test"]] += line["took"]
            if line["scope"] in {"module", "class"}:
                costs[line["node"], line["name"]].append(line["took"])
    nodes: dict[str, float] = defaultdict(float)
    for (node, _), each in costs.items():
        nodes[node] += sum(each) / len(each)
    return nodes, inside


def _lines(file: Path, type: str) -> Iterator[Line]:
    """The lines of one type, without the effort of reading the others."""
    begin = f'{{"type":"{type}",'
    try:
        with file.open(encoding="utf-8") as record:
            for text in record:
                if text.startswith(begin) and text.endswith("\n"):
                    yield json.loads(text)
    except OSError:
        return
