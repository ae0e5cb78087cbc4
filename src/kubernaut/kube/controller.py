"""The loop around a reconcile function.

```python
queue = WorkQueue[Key]("signals")
signals.add_event_handler(enqueue(queue))
await Controller(queue, reconcile, workers=4, caches=[signals, pods]).run()
```

`reconcile(key)` makes the world fit the object's present state and returns None or `RequeueAfter`. A key whose
reconcile raises is requeued with back-off; `TerminalError` means that a retry does not help.
No worker starts before every cache has synced: on an empty cache every target has vanished.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import structlog

from kubernaut.kube.errors import ApiServerUnreachable, Conflict, KubeError, TimedOut
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, KubeObject, key_of
from kubernaut.kube.queue import QueueShutDown, WorkQueue
from kubernaut.ops.tasks import background

K = TypeVar("K", bound=Hashable)
WATCHDOG_INTERVAL = 1.0  # seconds
MAX_LOG_INTERVAL = 300.0  # seconds
log = structlog.get_logger("kube")


@dataclass(frozen=True)
class RequeueAfter:
    """Reconcile the key again after so many seconds. For waiting, never for failing: a failure raises."""

    seconds: float


Result: TypeAlias = RequeueAfter | None


class TerminalError(Exception):
    """The reconcile failed and a retry cannot help: it is logged, counted, and not requeued."""


class TransientError(Exception):
    """Something that the reconcile needs is unavailable for now; it is requeued, and logged without a traceback."""


class Cache(Protocol):
    """What must have synced before workers start; an `Informer` is one."""

    @property
    def name(self) -> str: ...

    @property
    def synced(self) -> asyncio.Event: ...


def enqueue(queue: WorkQueue[Key]) -> Callable[[KubeObject | None, KubeObject | None], None]:
    """An event handler that adds the key of each added, changed or deleted object to the queue."""

    def handler(old: KubeObject | None, new: KubeObject | None) -> None:
        obj = new if new is not None else old
        if obj is not None:
            queue.add(key_of(obj))

    return handler


async def wait_for_cache_sync(caches: Sequence[Cache], log_interval: float = 5.0) -> None:
    """Return when all have synced; until then log which have not, after `log_interval` seconds and then less often."""
    began = time.monotonic()
    while pending := [cache for cache in caches if not cache.synced.is_set()]:
        # One line soon, then fewer and fewer: an outage may last.
        try:
            async with asyncio.timeout(log_interval):
                for cache in pending:
                    await cache.synced.wait()
        except TimeoutError:
            names = [cache.name for cache in caches if not cache.synced.is_set()]
            if names:
                log.warning("waiting for caches to sync", pending=names, seconds=round(time.monotonic() - began, 1))
            log_interval = min(log_interval * 4, MAX_LOG_INTERVAL)


class Controller(Generic[K]):
    """Workers that get keys from a queue and reconcile them; logs and metrics bear the queue's name."""

    def __init__(
        self,
        queue: WorkQueue[K],
        reconcile: Callable[[K], Awaitable[Result]],
        *,
        workers: int = 2,
        caches: Sequence[Cache] = (),
        metrics: KubeMetrics | None = None,
        reconcile_timeout: float = 60.0,
    ) -> None:
        self.name = queue.name
        self.is_running = False
        """Whether workers run now."""
        self.started = asyncio.Event()
        """Set when the caches have synced and the workers run."""
        self._queue = queue
        self._reconcile = reconcile
        self._workers = workers
        self._caches = caches
        self._reconcile_timeout = reconcile_timeout
        self._began: dict[K, float] = {}
        """When each running reconcile began."""
        self._metrics = metrics or KubeMetrics()
        self._log = log.bind(controller=queue.name)

    async def run(self) -> None:
        """Reconcile until the queue is shut down and empty, or until cancelled; one key's failure never ends it."""
        await wait_for_cache_sync(self._caches)
        self._log.info("starting workers", workers=self._workers)
        self._metrics.max_concurrent_reconciles.labels(self.name).set(self._workers)
        self.started.set()
        self.is_running = True
        try:
            async with background(self._watch_reconciles(), name=f"{self.name} watchdog"), asyncio.TaskGroup() as tasks:
                for number in range(self._workers):
                    tasks.create_task(self._run_worker(), name=f"{self.name} worker {number}")
        finally:
            self.is_running = False

    def overdue(self) -> list[K]:
        """The keys whose reconcile runs longer than its time limit, the oldest first; it is never interrupted."""
        limit = time.monotonic() - self._reconcile_timeout
        return [key for key, began in self._began.items() if began <= limit]

    async def _watch_reconciles(self) -> None:
        """Log each overdue reconcile once, and keep their number in a metric, until cancelled."""
        gauge = self._metrics.reconciles_overdue.labels(self.name)
        reported: set[K] = set()
        while True:
            overdue = self.overdue()
            gauge.set(len(overdue))
            for key in overdue:
                if key not in reported:
                    self._log.error("reconcile exceeds its time limit", key=str(key), timeout=self._reconcile_timeout)
            reported = set(overdue)
            await asyncio.sleep(min(WATCHDOG_INTERVAL, self._reconcile_timeout))

    async def _run_worker(self) -> None:
        active = self._metrics.workers_active.labels(self.name)
        while True:
            try:
                key = await self._queue.get()
            except QueueShutDown:
                return
            active.inc()
            self._began[key] = time.monotonic()
            began = time.perf_counter()
            try:
                result = await self._process(key)
            finally:
                active.dec()
                del self._began[key]
                self._metrics.reconcile_time.labels(self.name).observe(time.perf_counter() - began)
                self._queue.done(key)
            self._metrics.reconciles.labels(self.name, result).inc()

    async def _process(self, key: K) -> str:
        try:
            result = await self._reconcile(key)
        except TerminalError as error:
            self._queue.forget(key)
            self._metrics.reconcile_errors.labels(self.name).inc()
            self._metrics.reconcile_terminal.labels(self.name).inc()
            self._log.error("reconcile failed, not retrying", key=str(key), error=str(error))
            return "terminal_error"
        except Exception as error:  # noqa: BLE001 - one object's failure must not stop the others
            delay = self._queue.add_rate_limited(key, min_delay=getattr(error, "retry_after", None) or 0.0)
            self._metrics.reconcile_errors.labels(self.name).inc()
            self._log_failure(key, error, delay)
            return "error"
        self._queue.forget(key)
        if result is None:
            return "success"
        self._queue.add_after(key, result.seconds)
        return "requeue_after"

    def _log_failure(self, key: K, error: Exception, delay: float) -> None:
        fields: dict[str, Any] = {
            "key": str(key),
            "requeue_after": round(delay, 3),
            "failures": self._queue.num_requeues(key),
        }
        if isinstance(error, Conflict):
            self._log.info("reconcile conflicted, requeueing", **fields)
        elif isinstance(error, ApiServerUnreachable) and not isinstance(error, TimedOut):
            # The outage itself has its line; one more for each key would hide everything else.
            self._log.debug("reconcile failed, API server unreachable", error=str(error), **fields)
        elif isinstance(error, KubeError | TransientError):
            self._log.warning("reconcile failed", error=str(error), **fields)
        else:
            self._log.exception("reconcile failed", **fields)
