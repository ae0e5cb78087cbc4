"""`--muster-deadline`: stops the run when its time is over, and says what was running then."""

import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from xdist.workermanage import WorkerController

from pytest_muster.records import journal
from pytest_muster.records.clock import now
from pytest_muster.records.run import Role, Run
from pytest_muster.resources.shared import SharedResources
from pytest_muster.shutdown.state import ShutdownState, Stage, StopReason

INTERRUPT_TIMEOUT = 6.0
"""Seconds after the deadline until a process that is alone and does not let itself be interrupted is left."""


def add_option(parser: pytest.Parser) -> None:
    text = "stop the run after this time, such as 90, 90s, 10m or 1h, tear everything down, and exit with 11"
    parser.getgroup("muster").addoption("--muster-deadline", metavar="TIME", help=text)
    parser.addini("muster_deadline", text, default="")


def timeout_of(config: pytest.Config) -> float:
    """Seconds until the deadline; 0 if there is none. Raises UsageError."""
    text = config.getoption("muster_deadline") or config.getini("muster_deadline")
    return parse_duration(str(text)) if text else 0.0


def parse_duration(text: str) -> float:
    """`90`, `90s`, `10m`, `1.5h` in seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    value = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if value <= 0:
        raise pytest.UsageError(f"muster deadline: {text!r} is not a duration; write 90, 90s, 10m or 1h")
    return value


@dataclass(frozen=True, kw_only=True)
class RunningTest:
    test: str
    worker: str
    took: float


class RunningTests:
    """Which tests run now, and where."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._started: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._started[nodeid] = now()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._started.pop(nodeid, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        self._started.pop(crashitem, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        """A worker that is gone runs no test."""
        for test in [running.test for running in self.current() if running.worker == node.gateway.id]:
            self._started.pop(test, None)

    def current(self) -> list[RunningTest]:
        if not self._started:
            return []
        workers: dict[str, str] = {}
        for file in sorted((self._run.directory / "workers").glob("*.jsonl")):
            workers |= {line["test"]: line["worker"] for line in journal.lines(file, only="started")}
        moment = now()
        return [
            RunningTest(test=test, worker=workers.get(test, self._run.worker), took=moment - started)
            for test, started in list(self._started.items())
        ]


class Deadline:
    def __init__(self, timeout: float, run: Run, state: ShutdownState, tests: RunningTests) -> None:
        self.timeout = timeout
        """Seconds; 0 if there is no deadline."""
        self._run = run
        self._state = state
        self._tests = tests
        self._interrupted: list[RunningTest] = []
        self._starting: list[str] = []
        """The shared resources whose set-up it interrupted."""

    def start(self, resources: SharedResources, on_stuck: Callable[[], None]) -> None:
        """Send this process SIGTERM when the time is over; `on_stuck` is called if it does not obey."""
        if self.timeout:
            arguments = (resources, on_stuck)
            threading.Thread(target=self._wait, args=arguments, name="muster-deadline", daemon=True).start()

    def _wait(self, resources: SharedResources, on_stuck: Callable[[], None]) -> None:
        state = self._state
        if state.over.wait(self.timeout) or state.stage is not Stage.RUNNING:
            return
        state.reason = StopReason.DEADLINE
        self._interrupted, self._starting = self._tests.current(), resources.starting
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        if self._run.role is Role.ALONE and not state.teardown_started.wait(INTERRUPT_TIMEOUT):
            on_stuck()

    @property
    def text(self) -> str:
        if self._starting:
            return f"Deadline of {self.timeout:g} s exceeded in the shared set-up of {', '.join(self._starting)}."
        if not self._interrupted:
            return f"Deadline of {self.timeout:g} s exceeded; no test was running."
        tests = "".join(f"\n  {one.test} on {one.worker}, for {one.took:.1f} s" for one in self._interrupted)
        return f"Deadline of {self.timeout:g} s exceeded. These tests were running:{tests}"
