"""Writes the run record: who ran, what ran when and where, and how it ended."""

import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from pytest_muster.records.clock import now
from pytest_muster.records.journal import SCHEMA, Outcome
from pytest_muster.records.run import Run, run_of

STOP_REASON = pytest.StashKey[str]()
"""Why the run was stopped, if somebody stopped it: `deadline`, `terminated`, `set-up failed`, …"""

CRASH = "WorkerCrash"
"""The kind of error of a test that was running when its worker died."""

MAX_OUTPUT_LENGTH = 100_000  # characters of one section

_RERUN = "rerun"
"""The outcome that pytest-rerunfailures gives to the report of a failure after which it tries again."""


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if run.owns_shared:
        config.pluginmanager.register(_Recorder(config, run), "muster-recorder")
    if run.runs_tests:
        config.pluginmanager.register(_Starts(run), "muster-starts")


class _Starts:
    """Says which test a process begins, so that one that never ends leaves a trace."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.order = -1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.order += 1
        self.run.journal.write("started", test=nodeid, worker=self.run.worker, order=self.order)


class _Recorder:
    """Puts the three reports of a test together to one line."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config = config
        self.run = run
        self.started = now()
        self.collected: float | None = None
        self.first_test: float | None = None
        self.last_test: float | None = None
        self.open: dict[tuple[str, str], list[pytest.TestReport]] = {}
        self.has_looped = False
        """Whether it came to running tests."""
        self.exit: int | None = None
        self.orders: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        config.add_cleanup(self._discard)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self.has_looped = True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        problem = self.run.journal.problem
        if problem:
            words = problem.strerror or problem
            terminalreporter.write_line(f"muster: the record of this run is not complete: {words}", red=True)

    def pytest_sessionstart(self) -> None:
        config = self.config
        revision = _git(config, "rev-parse", "HEAD")
        self.run.journal.write(
            "run",
            schema=SCHEMA,
            run=self.run.id,
            argv=list(config.invocation_params.args),
            rootdir=str(config.rootpath),
            cwd=str(config.invocation_params.dir),
            revision=revision,
            dirty=bool(revision and _git(config, "status", "--porcelain", "--untracked-files=no")),
            seed=config.getoption("randomly_seed", None),
            workers=self.run.workers,
            dist=config.getoption("dist", "no"),
            python=platform.python_version(),
            pytest=pytest.__version__,
            xdist=_version("pytest-xdist"),
            muster=_version("pytest-muster"),
            platform=f"{sys.platform} {platform.machine()}",
            cpus=os.cpu_count(),
        )

    def pytest_collection_finish(self) -> None:
        self.collected = now()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            text = report.longreprtext[-MAX_OUTPUT_LENGTH:]
            self.run.journal.write(
                "collection_failure", node=report.nodeid, worker=_worker(report, self.run), text=text
            )

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        self.collected = now()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        if self.first_test is None:
            self.first_test = now()
            self.run.journal.write(
                "phase", name="collection", start=self.started, stop=self.collected or self.first_test
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        worker = _worker(report, self.run)
        if report.when in {"setup", "call"}:
            reports = self.open.setdefault((worker, report.nodeid), [])
            if report.when == "setup" and reports:  # the attempt before had no teardown
                self._write(worker, reports)
                reports = self.open[worker, report.nodeid] = []
            reports.append(report)
            return
        reports = self.open.pop((worker, report.nodeid), [])
        if report.when == "teardown":
            self._write(worker, [*reports, report])
        else:  # xdist's own report of a worker that died
            self._write_crash(worker, reports, report)

    def _write(self, worker: str, reports: list[pytest.TestReport]) -> None:
        extra: dict[str, Any] = {}
        for report in reports:
            extra |= getattr(report, "muster", {})
        failed = [report for report in reports if report.failed or report.outcome == _RERUN]
        errors = [_error(report) for report in failed]
        fields: dict[str, Any] = {}
        if errors:
            fields["error"] = errors[0]
            if len(errors) > 1:
                fields["teardown_error"] = errors[-1]
            fields["output"] = {title: text[-MAX_OUTPUT_LENGTH:] for title, text in failed[-1].sections}
        if any(report.outcome == _RERUN for report in reports):
            self._write_line("attempt", worker, reports, Outcome.FAILED, serial=bool(extra.get("serial")), **fields)
            return
        outcome, reason = _outcome(reports, extra)
        if reason:
            fields["reason"] = reason
        if leases := extra.get("leases"):
            fields["leases"] = leases
        self.counts[outcome] += 1
        self._write_line("test", worker, reports, outcome, serial=bool(extra.get("serial")), **fields)

    def _write_crash(self, worker: str, reports: list[pytest.TestReport], crash: pytest.TestReport) -> None:
        phases = [report.when for report in reports]
        phase = "setup" if not phases else "call" if "call" not in phases else "teardown"
        text = crash.longreprtext
        error = {"phase": phase, "kind": CRASH, "kinds": [CRASH], "message": text, "errno": None, "text": text}
        extra = getattr(reports[-1], "muster", {}) if reports else {}
        fields = {"error": error, "output": dict(reports[-1].sections) if reports else {}}
        self.counts[Outcome.FAILED] += 1
        self._write_line("test", worker, [*reports, crash], Outcome.FAILED, serial=bool(extra.get("serial")), **fields)

    def _write_line(
        self, type: str, worker: str, reports: list[pytest.TestReport], outcome: Outcome, *, serial: bool, **fields: Any
    ) -> None:
        order = self.orders[worker] = self.orders.get(worker, -1) + 1
        self.last_test = now()
        node = getattr(reports[0], "node", None)
        timed = [report for report in reports if report.when in {"setup", "call", "teardown"}]
        self.run.journal.write(
            type,
            test=reports[0].nodeid,
            worker=worker,
            slot=node.workerinput["muster"]["slot"] if node else self.run.slot,
            order=order,
            outcome=outcome,
            serial=serial,
            start=timed[0].start if timed else self.last_test,
            stop=timed[-1].stop if len(timed) == len(reports) else self.last_test,
            phases={r.when: {"start": r.start, "took": r.duration, "outcome": _phase_outcome(r)} for r in timed},
            **fields,
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """The line `end` comes last, when every other room has had its say about the exit code."""
        for (worker, _), reports in self.open.items():  # cut off after they had failed, such as by a debugger's `q`
            if any(report.failed for report in reports):
                self._write(worker, reports)
        if self.first_test is not None:
            self.run.journal.write("phase", name="tests", start=self.first_test, stop=self.last_test or now())
        try:
            return (yield)
        finally:
            self.exit = code = int(session.exitstatus)
            reason = self.config.stash.get(STOP_REASON, None) or _STOP_REASONS.get(code, "complete")
            wall = now() - self.started
            self.run.journal.write("end", exit=code, stop_reason=reason, counts=dict(self.counts), wall=wall)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        self.run.journal.close()

    def _discard(self) -> None:
        """Keep no record of `--collect-only`, `--help` and the like: the newest one is what people ask about."""
        leases = self.run.directory / "leases"
        is_shown_only = self.config.option.collectonly or self.config.option.setuponly
        is_without_tests = not self.has_looped and self.exit in {None, pytest.ExitCode.OK, pytest.ExitCode.USAGE_ERROR}
        if (is_shown_only or is_without_tests) and not leases.exists():
            shutil.rmtree(self.run.directory, ignore_errors=True)


_STOP_REASONS: dict[int, str] = {
    pytest.ExitCode.INTERRUPTED: "interrupted",
    pytest.ExitCode.INTERNAL_ERROR: "internal error",
    pytest.ExitCode.USAGE_ERROR: "wrong usage",
    pytest.ExitCode.NO_TESTS_COLLECTED: "no tests",
}


def _phase_outcome(report: pytest.TestReport) -> str:
    return Outcome.FAILED if report.outcome == _RERUN else report.outcome


def _worker(report: pytest.TestReport | pytest.CollectReport, run: Run) -> str:
    """Where a report comes from."""
    node = getattr(report, "node", None)  # set by xdist
    return str(node.gateway.id) if node else run.worker


def _error(report: pytest.TestReport) -> dict[str, Any]:
    known = getattr(report, "muster", {}).get("error")
    return known or {"phase": report.when, "kind": "", "message": "", "text": report.longreprtext[-MAX_OUTPUT_LENGTH:]}


def _outcome(reports: list[pytest.TestReport], extra: dict[str, Any]) -> tuple[Outcome, str | None]:
    """The outcome of a test, and why it has it, where pytest or a marker says so."""
    failed = [report for report in reports if report.failed]
    skipped = next((report for report in reports if report.skipped), None)
    if failed:
        reasons = [getattr(report, "muster", {}).get("infrastructure") for report in failed]
        return (Outcome.INFRASTRUCTURE, str(reasons[0])) if all(reasons) else (Outcome.FAILED, None)
    if skipped is None:
        return Outcome.PASSED, None
    if extra.get("pending") is not None:
        return Outcome.PENDING, str(extra["pending"])
    expected: str | None = getattr(skipped, "wasxfail", None)
    if expected is not None:
        return Outcome.SKIPPED if "[NOTRUN]" in expected else Outcome.PASSED, f"xfail: {expected}".removesuffix(": ")
    reason = skipped.longrepr[2] if isinstance(skipped.longrepr, tuple) else skipped.longreprtext
    return Outcome.SKIPPED, reason.removeprefix("Skipped: ")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _git(config: pytest.Config, *arguments: str) -> str | None:
    """What git answers about the project; None where there is no git or no repository."""
    command = ["git", "-C", str(config.rootpath), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
