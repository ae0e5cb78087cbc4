"""Which exit code a run ends with, beyond what pytest says."""

import pytest

from pytest_muster.exits import ExitCode
from pytest_muster.shutdown.state import ShutdownState, StopReason

_GREEN = {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
_FINISHED = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, ExitCode.INFRASTRUCTURE}


def exit_code(status: int, state: ShutdownState, *, has_errors: bool) -> int:
    """`status` is pytest's own; `has_errors` says whether something was wrong with a resource."""
    match state.reason:
        case StopReason.DEADLINE:
            return ExitCode.DEADLINE
        case StopReason.TERMINATED:
            return 128 + state.signal_number
        case StopReason.SETUP_FAILED:
            return ExitCode.INFRASTRUCTURE
    return ExitCode.INFRASTRUCTURE if has_errors and status in _GREEN else status


def recorded_reason(status: int, state: ShutdownState) -> StopReason | None:
    """How the record says that the run ended; None if pytest's exit code alone tells it."""
    return state.reason or (StopReason.FINISHED if status in _FINISHED else None)
