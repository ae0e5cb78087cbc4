"""How many writes per second a client sends, as client-go's QPS and burst."""

import asyncio


class TokenBucket:
    """Lets `rate` callers pass per second in the long run, and `burst` at once; the others wait in their order."""

    def __init__(self, rate: float, burst: int) -> None:
        """A `rate` of 0 lets everybody pass."""
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = 0.0

    async def acquire(self) -> None:
        """Return when the caller may pass."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        self._tokens = min(float(self._burst), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        # Whoever waits has taken a token that is still to come, so that nobody is overtaken.
        self._tokens -= 1
        if self._tokens < 0:
            try:
                await asyncio.sleep(-self._tokens / self._rate)
            except asyncio.CancelledError:
                self._tokens += 1
                raise
