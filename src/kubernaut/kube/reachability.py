"""Whether the API server can be reached, as all watches of one client see it together.

Each of them fails by itself when the server is away; together they are one outage, with one line in the log when it
begins and one when it ends.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

log = structlog.get_logger("kube")


class Reachability:
    """The outage that lasts, if one does, and what the server rejects although it answers."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.since: datetime | None = None
        """When the outage began; None while the server answers."""
        self.rejections: dict[str, str] = {}
        """Lists and watches that the server rejects, by name, with what it said."""
        self._failing: set[str] = set()
        self._heard_at: dict[str, float] = {}
        self._clock = clock

    def failed(self, source: str, error: str) -> None:
        """A list or watch of that name got no answer."""
        self._failing.add(source)
        if self.since is None:
            self.since = self._clock()
            log.warning("API server unreachable", error=error)

    def rejected(self, source: str, error: str) -> None:
        """The server answered, and refused it."""
        if source not in self.rejections:
            log.warning("list or watch rejected, retrying", source=source, error=error)
        self.rejections[source] = error

    def heard(self, source: str) -> None:
        """Something arrived; the outage ends with the last of those that failed."""
        self._heard_at[source] = time.monotonic()
        if self.rejections.pop(source, None) is not None:
            log.info("list or watch accepted again", source=source)
        if source not in self._failing:
            return
        self._failing.discard(source)
        if not self._failing and self.since is not None:
            seconds = round((self._clock() - self.since).total_seconds(), 3)
            self.since = None
            log.info("API server reachable again", seconds=seconds)

    def silence(self, source: str) -> float:
        """Seconds since something arrived for that name last; infinite before the first time."""
        return time.monotonic() - self._heard_at.get(source, -float("inf"))
