"""A token bucket for each client, and one for all of them, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

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

    total_requests_per_second: Annotated[float, Between(0, 1_000_000)] = 0.0
    """Requests per second of all clients together; 0 is unlimited."""

    total_burst: Annotated[int, Between(1, 1_000_000)] = 1000
    """Requests of all clients that may come at once."""


@dataclass(frozen=True, kw_only=True)
class FailureLimitConfig:
    """Requests of one address whose token is nobody's; those whose token was accepted before are not held up."""

    requests_per_second: Annotated[float, Between(0, 1_000_000)] = 1.0
    """Invalid tokens per second in the long run; 0 is unlimited."""

    burst: Annotated[int, Between(1, 1_000_000)] = 20
    """Invalid tokens that may come at once."""

    @property
    def rate_limit(self) -> RateLimitConfig:
        """The same as a limit of requests."""
        return RateLimitConfig(requests_per_second=self.requests_per_second, burst=self.burst)


class RateExceeded(NamedTuple):
    """How long a client has to wait, and why."""

    delay: float  # seconds
    reason: str


class RateLimiter:
    """Says whether a client may send a request."""

    def __init__(self, config: RateLimitConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._total = _Bucket(config.total_requests_per_second, config.total_burst, clock())

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, client: str) -> RateExceeded | None:
        """Take one token; None when there is one for this client and one for all."""
        now, config = self._clock(), self._config
        if config.requests_per_second:
            bucket = self._buckets.pop(client, None) or _Bucket(config.requests_per_second, config.burst, now)
            self._buckets[client] = bucket
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
            if delay := bucket.take(now):
                return RateExceeded(
                    delay, f"{client} sends more than {config.requests_per_second:g} requests per second"
                )
        if config.total_requests_per_second and (delay := self._total.take(now)):
            rate = config.total_requests_per_second
            return RateExceeded(delay, f"all clients together send more than {rate:g} requests per second")
        return None

    def wait(self, client: str) -> float:
        """The seconds until this client has a token, which is not taken."""
        bucket = self._buckets.get(client)
        return bucket.wait(self._clock()) if bucket else 0.0


class _Bucket:
    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._filled_at = now

    def take(self, now: float) -> float:
        """Take one token and return 0.0, or return the seconds until there is one."""
        delay = self.wait(now)
        if not delay:
            self._tokens -= 1
        return delay

    def wait(self, now: float) -> float:
        """The seconds until there is a token."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return (1 - self._tokens) / self._rate if self._tokens < 1 else 0.0
