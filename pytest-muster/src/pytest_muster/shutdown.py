"""Ends a run in order, whatever ends it: first the workers, then the shared resources, then the record.

A run ends by itself, or because of `-x`, `--maxfail`, Ctrl-C, SIGTERM, SIGHUP, `--muster-deadline`, or a shared set-up
that failed. Workers are asked to stop after the test that they run; after a grace they are interrupted in it, which
still tears their fixtures down, and then killed. A second signal shortens the grace. Shared resources are torn down
when the last worker is gone; a signal that arrives then is noted, not obeyed.
"""

import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from xdist.workermanage import WorkerController

from pytest_muster.exits import ExitCode
from pytest_muster.records import journal
from pytest_muster.records.recorder import STOP_REASON
from pytest_muster.records.run import Role, Run, run_of
from pytest_muster.resources import per_worker
from pytest_muster.resources.health import health_monitor
from pytest_muster.resources.lifecycle import shown
from pytest_muster.resources.shared import ResourceError, shared_resources
from pytest_muster.workspace.leases import Kind, read_leases, started
from pytest_muster.workspace.sweep import sweep_worker

TEARDOWN_TIMEOUT = 5.0
"""Seconds that a worker has for its fixtures after it was interrupted."""
INTERRUPT_TIMEOUT = 6.0
"""Seconds after the deadline until a process that is alone and does not let itself be interrupted is left."""
MAX_SHOWN_TESTS = 3
"""So many tests are named for each reason why they could not be judged."""


class StopReason(StrEnum):
    FINISHED = "finished"
    STOPPED = "stopped"
    """By `-x`, `--maxfail`, `pytest.exit` or the like."""
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    DEADLINE = "deadline"
    SETUP_FAILED = "set-up failed"


GRACE_PERIOD = {
    StopReason.FINISHED: 10.0,
    StopReason.STOPPED: 4.0,
    StopReason.INTERRUPTED: 2.0,
    StopReason.TERMINATED: 2.0,
    StopReason.DEADLINE: 2.0,
    StopReason.SETUP_FAILED: 1.0,
}
"""Seconds for the tests that run when a run ends; xdist itself kills workers after ten."""


class Stopped(KeyboardInterrupt):
    """The run is to end now; raised wherever the process is, as Ctrl-C is."""


class _Stage(StrEnum):
    RUNNING = "running"
    STOPPING = "stopping"
    TEARDOWN = "shared teardown"
    OVER = "over"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("muster")
    text = "stop the run after this time, such as 90, 90s, 10m or 1h, tear everything down, and exit with 11"
    group.addoption("--muster-deadline", metavar="TIME", help=text)
    parser.addini("muster_deadline", text, default="")


def seconds(text: str) -> float:
    """`90`, `90s`, `10m`, `1.5h` in seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    value = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if value <= 0:
        raise pytest.UsageError(f"muster deadline: {text!r} is no time; write 90, 90s, 10m or 1h")
    return value


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if run.owns_shared:
        ending = _Ending(config, run)
        config.pluginmanager.register(ending, "muster-ending")
        config.add_cleanup(ending.give_signals_back)  # after every plugin has put its things away
    else:
        config.pluginmanager.register(_Halting(run), "muster-halting")


def _halt_file(run: Run) -> Path:
    """Is there as soon as workers are to stop."""
    return run.directory / "halt"


class _Halting:
    """In a worker: stops it after its test when the run ends, and within its test when it is told to by SIGTERM."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.session: pytest.Session | None = None
        self.testing = False
        file = run.directory / "workers" / f"{run.worker}.pid"
        file.write_text(str(os.getpid()))

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_term)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self.testing = True
        try:
            return (yield)
        finally:
            self.testing = False
            if self.session and _halt_file(self.run).exists():
                self.session.shouldstop = "the run ends"

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if _halt_file(self.run).exists():
            self._leave()
        else:
            # To the whole group, and the controller has not had the time to say so; or to this worker alone.
            threading.Timer(0.3, self._decide).start()

    def _decide(self) -> None:
        if not _halt_file(self.run).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _leave(self) -> None:
        if self.testing:  # until the exception has left the test: Python drops one that is raised in a `__del__`
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # execnet sends one after five seconds, into our teardown
            raise Stopped("the run ends")


class _Workers:
    """The processes of the workers, as far as they are children of this one."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def alive(self) -> list[int]:
        pids = [int(file.read_text() or 0) for file in (self.run.directory / "workers").glob("*.pid")]
        return [pid for pid in pids if pid and _lives(pid)]

    def signal(self, number: signal.Signals) -> None:
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _lives(pid: int) -> bool:
    """Whether it is a child of ours that still runs; one of another host is not, whatever has its number here."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return started(pid) is not None
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


@dataclass(frozen=True, kw_only=True)
class _Running:
    test: str
    worker: str
    took: float


class _Ending:
    """In the process that owns the run."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config = config
        self.run = run
        self.session: pytest.Session | None = None
        self.ending: StopReason | None = None
        """Why the run ends before its time."""
        self.stage = _Stage.RUNNING
        self.signal_number = 0
        self.begun = False
        """Whether the session has: only from then on pytest lets us choose the exit code at its end."""
        self.in_tests = False
        """Whether this process runs a test or tears a fixture down, which each further signal may break off."""
        self.workers = _Workers(run)
        self.force = threading.Event()
        self.workers_gone = threading.Event()
        self.tearing_down = threading.Event()
        self.over = threading.Event()
        self.claim = threading.Lock()
        """Taken for good by the thread that tears shared things down."""
        self.tearing = ""
        self.running: dict[str, float] = {}
        self.other_errors: list[ResourceError] = []
        self.cut: list[_Running] = []
        """The tests that the deadline cut off."""
        self.starting: list[str] = []
        """Whose set-up it cut off."""
        self.previous: dict[signal.Signals, Any] = {}
        text = config.getoption("muster_deadline") or config.getini("muster_deadline")
        self.deadline = seconds(str(text)) if text else None

    # What is running

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[nodeid] = time.time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.running.pop(nodeid, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        self.running.pop(crashitem, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self.in_tests = True
        try:
            return (yield)
        finally:
            self.in_tests = False

    # What ends it

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # a program that brought its own, or `nohup`, means it
                self.previous[number] = signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._on_signal)
        if self.deadline and signal.SIGTERM in self.previous:
            threading.Thread(target=self._watch_clock, name="muster-deadline", daemon=True).start()

    def _watch_clock(self) -> None:
        if self.over.wait(self.deadline) or self.stage is not _Stage.RUNNING:
            return
        self.ending = StopReason.DEADLINE
        self.cut, self.starting = self._running(), shared_resources(self.config).starting
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        if self.run.role is Role.ALONE and not self.tearing_down.wait(INTERRUPT_TIMEOUT):
            self._leave_stuck()

    def _running(self) -> list[_Running]:
        runners: dict[str, str] = {}
        for file in sorted((self.run.directory / "workers").glob("*.jsonl")):
            runners |= {line["test"]: line["worker"] for line in journal.lines(file, only="started")}
        now = time.time()
        return [
            _Running(test=test, worker=runners.get(test, self.run.worker), took=now - began)
            for test, began in list(self.running.items())
        ]

    def _leave_stuck(self) -> None:
        """The test neither ends nor lets itself be interrupted, so its process has to go, but in order."""
        if not self.claim.acquire(blocking=False):
            return
        self.stage = _Stage.TEARDOWN
        self._tear_down(tell=lambda text: None)
        self.run.journal.write(
            "end", exit=int(ExitCode.DEADLINE), stop_reason=self.ending, counts={}, wall=self.deadline
        )
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if capture:
            capture.suspend_global_capture(in_=True)
        sys.stderr.write(f"\nmuster: {self._deadline_text()}\nmuster: it could not be interrupted\n")
        sys.stderr.flush()
        os._exit(ExitCode.DEADLINE)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stage is _Stage.RUNNING or self.in_tests:
            self.stage = _Stage.STOPPING
            if self.ending is None:
                self.signal_number = number
                self.ending = StopReason.INTERRUPTED if number == signal.SIGINT else StopReason.TERMINATED
            self._halt()
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            why = f"the deadline of {self.deadline:g} s is over" if self.ending is StopReason.DEADLINE else "terminated"
            if not self.begun:
                pytest.exit(why, returncode=128 + number)
            raise Stopped(why)
        self.force.set()
        if self.stage is _Stage.TEARDOWN and self.tearing:
            self._tell(f"muster: {signal.Signals(number).name} noted; {self.tearing} is still being torn down")
        elif self.stage is _Stage.STOPPING and self.run.role is Role.CONTROLLER:
            self._tell("muster: workers are killed; shared resources are torn down after that")

    def _halt(self) -> None:
        with contextlib.suppress(OSError):
            _halt_file(self.run).touch()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        self.begun = True
        return (yield)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        if self.ending is None:
            plain = excinfo.type is KeyboardInterrupt
            failed = shared_resources(self.config).failed
            self.ending = StopReason.SETUP_FAILED if failed else StopReason.INTERRUPTED if plain else StopReason.STOPPED

    # How it ends

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Around xdist's own implementation, which closes the channels of the workers and waits for them."""
        if self.stage is _Stage.RUNNING:
            self.stage = _Stage.STOPPING
        if self.ending is None and (session.shouldfail or session.shouldstop):
            self.ending = StopReason.STOPPED
        self._halt()
        if self.run.role is Role.CONTROLLER:
            threading.Thread(target=self._remove_workers, name="muster-workers", daemon=True).start()
        answer: object = None
        try:
            self.in_tests = self.run.role is Role.ALONE
            answer = yield
        except KeyboardInterrupt:  # one more Ctrl-C, in the teardown of a fixture of a process that is alone
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        finally:
            self.in_tests = False
            self._finish(session)
        return answer

    def _remove_workers(self) -> None:
        """Interrupt the workers when their grace is over, then kill them."""
        self._await_workers(GRACE_PERIOD[self.ending or StopReason.FINISHED], unless=self.force)
        # Without a test there is no fixture that would have to be torn down.
        patience = 0.0 if self.ending is StopReason.SETUP_FAILED else 1.0 if self.force.is_set() else TEARDOWN_TIMEOUT
        for _ in range(2):
            if not self.workers_gone.is_set():
                self.workers.signal(signal.SIGTERM)
                self._await_workers(patience / 2, unless=None)
        if not self.workers_gone.is_set():
            self.workers.signal(signal.SIGKILL)

    def _await_workers(self, timeout: float, *, unless: threading.Event | None) -> None:
        until = time.monotonic() + timeout
        while self.workers.alive() and time.monotonic() < until and not (unless and unless.is_set()):
            self.workers_gone.wait(0.05)

    def _finish(self, session: pytest.Session) -> None:
        if self.run.role is Role.CONTROLLER:
            self.force.set()  # xdist has given up on those that are still there
            until = time.monotonic() + 10
            while self.workers.alive() and time.monotonic() < until:
                self.workers_gone.wait(0.02)
            self._sweep_workers()
        self.workers_gone.set()
        for (title, text), of in per_worker.errors(self.run).items():
            self.other_errors.append(ResourceError(title=f"{title} on {', '.join(of)}", text=text, name=title))
        self.tearing_down.set()
        if not self.claim.acquire(blocking=False):
            self.over.wait()  # for ever: the other thread ends this process
        self.stage = _Stage.TEARDOWN
        self._tear_down(tell=self._tell if self.ending else lambda text: None)
        self.stage = _Stage.OVER
        self.over.set()
        self._settle(session)

    def _sweep_workers(self) -> None:
        """Take away what workers that were cut off have left: processes, directories, what a command cleans up."""
        for lease in read_leases(self.run.directory / "leases"):
            if lease.kind is Kind.OWNER and lease.fields["worker"] != self.run.worker:
                sweep_worker(self.run, lease.fields["worker"])

    def _tear_down(self, *, tell: Callable[[str], None]) -> None:
        health_monitor(self.config).end()
        for name in shared_resources(self.config).stop():
            self.tearing = name
            tell(f"muster: tearing down {name}")
        self.tearing = ""
        health_monitor(self.config).look_after_teardown()
        if shared_resources(self.config).began:
            titles = [error.title for error in self.errors]
            try:
                self.config.hook.pytest_muster_shared_stopped(config=self.config, errors=titles)
            except Exception as error:  # noqa: BLE001 - the end of the run is not to be broken off by what follows it
                name = "pytest_muster_shared_stopped"
                self.other_errors.append(ResourceError(title=f"hook {name}", text=shown(error), name=name))

    def _settle(self, session: pytest.Session) -> None:
        """Choose the exit code, and the word for the record."""
        green = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
        match self.ending:
            case StopReason.DEADLINE:
                session.exitstatus = ExitCode.DEADLINE
            case StopReason.TERMINATED:
                session.exitstatus = 128 + self.signal_number
            case StopReason.SETUP_FAILED:
                session.exitstatus = ExitCode.INFRASTRUCTURE
            case _ if green and self.errors:
                session.exitstatus = ExitCode.INFRASTRUCTURE
        if self.ending:
            self.config.stash[STOP_REASON] = self.ending.value
        elif session.exitstatus in {*_ENDED_BY_ITSELF}:
            self.config.stash[STOP_REASON] = StopReason.FINISHED.value

    @property
    def errors(self) -> list[ResourceError]:
        return [*shared_resources(self.config).errors, *health_monitor(self.config).errors, *self.other_errors]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.ending is StopReason.DEADLINE:
            terminalreporter.section("deadline", red=True, bold=True)
            terminalreporter.write_line(self._deadline_text())
        for error in self.errors:
            terminalreporter.section(error.title, red=True, bold=True)
            terminalreporter.write_line(error.text)
        reasons: dict[str, list[str]] = {}
        for report in terminalreporter.stats.get("infrastructure", ()):
            reasons.setdefault(report.muster["infrastructure"], []).append(report.nodeid)
        for reason, tests in reasons.items():
            more = f" and {len(tests) - MAX_SHOWN_TESTS} more" if len(tests) > MAX_SHOWN_TESTS else ""
            terminalreporter.write_line(f"Not judged, because {reason}: {', '.join(tests[:MAX_SHOWN_TESTS])}{more}")

    def _deadline_text(self) -> str:
        if self.starting:
            return f"The deadline of {self.deadline:g} s was over in the shared set-up of {', '.join(self.starting)}."
        if not self.cut:
            return f"The deadline of {self.deadline:g} s was over; no test was running."
        tests = "".join(f"\n  {cut.test} on {cut.worker}, for {cut.took:.1f} s" for cut in self.cut)
        return f"The deadline of {self.deadline:g} s was over. These tests were running:{tests}"

    def _tell(self, text: str) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            with contextlib.suppress(RuntimeError):  # a signal came while the terminal was being written to
                terminal.ensure_newline()
                terminal.write_line(text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        if not self.over.is_set():  # the session had not quite begun, or another plugin broke off its end
            self._tear_down(tell=lambda text: None)
            self.over.set()
            if self.session:  # what pytest exits with is read after this
                self._settle(self.session)

    def give_signals_back(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self.previous.items():
                signal.signal(number, handler)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        """A worker that is gone runs no test."""
        slot_of = {run.test for run in self._running() if run.worker == node.gateway.id}
        for test in slot_of:
            self.running.pop(test, None)


_ENDED_BY_ITSELF = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, ExitCode.INFRASTRUCTURE)
