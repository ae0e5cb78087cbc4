"""What can go wrong with embedded services, in words for the person who started them."""


class EmbeddedError(Exception):
    """An embedded service cannot be found, started or kept running."""


class ProcessDied(EmbeddedError):
    """A child process ended although nobody had asked it to."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said
        """What the process had written."""


class PortTaken(EmbeddedError):
    """Other processes were faster, again and again, to take the port that was chosen."""
