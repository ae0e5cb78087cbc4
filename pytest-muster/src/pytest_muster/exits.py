"""Exit codes beyond pytest's own, so that a pipeline can tell a failing test from a failing environment."""

from enum import IntEnum


class ExitCode(IntEnum):
    INFRASTRUCTURE = 10
    """No test failed, but the environment did: a shared or worker resource did not start, died, or did not stop."""
    DEADLINE = 11
    """`--muster-deadline` was exceeded before the tests were over."""
    TERMINATED = 143
    """SIGTERM, as a shell reports it."""
