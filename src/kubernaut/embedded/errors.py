"""What can go wrong with embedded services, in words for the person who started them."""


class EmbeddedError(Exception):
    """An embedded service cannot be found, started or kept running."""


class ProcessFailed(EmbeddedError):
    """A child process did not start, was not ready in time, or exited unexpectedly."""

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """Negative for a signal; None while the process runs, and when it was never started."""


class NoFreePort(EmbeddedError):
    """The port that was chosen was in use, again and again."""
