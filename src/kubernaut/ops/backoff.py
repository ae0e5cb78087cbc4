"""How long to wait before trying again."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential waiting: `first` seconds, times `factor` each time, `most` at most, spread by `jitter` either way."""

    first: float = 1.0
    most: float = 60.0
    factor: float = 2.0
    jitter: float = 0.1

    def delay(self, attempt: int) -> float:
        """Seconds to wait after failure number `attempt` (1 is the first). Never more than `most`."""
        # The exponent is bounded because a float overflows near 2**1024 and an outage may last that long.
        plain = min(self.most, self.first * self.factor ** min(attempt - 1, 64))
        spread = plain * self.jitter * random.uniform(-1, 1)  # noqa: S311 - spreading load is no secret
        return min(self.most, plain + spread)
