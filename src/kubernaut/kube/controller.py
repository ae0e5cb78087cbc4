"""The loop around a reconcile function.

```python
queue = WorkQueue[Key]("signals")
signals.listen(enqueue(queue))
await Controller("signals", queue, reconcile, workers=4, caches=[signals, pods]).run()
```

`reconcile(key)` makes the world fit the object's present state and says what comes next: nothing (None) or
`RequeueAfter`. An exception means "try again, later each time"; `Terminal` means "trying again does not help".
No worker starts before every cache holds what existed at the start: on an empty cache every target has vanished.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import structlog

from kubernaut.kube.errors import Conflict, KubeError
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, KubeObject, key_of
from kubernaut.kube.queue import QueueClosed, WorkQueue

K = TypeVar("K", bound=Hashable)
log = structlog.get_logger("kube")


@dataclass(frozen=True)
class RequeueAfter:
    """All is well, look again then. For waiting, never for failing: what failed raises."""

    seconds: float


Result: TypeAlias = RequeueAfter | None


class Terminal(Exception):
    """The work on this key failed, and repeating it cannot help: log it, count it, wait for the object to change."""


class TryAgain(Exception):
    """Something that the work needs is not to be had for now; an expected trouble, which needs no traceback."""


class Cache(Protocol):
    """What must be filled before work begins; an `Informer` is one."""

    @property
    def name(self) -> str: ...

    @property
    def synced(self) -> asyncio.Event: ...


def enqueue(queue: WorkQueue[Key]) -> Callable[[KubeObject | None, KubeObject | None], None]:
    """A listener that has each object worked on that was added, changed or deleted."""

    def listener(old: KubeObject | None, new: KubeObject | None) -> None:
        obj = new if new is not None else old
        if obj is not None:
            queue.add(key_of(obj))

    return listener


async def wait_for_caches(caches: Sequence[Cache], remind: float = 5.0) -> None:
    """Return when all are filled; until then log every `remind` seconds which are late."""
    began = time.monotonic()
    while late := [cache for cache in caches if not cache.synced.is_set()]:
        try:
            async with asyncio.timeout(remind):
                for cache in late:
                    await cache.synced.wait()
        except TimeoutError:
            names = [cache.name for cache in caches if not cache.synced.is_set()]
            if names:
                log.warning("waiting for caches", late=names, seconds=round(time.monotonic() - began, 1))


class Controller(Generic[K]):
    """Workers that take keys from a queue and reconcile them."""

    def __init__(
        self,
        name: str,
        queue: WorkQueue[K],
        reconcile: Callable[[K], Awaitable[Result]],
        *,
        workers: int = 2,
        caches: Sequence[Cache] = (),
        metrics: KubeMetrics | None = None,
    ) -> None:
        self.name = name
        self.started = asyncio.Event()
        """Set when the caches are filled and the workers run."""
        self._queue = queue
        self._reconcile = reconcile
        self._workers = workers
        self._caches = caches
        self._metrics = metrics or KubeMetrics()
        self._log = log.bind(controller=name)

    async def run(self) -> None:
        """Work until the queue is closed and empty, or until cancelled; an item's failure never ends it."""
        await wait_for_caches(self._caches)
        self._log.info("starting workers", workers=self._workers)
        self._metrics.workers_most.labels(self.name).set(self._workers)
        self.started.set()
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._workers):
                tasks.create_task(self._work(), name=f"{self.name} worker {number}")

    async def _work(self) -> None:
        active = self._metrics.workers_active.labels(self.name)
        while True:
            try:
                key = await self._queue.take()
            except QueueClosed:
                return
            active.inc()
            began = time.perf_counter()
            try:
                result = await self._once(key)
            finally:
                active.dec()
                self._metrics.reconcile_time.labels(self.name).observe(time.perf_counter() - began)
                self._queue.done(key)
            self._metrics.reconciles.labels(self.name, result).inc()

    async def _once(self, key: K) -> str:
        try:
            result = await self._reconcile(key)
        except Terminal as error:
            self._queue.forget(key)
            self._metrics.reconcile_errors.labels(self.name).inc()
            self._metrics.reconcile_terminal.labels(self.name).inc()
            self._log.error("reconcile failed for good", key=str(key), error=str(error))
            return "terminal_error"
        except Exception as error:  # noqa: BLE001 - one object's trouble must not stop the others
            delay = self._queue.add_failed(key, at_least=getattr(error, "retry_after", None) or 0.0)
            self._metrics.reconcile_errors.labels(self.name).inc()
            self._report(key, error, delay)
            return "error"
        self._queue.forget(key)
        if result is None:
            return "success"
        self._queue.add_after(key, result.seconds)
        return "requeue_after"

    def _report(self, key: K, error: Exception, delay: float) -> None:
        facts: dict[str, Any] = {"key": str(key), "again_in": round(delay, 3), "failures": self._queue.failures(key)}
        if isinstance(error, Conflict):
            self._log.info("somebody else wrote first, trying again", **facts)
        elif isinstance(error, KubeError | TryAgain):
            self._log.warning("reconcile failed", error=str(error), **facts)
        else:
            self._log.exception("reconcile failed", **facts)
