"""What Ctrl-C, SIGTERM and SIGHUP do in the process that owns the run."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from pytest_muster.records.run import Role, Run
from pytest_muster.shutdown.deadline import Deadline
from pytest_muster.shutdown.state import RunStopped, ShutdownState, Stage, StopReason
from pytest_muster.shutdown.workers import request_stop


class SignalHandlers:
    def __init__(self, run: Run, state: ShutdownState, deadline: Deadline, write: Callable[[str], None]) -> None:
        self._run = run
        self._state = state
        self._deadline = deadline
        self._write = write
        self._previous: dict[signal.Signals, Any] = {}

    def install(self) -> bool:
        """Whether SIGTERM is ours now: not outside of the main thread, and not where somebody else handles it."""
        if threading.current_thread() is not threading.main_thread():
            return False
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # a program that brought its own, or `nohup`, means it
                self._previous[number] = signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._on_signal)
        return signal.SIGTERM in self._previous

    def restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        state = self._state
        if state.stage is Stage.RUNNING or state.in_tests:
            self._stop(number)
        state.force.set()
        if state.stage is Stage.TEARDOWN and state.tearing_down:
            name = signal.Signals(number).name
            self._write(f"muster: {name} received; the teardown of {state.tearing_down} goes on")
        elif state.stage is Stage.STOPPING and self._run.role is Role.CONTROLLER:
            self._write("muster: killing the workers; shared resources are torn down after that")

    def _stop(self, number: int) -> None:
        """Raises, wherever the process is."""
        state = self._state
        state.stage = Stage.STOPPING
        if state.reason is None:
            state.signal_number = number
            state.reason = StopReason.INTERRUPTED if number == signal.SIGINT else StopReason.TERMINATED
        request_stop(self._run)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        expired = state.reason is StopReason.DEADLINE
        reason = f"deadline of {self._deadline.timeout:g} s exceeded" if expired else "terminated"
        if not state.session_started:
            pytest.exit(reason, returncode=128 + number)
        raise RunStopped(reason)
