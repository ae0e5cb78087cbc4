"""Stops the workers: each one by itself after its test, and those that do not by signals from the controller."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import pytest

from pytest_muster.records.run import Run
from pytest_muster.shutdown.state import RunStopped, ShutdownState, StopReason
from pytest_muster.workspace.leases import Kind, read_leases, started
from pytest_muster.workspace.sweep import sweep_worker

GRACE_PERIOD = {
    StopReason.FINISHED: 10.0,
    StopReason.STOPPED: 4.0,
    StopReason.INTERRUPTED: 2.0,
    StopReason.TERMINATED: 2.0,
    StopReason.DEADLINE: 2.0,
    StopReason.SETUP_FAILED: 1.0,
}
"""Seconds for the tests that run when a run stops; xdist itself kills workers after ten."""
TEARDOWN_TIMEOUT = 5.0
"""Seconds that a worker has for its fixtures after it was interrupted."""
EXIT_TIMEOUT = 10.0
"""Seconds for workers to be gone after xdist has given them up."""
GROUP_SIGNAL_DELAY = 0.3
"""Seconds in which the controller, which gets the same signal, says that the run stops."""


def _stop_file(run: Run) -> Path:
    """Is there as soon as workers are to stop."""
    return run.directory / "stop"


def request_stop(run: Run) -> None:
    """Let every worker stop after the test that it runs."""
    with contextlib.suppress(OSError):
        _stop_file(run).touch()


def stop_requested(run: Run) -> bool:
    return _stop_file(run).exists()


class WorkerStop:
    """In a worker: stops it after its test when the run stops, and within its test when it is told to by SIGTERM."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._session: pytest.Session | None = None
        self._in_test = False
        run.write_worker_pid()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self._in_test = True
        try:
            return (yield)
        finally:
            self._in_test = False
            if self._session and stop_requested(self._run):
                self._session.shouldstop = "the run stops"

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if stop_requested(self._run):
            self._interrupt()
        else:
            # To the whole group, and the controller has not had the time to say so; or to this worker alone.
            threading.Timer(GROUP_SIGNAL_DELAY, self._decide).start()

    def _decide(self) -> None:
        if not stop_requested(self._run):
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _interrupt(self) -> None:
        if self._in_test:  # until the exception has left the test: Python drops one that is raised in a `__del__`
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # execnet sends one after five seconds, into our teardown
            raise RunStopped("the run stops")


class WorkerProcesses:
    """In the controller: the processes of the workers, as far as they are children of this one."""

    def __init__(self, run: Run, state: ShutdownState) -> None:
        self._run = run
        self._state = state
        self._gone = threading.Event()

    def stop(self) -> None:
        """Interrupt them in a thread when their grace period is over, then kill them."""
        threading.Thread(target=self._stop, name="muster-workers", daemon=True).start()

    def _stop(self) -> None:
        reason, force = self._state.reason, self._state.force
        self._await_exit(GRACE_PERIOD[reason or StopReason.FINISHED], unless=force)
        # Without a test there is no fixture that would have to be torn down.
        timeout = 0.0 if reason is StopReason.SETUP_FAILED else 1.0 if force.is_set() else TEARDOWN_TIMEOUT
        for _ in range(2):
            if not self._gone.is_set():
                self._signal(signal.SIGTERM)
                self._await_exit(timeout / 2, unless=None)
        if not self._gone.is_set():
            self._signal(signal.SIGKILL)

    def _await_exit(self, timeout: float, *, unless: threading.Event | None) -> None:
        until = time.monotonic() + timeout
        while self._alive() and time.monotonic() < until and not (unless and unless.is_set()):
            self._gone.wait(0.05)

    def await_gone(self) -> None:
        """Wait for those that xdist has given up, and clean up after those that were killed."""
        self._state.force.set()
        until = time.monotonic() + EXIT_TIMEOUT
        while self._alive() and time.monotonic() < until:
            self._gone.wait(0.02)
        for lease in read_leases(self._run.directory / "leases"):
            if lease.kind is Kind.OWNER and lease.fields["worker"] != self._run.worker:
                sweep_worker(self._run, lease.fields["worker"])
        self._gone.set()

    def _alive(self) -> list[int]:
        return [pid for pid in self._run.worker_pids() if _is_running_child(pid)]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _is_running_child(pid: int) -> bool:
    """Whether it is a child of ours that still runs; one of another host is not, whatever has its number here."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return started(pid) is not None
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
