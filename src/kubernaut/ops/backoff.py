"""How long to wait before the next attempt."""

import random
from dataclasses import dataclass

_own = random.Random()  # noqa: S311 - spreading load is no secret
"""Not the interpreter's: whoever has seeded that one wants its numbers for themselves, whatever runs beside them."""


def spread(low: float, high: float) -> float:
    """A number between the two, to spread load over time."""
    return _own.uniform(low, high)


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential back-off: `initial_delay` seconds, times `factor` each time, never above `max_delay`.

    Each delay is spread by the share `jitter` either way.
    """

    initial_delay: float = 1.0
    max_delay: float = 60.0
    factor: float = 2.0
    jitter: float = 0.1

    def delay(self, attempt: int) -> float:
        """Seconds to wait after failure number `attempt` (1 is the first)."""
        # The exponent is bounded because a float overflows near 2**1024 and an outage may last that long.
        plain = min(self.max_delay, self.initial_delay * self.factor ** min(attempt - 1, 64))
        return min(self.max_delay, plain + plain * self.jitter * spread(-1, 1))
