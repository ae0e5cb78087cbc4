"""A token bucket for each client, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from kubernaut.ops.settings import Between

MAX_BUCKETS = 10_000
"""Clients that are remembered; the one that was quiet for the longest time starts anew."""


@dataclass(frozen=True, kw_only=True)
class RateLimitConfig:
    """Requests of one identity, or of one address where nobody is authenticated."""

    requests_per_second: Annotated[float, Between(0, 1_000_000)] = 0.0
    """Requests per second in the long run; 0 is unlimited."""

    burst: Annotated[int, Between(1, 1_000_000)] = 100
    """Requests that may come at once."""


class RateLimiter:
    """Says how long a client has to wait."""

    def __init__(self, config: RateLimitConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = config.requests_per_second
        self._burst = config.burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # to the tokens left, and when

    def __len__(self) -> int:
        return len(self._buckets)

    def delay(self, client: str) -> float:
        """Take one token and return 0.0, or return the seconds until there is one."""
        if not self.rate:
            return 0.0
        now = self._clock()
        tokens, filled_at = self._buckets.pop(client, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - filled_at) * self.rate)
        delay = 0.0 if tokens >= 1 else (1 - tokens) / self.rate
        self._buckets[client] = (tokens if delay else tokens - 1, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return delay
