"""Writes the run record: who ran, what ran when and where, and how it ended."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from pytest_muster.record import SCHEMA
from pytest_muster.run import Run, run_of


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if run.owns_shared:
        config.pluginmanager.register(_Recorder(config, run), "muster-recorder")


class _Recorder:
    """Puts the three reports of a test together to one line."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config = config
        self.run = run
        self.started = time.time()
        self.open: dict[tuple[str, str], list[pytest.TestReport]] = {}
        self.orders: dict[str, int] = {}

    def pytest_sessionstart(self) -> None:
        config = self.config
        revision = _git(config, "rev-parse", "HEAD")
        self.run.journal.write(
            "run",
            schema=SCHEMA,
            run=self.run.id,
            argv=list(config.invocation_params.args),
            rootdir=str(config.rootpath),
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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        node = getattr(report, "node", None)  # set by xdist
        worker = node.gateway.id if node else self.run.worker
        reports = self.open.setdefault((worker, report.nodeid), [])
        reports.append(report)
        if report.when == "teardown":
            del self.open[worker, report.nodeid]
            self._write(worker, reports)

    def _write(self, worker: str, reports: list[pytest.TestReport]) -> None:
        order = self.orders[worker] = self.orders.get(worker, -1) + 1
        phases = {r.when: {"start": r.start, "took": r.duration, "outcome": r.outcome} for r in reports}
        failed = [report for report in reports if report.failed]
        skipped = any(report.skipped for report in reports)
        fields: dict[str, Any] = {}
        if failed:
            fields["error"] = {"phase": failed[0].when, "text": failed[0].longreprtext}
            fields["output"] = dict(failed[-1].sections)
        self.run.journal.write(
            "test",
            test=reports[0].nodeid,
            worker=worker,
            order=order,
            outcome="failed" if failed else "skipped" if skipped else "passed",
            start=reports[0].start,
            stop=reports[-1].stop,
            phases=phases,
            **fields,
        )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.run.journal.write("end", exit=int(exitstatus), wall=time.time() - self.started)

    def pytest_unconfigure(self) -> None:
        self.run.journal.close()


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
