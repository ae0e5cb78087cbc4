"""Why a run stops, and how far it has come with that; signal handlers and several threads read it."""

import threading
from enum import StrEnum


class StopReason(StrEnum):
    FINISHED = "finished"
    STOPPED = "stopped"
    """By `-x`, `--maxfail`, `pytest.exit` or the like."""
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    DEADLINE = "deadline"
    SETUP_FAILED = "set-up failed"


class Stage(StrEnum):
    RUNNING = "running"
    STOPPING = "stopping"
    TEARDOWN = "shared teardown"
    OVER = "over"


class RunStopped(KeyboardInterrupt):
    """The run is to stop now; raised wherever the process is, as Ctrl-C is."""


class ShutdownState:
    def __init__(self) -> None:
        self.stage = Stage.RUNNING
        self.reason: StopReason | None = None
        """Why the run stops before its time."""
        self.signal_number = 0
        self.session_started = False
        """Only from then on pytest lets us choose the exit code at the end of the session."""
        self.in_tests = False
        """Whether this process runs a test or tears a fixture down, which each further signal may interrupt."""
        self.tearing_down = ""
        """The shared resource that is being torn down."""
        self.force = threading.Event()
        """Set when workers are not to be given their grace period."""
        self.teardown_started = threading.Event()
        self.over = threading.Event()
