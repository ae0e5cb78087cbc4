"""From the spool to the store: batches in order, one at a time, until every event is stored or quarantined.

An outage only makes events wait. A batch that the store rejects is split until the event that it rejects stands
alone; that one goes to quarantine with the store's reason, and everything before and after it is delivered.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass

import structlog

from kubernaut.audit.client import DataStorageClient
from kubernaut.audit.config import AuditConfig
from kubernaut.audit.errors import RequestTooLarge, SpoolFull, StoreBusy, StoreError, StoreRejected, StoreUnauthorized
from kubernaut.audit.metrics import AuditMetrics
from kubernaut.audit.spool import Spool
from kubernaut.audit.spool_file import SpooledEvent
from kubernaut.ops.backoff import Backoff

log = structlog.get_logger("audit-store")


@dataclass(frozen=True, kw_only=True)
class FlushResult:
    """The result of a flush."""

    delivered: int
    """Events that the store took during the flush."""

    waiting: int
    """Events recorded before the flush that still wait on disk."""

    quarantined: int
    """Events in quarantine, of this run and of earlier ones."""

    @property
    def is_complete(self) -> bool:
        return not self.waiting


class Delivery:
    """Sends what the spool holds. `run()` never ends by itself."""

    def __init__(self, spool: Spool, client: DataStorageClient, config: AuditConfig, metrics: AuditMetrics) -> None:
        self._spool = spool
        self._client = client
        self._config = config
        self._metrics = metrics
        self._backoff = Backoff(initial_delay=config.retry.initial_delay, max_delay=config.retry.max_delay)
        self._max_events = config.batch_size
        self._max_bytes = config.max_batch_bytes
        self._split_sizes: list[int] = []  # sizes of the next batches, while a rejected one is split
        self._attempt = 0
        self._flushes = 0
        self._changed = asyncio.Event()  # something was committed
        self._wake = asyncio.Event()  # ends the wait for a full batch, or for the next attempt
        self._progress = asyncio.Event()
        self.delivered = 0
        """Events that the store took since the start."""
        self.failures = 0
        """Attempts that failed since the start."""
        spool.on_commit = self._committed

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            self._changed.clear()
            if self._spool.waiting:
                await self._wait_for_batch()
                max_events = min(self._split_sizes[0], self._max_events) if self._split_sizes else self._max_events
                batch = await self._spool.head(max_events, self._max_bytes)
                if batch:
                    await self._send(batch)
                    continue
            await self._changed.wait()

    async def flush(self, timeout: float) -> FlushResult:
        """Deliver what was recorded so far without waiting for a full batch, for at most `timeout` seconds."""
        target, before = self._spool.last, self.delivered
        self._flushes += 1
        self._wake.set()
        try:
            with contextlib.suppress(TimeoutError, SpoolFull):
                async with asyncio.timeout(timeout):
                    await self._spool.committed(target)
                    while self._spool.acked_seq < target and self._spool.waiting:
                        self._progress.clear()
                        await self._progress.wait()
        finally:
            self._flushes -= 1
        return FlushResult(
            delivered=self.delivered - before,
            waiting=await self._spool.undelivered(target),
            quarantined=self._spool.quarantined,
        )

    def _committed(self) -> None:
        self._changed.set()
        self._progress.set()
        if self._spool.waiting >= self._config.batch_size and not self._attempt:
            self._wake.set()

    async def _wait_for_batch(self) -> None:
        """Wait a little for further events, so that a trickle of events does not become a request each."""
        if self._attempt or self._split_sizes or self._flushes or self._spool.waiting >= self._max_events:
            return
        await self._sleep(self._config.flush_interval)

    async def _sleep(self, delay: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), delay)

    async def _send(self, batch: list[SpooledEvent]) -> None:
        self._attempt += 1
        started = time.perf_counter()
        try:
            await self._client.send_encoded([event.body for event in batch])
        except StoreError as error:
            self.failures += 1
            self._metrics.failed.inc()
            log.error("Failed to write audit batch", attempt=self._attempt, batch_size=len(batch), error=str(error))
            await self._handle_failure(error, batch)
        else:
            log.debug("Wrote audit batch", batch_size=len(batch), attempt=self._attempt)
            self._attempt = 0
            self._batch_done(len(batch))
            self.delivered += len(batch)
            self._metrics.written.inc(len(batch))
            self._spool.ack(batch[-1].seq, len(batch), sum(event.size for event in batch))
        finally:
            self._metrics.duration.observe(time.perf_counter() - started)
            self._progress.set()

    async def _handle_failure(self, error: StoreError, batch: list[SpooledEvent]) -> None:
        match error:
            case RequestTooLarge() | StoreRejected() if len(batch) == 1:
                self._quarantine(batch[0], str(error))
            case RequestTooLarge(status=413):
                # Kept for good: a limit of the store does not go away, and asking again with each batch costs a trip.
                self._max_bytes = sum(event.size for event in batch) // 2
                self._attempt = 0
            case RequestTooLarge():
                self._max_events = len(batch) // 2
                self._attempt = 0
            case StoreRejected():
                self._split_sizes[:1] = _split(len(batch), error.index)
                self._attempt = 0
            case StoreBusy(retry_after=float(delay)):
                # A flush does not shorten the delay that the store asked for.
                await asyncio.sleep(delay)
            case _:
                if isinstance(error, StoreUnauthorized):
                    log.error("Auth error writing audit batch (token expired or insufficient permissions, will retry)")
                await self._sleep(self._backoff.delay(self._attempt))

    def _quarantine(self, event: SpooledEvent, reason: str) -> None:
        log.error("Audit event rejected by DataStorage, quarantined", error=reason)
        self._metrics.quarantined.inc()
        self._spool.quarantine(event, reason)
        self._batch_done(1)
        self._attempt = 0

    def _batch_done(self, count: int) -> None:
        if self._split_sizes:
            self._split_sizes[0] -= count
            if self._split_sizes[0] <= 0:
                del self._split_sizes[0]


def _split(size: int, index: int | None) -> list[int]:
    """How to send a rejected batch again: around the event that the store names, else in halves."""
    if index is not None and 0 <= index < size:
        return [part for part in (index, 1, size - index - 1) if part]
    return [size // 2, size - size // 2]
