"""What became of the specs: pending ones, the summary over all workers, and the exit code.

A *pending* test is declared, not run, and counted apart from those that skip themselves. The summary is the last thing
that a run prints:

    Ran 62 of 76 Specs in 60.127 seconds
    FAIL! -- 60 Passed | 2 Failed | 1 Pending | 13 Skipped

`Ran` counts passed, failed and infrastructure; `of` counts what was collected and not deselected. ` | 3 Infrastructure`
is appended when there are such. A test that is expected to fail (xfail) and does, or that passes although it need not,
is Passed: it ran, and the run stays green; with `strict` it is Failed, and with `run=False` Skipped. A test whose
teardown fails is Failed. `PASS!` stands for exit code 0, `FAIL!` for every other.
"""

import time
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from pytest_muster.exits import ExitCode
from pytest_muster.records.journal import Outcome
from pytest_muster.records.run import run_of

pending = pytest.mark.pending
"""`@muster.pending("why")`: a test that is written down, but not yet run."""
serial = pytest.mark.serial
"""`@muster.serial`: a test that runs while no other one does."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pending(why): is not run yet, and counted apart from skipped tests.")
    config.stash[TALLY] = tally = Tally()
    if run_of(config).owns_shared:
        config.pluginmanager.register(_Summary(config, tally), "muster-summary")


class Tally:
    """Counts each test once, by what became of it, from the reports of its phases."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], Outcome] = {}

    def add(self, report: pytest.TestReport) -> None:
        node = getattr(report, "node", None)  # set by xdist
        key = (node.gateway.id if node else "", report.nodeid)
        now = _outcome(report)
        before = None if report.when == "setup" else self._outcomes.get(key)  # a rerun begins with a set-up
        if now is not None and (before is None or _SEVERITY[now] > _SEVERITY[before]):
            self._outcomes[key] = now

    @property
    def counts(self) -> dict[str, int]:
        """How many tests have which outcome; every outcome is there."""
        found = Counter(self._outcomes.values())
        return {outcome.value: found[outcome] for outcome in Outcome}


TALLY = pytest.StashKey[Tally]()
"""What became of the tests so far; complete in the process that owns the shared things."""

_SEVERITY = {
    Outcome.PASSED: 0,
    Outcome.SKIPPED: 1,
    Outcome.PENDING: 2,
    Outcome.INFRASTRUCTURE: 3,
    Outcome.FAILED: 4,
}


def _outcome(report: pytest.TestReport) -> Outcome | None:
    """What one report says; None if it says nothing about the test as a whole."""
    data: dict[str, Any] = getattr(report, "muster", {})
    if report.failed:
        return Outcome.INFRASTRUCTURE if data.get("infrastructure") else Outcome.FAILED
    if report.skipped:
        if data.get("pending") is not None:
            return Outcome.PENDING
        expected = getattr(report, "wasxfail", None)
        return Outcome.SKIPPED if expected is None or "[NOTRUN]" in expected else Outcome.PASSED
    return Outcome.PASSED if report.passed and report.when == "call" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("pending")
    if marker:
        pytest.skip(_why(marker))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if call.when == "setup":
        data: dict[str, Any] = {}
        marker = item.get_closest_marker("pending") if report.skipped else None
        if marker:
            data["pending"] = _why(marker)
            path, line, _ = item.reportinfo()
            report.longrepr = (str(path), (line or 0) + 1, f"Pending: {data['pending']}")
        if item.get_closest_marker("serial"):
            data["serial"] = True
        if data:
            report.muster = {**getattr(report, "muster", {}), **data}
    return report


def _why(marker: pytest.Mark) -> str:
    return str(marker.args[0] if marker.args else marker.kwargs.get("why", "pending"))


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    data = getattr(report, "muster", None)
    if not data:
        return None
    if report.skipped and data.get("pending") is not None:
        return "pending", "p", ("PENDING", {"yellow": True})
    if report.failed and data.get("infrastructure"):
        return "infrastructure", "I", ("INFRASTRUCTURE", {"red": True})
    return None


class _Summary:
    def __init__(self, config: pytest.Config, tally: Tally) -> None:
        self.config = config
        self.tally = tally
        self.began = time.perf_counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tally.add(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        counts = self.tally.counts
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED and counts["infrastructure"] and not counts["failed"]:
            session.exitstatus = ExitCode.INFRASTRUCTURE
        yield
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            self._print(session, terminal)

    def _print(self, session: pytest.Session, terminal: pytest.TerminalReporter) -> None:
        counts = self.tally.counts
        ran = counts["passed"] + counts["failed"] + counts["infrastructure"]
        took = time.perf_counter() - self.began
        good = session.exitstatus == 0
        parts = [f"{counts[name]} {name.capitalize()}" for name in ("passed", "failed", "pending", "skipped")]
        if counts["infrastructure"]:
            parts.append(f"{counts['infrastructure']} Infrastructure")
        terminal.write_line(f"Ran {ran} of {session.testscollected} Specs in {took:.3f} seconds")
        terminal.write_line(
            f"{'PASS' if good else 'FAIL'}! -- {' | '.join(parts)}", green=good, red=not good, bold=True
        )
