"""How many writes per second a client sends, as client-go's QPS and burst."""

import asyncio

_EPSILON = 1e-9
"""Of a token, which the arithmetic of floating-point numbers may lack."""


class TokenBucket:
    """Lets `rate` callers pass per second in the long run, and `burst` at once; the others wait in their order.

    Who waits has taken nothing: when one gives up, each of those behind it passes one turn earlier.
    """

    def __init__(self, rate: float, burst: int) -> None:
        """A `rate` of 0 lets everybody pass."""
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._filled_at = 0.0
        self._waiting: dict[asyncio.Future[None], None] = {}
        """In the order of their arrival."""
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self) -> None:
        """Return when the caller may pass."""
        if not self._rate:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        self._pass()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.pop(turn, None)
            else:  # its turn came in the moment in which it gave up
                self._tokens += 1
                self._pass()
            raise

    def _pass(self) -> None:
        """Let those pass for whom there is a token, and wake up when there is the next one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        while self._waiting and self._tokens >= 1 - _EPSILON:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                self._tokens -= 1
                turn.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later((1 - self._tokens) / self._rate, self._pass) if self._waiting else None
