"""The work queue of a controller, as client-go has it.

A key stands for "look at this object again", not for a change, so it is enough to hold it once.
Adding a key that is already queued does nothing. A key that is added while a worker processes it is queued again when
that worker is done; until then no other worker gets it, so one object is never processed twice at a time.

All methods except `get` return at once. Use it within one event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kubernaut.kube.metrics import KubeMetrics
from kubernaut.ops.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class QueueShutDown(Exception):
    """The queue was shut down and is empty."""


class WorkQueue(Generic[K]):
    """A queue that deduplicates keys, gives each key to one worker at a time, and delays keys that failed."""

    def __init__(
        self,
        name: str,
        backoff: Backoff = Backoff(initial_delay=1.0, max_delay=60.0),  # noqa: B008 - it is frozen
        metrics: KubeMetrics | None = None,
    ) -> None:
        self.name = name
        self._backoff = backoff
        self._metrics = _QueueMetrics(metrics or KubeMetrics(), name, self._processing_seconds)
        self._queue: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        """Keys that need processing, and since when; those that are not being processed are in `_queue`."""
        self._processing: dict[K, float] = {}
        self._delayed: dict[K, asyncio.TimerHandle] = {}
        self._requeues: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._is_shut_down = False

    def __len__(self) -> int:
        """How many keys are queued; those in processing or delayed are not counted."""
        return len(self._queue)

    @property
    def is_idle(self) -> bool:
        """Nothing is queued and nothing in processing; delayed keys do not count."""
        return not self._dirty and not self._processing

    def add(self, key: K) -> None:
        """Queue the key, once, however often it is added before a worker gets it."""
        if self._is_shut_down or key in self._dirty:
            return
        self._metrics.adds.inc()
        self._dirty[key] = time.monotonic()
        if key not in self._processing:
            self._enqueue(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add the key later. Of several delays of one key the one that ends first counts."""
        if self._is_shut_down:
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
        self._delayed[key] = loop.call_at(when, self._add_delayed, key)

    def add_rate_limited(self, key: K, min_delay: float = 0.0) -> float:
        """Add the key after its next back-off, or after `min_delay` seconds if that is longer; returns the delay."""
        if self._is_shut_down:
            return 0.0
        self._requeues[key] = self._requeues.get(key, 0) + 1
        self._metrics.retries.inc()
        delay = max(min_delay, self._backoff.delay(self._requeues[key]))
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Reset the key's back-off."""
        self._requeues.pop(key, None)

    def num_requeues(self, key: K) -> int:
        """How often the key was added rate limited since it was last forgotten."""
        return self._requeues.get(key, 0)

    async def get(self) -> K:
        """The next key; call `done` with it afterwards, whatever happened.

        Raises `QueueShutDown` when the queue is shut down and empty.
        """
        while not self._queue:
            if self._is_shut_down:
                raise QueueShutDown(self.name)
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                # Woken and cancelled at once: pass the wake-up on.
                if getter.done() and not getter.cancelled() and self._queue:
                    self._wake()
                raise
            finally:
                if getter in self._getters:
                    self._getters.remove(getter)
        key = self._queue.popleft()
        now = time.monotonic()
        self._metrics.depth.set(len(self._queue))
        self._metrics.wait.observe(now - self._dirty.pop(key))
        self._processing[key] = now
        return key

    def done(self, key: K) -> None:
        """Processing of the key has ended; if it was added meanwhile, it is queued again now."""
        self._metrics.work.observe(time.monotonic() - self._processing.pop(key))
        if key in self._dirty:
            self._enqueue(key)

    def shutdown(self) -> None:
        """Accept no more keys. Queued ones can still be got; delayed ones are dropped."""
        self._is_shut_down = True
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        for getter in self._getters:
            if not getter.done():
                getter.set_result(None)

    def _processing_seconds(self) -> list[float]:
        """How long each key in processing has been."""
        now = time.monotonic()
        return [now - since for since in self._processing.values()]

    def _add_delayed(self, key: K) -> None:
        del self._delayed[key]
        self.add(key)

    def _enqueue(self, key: K) -> None:
        self._queue.append(key)
        self._metrics.depth.set(len(self._queue))
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


class _QueueMetrics:
    """The metrics of one queue, looked up once."""

    def __init__(self, metrics: KubeMetrics, name: str, processing_seconds: Callable[[], list[float]]) -> None:
        self.depth = metrics.queue_depth.labels(name)
        self.adds = metrics.queue_adds.labels(name)
        self.retries = metrics.queue_retries.labels(name)
        self.wait = metrics.queue_wait.labels(name)
        self.work = metrics.queue_work.labels(name)
        metrics.queue_unfinished.labels(name).set_function(lambda: sum(processing_seconds()))
        metrics.queue_longest.labels(name).set_function(lambda: max(processing_seconds(), default=0.0))
