"""The keys that wait to be worked on.

A key stands for "look at this object again", not for a change, so it is enough to hold it once.
Adding a key that waits does nothing. Adding a key that is being worked on makes it wait again as soon as that work is
done; until then no other worker gets it, so one object is never handled twice at a time.

All methods except `take` return at once. Use it within one event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kubernaut.kube.metrics import KubeMetrics
from kubernaut.ops.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class QueueClosed(Exception):
    """No more work will come."""


class WorkQueue(Generic[K]):
    """A queue of keys that folds duplicates, keeps each key to one worker, and delays keys that failed."""

    def __init__(
        self,
        name: str,
        backoff: Backoff = Backoff(initial_delay=1.0, max_delay=60.0),  # noqa: B008 - it is frozen
        metrics: KubeMetrics | None = None,
    ) -> None:
        self.name = name
        self._backoff = backoff
        self._metrics = _Meter(metrics or KubeMetrics(), name, self.ages)
        self._ready: deque[K] = deque()
        self._waiting: dict[K, float] = {}
        """Keys that must be worked on, and since when; those that are not being worked on stand in `_ready`."""
        self._active: dict[K, float] = {}
        self._delayed: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._takers: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """How many keys are ready to be taken."""
        return len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Nothing waits, nothing is being worked on; delayed keys do not count."""
        return not self._waiting and not self._active

    def add(self, key: K) -> None:
        """Have the key worked on, once, however often it is added before a worker takes it."""
        if self._closed or key in self._waiting:
            return
        self._metrics.adds.inc()
        self._waiting[key] = time.monotonic()
        if key not in self._active:
            self._make_ready(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add the key later. Of several delays of one key the one that ends first counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        pending = self._delayed.get(key)
        if pending is not None:
            if pending.when() <= when:
                return
            pending.cancel()
        self._delayed[key] = loop.call_at(when, self._delay_is_over, key)

    def add_failed(self, key: K, at_least: float = 0.0) -> float:
        """Add the key after its next back-off, or after `at_least` seconds if that is longer; returns the delay."""
        if self._closed:
            return 0.0
        self._failures[key] = self._failures.get(key, 0) + 1
        self._metrics.retries.inc()
        delay = max(at_least, self._backoff.delay(self._failures[key]))
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key's back-off starts anew with its next failure."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often the key failed since it was last forgotten."""
        return self._failures.get(key, 0)

    async def take(self) -> K:
        """The next key; call `done` with it afterwards, whatever happened.

        Raises `QueueClosed` when no more will come.
        """
        while not self._ready:
            if self._closed:
                raise QueueClosed(self.name)
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                # Woken and cancelled at once: the wake-up belongs to somebody else.
                if taker.done() and not taker.cancelled() and self._ready:
                    self._wake()
                raise
            finally:
                if taker in self._takers:
                    self._takers.remove(taker)
        key = self._ready.popleft()
        now = time.monotonic()
        self._metrics.depth.set(len(self._ready))
        self._metrics.wait.observe(now - self._waiting.pop(key))
        self._active[key] = now
        return key

    def done(self, key: K) -> None:
        """The work on a taken key has ended; if it was added meanwhile, it is ready again now."""
        self._metrics.work.observe(time.monotonic() - self._active.pop(key))
        if key in self._waiting:
            self._make_ready(key)

    def close(self) -> None:
        """Take nothing more in. What is ready can still be taken; what is delayed is dropped."""
        self._closed = True
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        for taker in self._takers:
            if not taker.done():
                taker.set_result(None)

    def ages(self) -> list[float]:
        """For how many seconds each key that is being worked on has been."""
        now = time.monotonic()
        return [now - since for since in self._active.values()]

    def _delay_is_over(self, key: K) -> None:
        del self._delayed[key]
        self.add(key)

    def _make_ready(self, key: K) -> None:
        self._ready.append(key)
        self._metrics.depth.set(len(self._ready))
        self._wake()

    def _wake(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return


class _Meter:
    """The metrics of one queue, looked up once."""

    def __init__(self, metrics: KubeMetrics, name: str, ages: Callable[[], list[float]]) -> None:
        self.depth = metrics.queue_depth.labels(name)
        self.adds = metrics.queue_adds.labels(name)
        self.retries = metrics.queue_retries.labels(name)
        self.wait = metrics.queue_wait.labels(name)
        self.work = metrics.queue_work.labels(name)
        metrics.queue_unfinished.labels(name).set_function(lambda: sum(ages()))
        metrics.queue_longest.labels(name).set_function(lambda: max(ages(), default=0.0))
