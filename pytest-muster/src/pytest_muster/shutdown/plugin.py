"""The hooks that end a run in order, in the process that owns it; a worker only stops when it is asked to."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Generator

import pytest

from pytest_muster.exits import ExitCode
from pytest_muster.records.recorder import STOP_REASON
from pytest_muster.records.run import Role, Run, run_of
from pytest_muster.resources import per_worker
from pytest_muster.resources.health import health_monitor
from pytest_muster.resources.lifecycle import format_error
from pytest_muster.resources.shared import ResourceError, shared_resources
from pytest_muster.shutdown import deadline
from pytest_muster.shutdown.deadline import Deadline, RunningTests
from pytest_muster.shutdown.exit_code import exit_code, recorded_reason
from pytest_muster.shutdown.signals import SignalHandlers
from pytest_muster.shutdown.state import ShutdownState, Stage, StopReason
from pytest_muster.shutdown.workers import WorkerProcesses, WorkerStop, request_stop

MAX_SHOWN_TESTS = 3
"""So many tests are named for each reason why they could not be judged."""


def pytest_addoption(parser: pytest.Parser) -> None:
    deadline.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if not run.owns_shared:
        config.pluginmanager.register(WorkerStop(run), "muster-worker-stop")
        return
    shutdown = _Shutdown(config, run)
    config.pluginmanager.register(shutdown.tests, "muster-running-tests")
    config.pluginmanager.register(shutdown, "muster-shutdown")
    config.add_cleanup(shutdown.signals.restore)  # after every plugin has put its things away


class _Shutdown:
    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config = config
        self.run = run
        self.session: pytest.Session | None = None
        self.state = ShutdownState()
        self.tests = RunningTests(run)
        self.deadline = Deadline(deadline.timeout_of(config), run, self.state, self.tests)
        self.signals = SignalHandlers(run, self.state, self.deadline, self._write)
        self.workers = WorkerProcesses(run, self.state)
        self.resources = shared_resources(config)
        self.health = health_monitor(config)
        self._other_errors: list[ResourceError] = []
        self._teardown = threading.Lock()
        """Taken for good by the thread that tears shared resources down."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session
        if self.signals.install():
            self.deadline.start(self.resources, self._exit_stuck)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        self.state.session_started = True
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.state.in_tests = True
        try:
            return (yield)
        finally:
            self.state.in_tests = False

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        if self.state.reason is not None:
            return
        if self.resources.failed:
            self.state.reason = StopReason.SETUP_FAILED
        else:
            plain = excinfo.type is KeyboardInterrupt
            self.state.reason = StopReason.INTERRUPTED if plain else StopReason.STOPPED

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Around xdist's own implementation, which closes the channels of the workers and waits for them."""
        state = self.state
        if state.stage is Stage.RUNNING:
            state.stage = Stage.STOPPING
        if state.reason is None and (session.shouldfail or session.shouldstop):
            state.reason = StopReason.STOPPED
        request_stop(self.run)
        if self.run.role is Role.CONTROLLER:
            self.workers.stop()
        answer: object = None
        try:
            state.in_tests = self.run.role is Role.ALONE
            answer = yield
        except KeyboardInterrupt:  # one more Ctrl-C, in the teardown of a fixture of a process that is alone
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        finally:
            state.in_tests = False
            self._finish(session)
        return answer

    def _finish(self, session: pytest.Session) -> None:
        state = self.state
        if self.run.role is Role.CONTROLLER:
            self.workers.await_gone()
        for (title, text), of in per_worker.errors(self.run).items():
            self._other_errors.append(ResourceError(title=f"{title} on {', '.join(of)}", text=text, name=title))
        state.teardown_started.set()
        if not self._teardown.acquire(blocking=False):
            state.over.wait()  # for ever: the other thread ends this process
        state.stage = Stage.TEARDOWN
        self._tear_down(write=self._write if state.reason else lambda text: None)
        state.stage = Stage.OVER
        state.over.set()
        self._set_exit_code(session)

    def _tear_down(self, *, write: Callable[[str], None]) -> None:
        self.health.stop()
        for name in self.resources.stop():
            self.state.tearing_down = name
            write(f"muster: tearing down {name}")
        self.state.tearing_down = ""
        self.health.poll_after_teardown()
        if self.resources.began:
            titles = [error.title for error in self.errors]
            try:
                self.config.hook.pytest_muster_shared_stopped(config=self.config, errors=titles)
            except Exception as error:  # noqa: BLE001 - the end of the run is not to be broken off by what follows it
                name = "pytest_muster_shared_stopped"
                self._other_errors.append(ResourceError(title=f"hook {name}", text=format_error(error), name=name))

    def _exit_stuck(self) -> None:
        """The test neither ends nor lets itself be interrupted, so its process has to go, but in order."""
        if not self._teardown.acquire(blocking=False):
            return
        self.state.stage = Stage.TEARDOWN
        self._tear_down(write=lambda text: None)
        wall = self.deadline.timeout
        self.run.journal.write(
            "end", exit=int(ExitCode.DEADLINE), stop_reason=StopReason.DEADLINE, counts={}, wall=wall
        )
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if capture:
            capture.suspend_global_capture(in_=True)
        sys.stderr.write(f"\nmuster: {self.deadline.text}\nmuster: the test could not be interrupted\n")
        sys.stderr.flush()
        os._exit(ExitCode.DEADLINE)

    @property
    def errors(self) -> list[ResourceError]:
        return [*self.resources.errors, *self.health.errors, *self._other_errors]

    def _set_exit_code(self, session: pytest.Session) -> None:
        session.exitstatus = exit_code(session.exitstatus, self.state, has_errors=bool(self.errors))
        reason = recorded_reason(session.exitstatus, self.state)
        if reason:
            self.config.stash[STOP_REASON] = reason.value

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.state.reason is StopReason.DEADLINE:
            terminalreporter.section("deadline", red=True, bold=True)
            terminalreporter.write_line(self.deadline.text)
        for error in self.errors:
            terminalreporter.section(error.title, red=True, bold=True)
            terminalreporter.write_line(error.text)
        reasons: dict[str, list[str]] = {}
        for report in terminalreporter.stats.get("infrastructure", ()):
            reasons.setdefault(report.muster["infrastructure"], []).append(report.nodeid)
        for reason, tests in reasons.items():
            more = f" and {len(tests) - MAX_SHOWN_TESTS} more" if len(tests) > MAX_SHOWN_TESTS else ""
            terminalreporter.write_line(f"Not judged, because {reason}: {', '.join(tests[:MAX_SHOWN_TESTS])}{more}")

    def _write(self, text: str) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            with contextlib.suppress(RuntimeError):  # a signal came while the terminal was being written to
                terminal.ensure_newline()
                terminal.write_line(text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        if not self.state.over.is_set():  # the session had not quite begun, or another plugin broke off its end
            self._tear_down(write=lambda text: None)
            self.state.over.set()
            if self.session:  # what pytest exits with is read after this
                self._set_exit_code(self.session)
