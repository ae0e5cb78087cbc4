"""From the spool to the store: batches in order, one at a time, until every event is stored or quarantined.

An outage only makes events wait, and so does every answer that DataStorage did not give itself. A batch that the store
rejects is split around the event that it names, else in halves, and the parts are sent so that the store may take the
good events of each; an event that it rejects by itself goes to quarantine with the reason.
"""

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from kubernaut.api.events import EventResult
from kubernaut.api.meta import Time
from kubernaut.audit.client import DataStorageClient, is_stored
from kubernaut.audit.config import AuditConfig
from kubernaut.audit.errors import (
    MAX_RETRY_AFTER,
    RequestTooLarge,
    SpoolFull,
    StoreBusy,
    StoreError,
    StoreRejected,
    StoreUnauthorized,
)
from kubernaut.audit.metrics import AuditMetrics
from kubernaut.audit.postponed import PostponedEvents
from kubernaut.audit.spool import Spool
from kubernaut.audit.spool_file import SpooledEvent
from kubernaut.ops.backoff import Backoff, spread
from kubernaut.ops.json_faults import JSON_FAULTS

log = structlog.get_logger("audit-store")

FINAL_REJECTIONS = frozenset({400, 409, 413, 422})
"""Status of an event in a 207 that says that it can never be stored."""

MAX_CLOCK_AHEAD = timedelta(minutes=60)


MAX_HELD_AHEAD = timedelta(days=366)
"""An event that is further ahead of our clock waits alone, and its correlation goes on without it: it is its own time
that is wrong, while less may be a clock that was set back and will be set right."""


class _Stamped(msgspec.Struct):
    event_timestamp: Time
    correlation_id: str = ""


_decode_stamped = msgspec.json.Decoder(_Stamped).decode


@dataclass(frozen=True, kw_only=True)
class FlushResult:
    """The result of a flush."""

    delivered: int
    """Events that the store took during the flush."""

    waiting: int
    """Events recorded before the flush that still wait on disk."""

    quarantined: int
    """Events in quarantine, of this run and of earlier ones."""

    reason: str = ""
    """Why events still wait, as far as it is known."""

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
        self._last_error = ""
        self._is_after_queued = False  # the store has queued events, and has not stored one since
        self._is_postponing = False  # the wait is for events of the future alone, and others end it
        self._postponed_from = 0  # number of the first event that was postponed in this round
        self._held: dict[str, PostponedEvents] = {}  # correlations of which events were postponed
        self._rounds = 0  # how often in a row all that is held was refused
        self._is_lenient = False  # a batch is split around what the store rejects
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
                batch = await self._head()
                if batch:
                    if batch := await self._in_order(batch):
                        await self._send(batch)
                    continue
            else:
                self._held.clear()
            await self._changed.wait()

    async def _head(self) -> list[SpooledEvent]:
        max_events = min(self._split_sizes[0], self._max_events) if self._split_sizes else self._max_events
        while True:
            try:
                return await self._spool.head(max_events, self._max_bytes)
            except OSError as error:
                self._attempt += 1
                self._last_error = f"the spool cannot be read: {error}"
                log.error("Audit spool read failed", error=str(error))
                await self._sleep(self._backoff.delay(self._attempt))

    async def flush(self, timeout: float) -> FlushResult:
        """Deliver what was recorded so far without waiting for a full batch, for at most `timeout` seconds."""
        target, before = self._spool.last, self.delivered
        self._flushes += 1
        self._wake.set()
        try:
            with contextlib.suppress(TimeoutError, SpoolFull):
                async with asyncio.timeout(timeout):
                    await self._spool.committed(target)
                    while self._spool.waiting and (self._spool.acked_seq < target or self._is_moving()):
                        self._progress.clear()
                        await self._progress.wait()
        finally:
            self._flushes -= 1
        waiting = self._spool.undelivered(target)
        return FlushResult(
            delivered=self.delivered - before,
            waiting=waiting,
            quarantined=self._spool.quarantined,
            reason=(self._spool.disk_error or self._last_error) if waiting else "",
        )

    def _is_moving(self) -> bool:
        """Whether events went behind others of their correlation that the store is not known to refuse."""
        acked = self._spool.acked_seq
        return not self._is_postponing and any(held.stands_behind(acked) for held in self._held.values())

    def _committed(self) -> None:
        self._changed.set()
        self._progress.set()
        # What others wait for is not asked for with each event: all that was postponed would be written again.
        if (self._is_postponing and not self._held) or (
            self._spool.waiting >= self._config.batch_size and not self._attempt
        ):
            self._wake.set()

    async def _wait_for_batch(self) -> None:
        """Wait a little for further events, so that a trickle of events does not become a request each."""
        if self._attempt or self._split_sizes or self._flushes or self._spool.waiting >= self._max_events:
            return
        await self._sleep(self._config.flush_interval)

    async def _sleep(self, delay: float) -> None:
        self._wake.clear()
        # Not wait_for: in Python 3.11 it loses a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._wake.wait()

    async def _send(self, batch: list[SpooledEvent]) -> None:
        self._attempt += 1
        started = time.perf_counter()
        try:
            ids = [UUID(bytes=event.event_id) for event in batch]
            bodies = [event.body for event in batch]
            results = await self._client.send_encoded(
                bodies,
                ids,
                is_lenient=self._is_lenient and bool(self._split_sizes),
                is_after_queued=self._is_after_queued,
            )
            statuses = {result.status for result in results}
            self._is_after_queued = 202 in statuses or (self._is_after_queued and 201 not in statuses)
            done = self._apply(batch, results)
            if done < len(batch):
                left, batch = results[done], batch[done:]
                text = f"Data Storage Service returned status {left.status} for one event: {left.detail}"
                raise StoreBusy(text, status=left.status, index=0)
            log.debug("Wrote audit batch", batch_size=len(batch), attempt=self._attempt)
            self._attempt = 0
            self._last_error = ""
            self._is_postponing = False
            if not self._held:
                self._rounds = 0
        except StoreError as error:
            self.failures += 1
            self._last_error = str(error)
            self._metrics.failed.inc()
            log.error("Failed to write audit batch", attempt=self._attempt, batch_size=len(batch), error=str(error))
            await self._handle_failure(error, batch)
        finally:
            self._metrics.duration.observe(time.perf_counter() - started)
            self._progress.set()

    def _apply(self, batch: list[SpooledEvent], results: list[EventResult]) -> int:
        """Ack what is stored and quarantine what is rejected, up to the first event that must be sent again."""
        final = list(itertools.takewhile(lambda pair: is_final(pair[1]), zip(batch, results, strict=True)))
        for stored, pairs in itertools.groupby(final, lambda pair: is_stored(pair[1])):
            events = list(pairs)
            if stored:
                self._delivered([event for event, _ in events])
                continue
            for event, result in events:
                self._quarantine(event, f"Data Storage Service returned status {result.status}: {result.detail}")
        return len(final)

    def _delivered(self, events: list[SpooledEvent]) -> None:
        self._batch_done(len(events))
        self.delivered += len(events)
        self._metrics.written.inc(len(events))
        self._spool.ack(events)

    async def _handle_failure(self, error: StoreError, batch: list[SpooledEvent]) -> None:
        match error:
            case RequestTooLarge(status=413, is_proxy=False) | StoreRejected() if len(batch) == 1:
                self._quarantine(batch[0], str(error))
                self._attempt = 0
            case RequestTooLarge(is_proxy=True) if len(batch) > 1:
                self._split_sizes[:1] = _split(len(batch), None)
                self._attempt = 0
            case RequestTooLarge(status=413, is_proxy=False):
                # Kept for good: a limit of the store does not go away, and asking again with each batch costs a trip.
                self._max_bytes = sum(event.size for event in batch) // 2
                self._attempt = 0
            case RequestTooLarge(is_proxy=False) if len(batch) > 1:
                self._max_events = len(batch) // 2
                self._attempt = 0
            case StoreRejected():
                self._split_sizes[:1] = _split(len(batch), error.index)
                self._is_lenient = True
                self._attempt = 0
            case StoreBusy(index=int(index)) if await self._postpone(batch, index):
                self._attempt = 0
            # What is said of one event is said of its time, by a clock that ours contradicts. That clock may be set
            # right at any moment, and another replica may have a right one.
            case StoreBusy(retry_after=float(delay), index=None) if not self._is_postponing:
                # A flush does not shorten the delay that the store asked for; jitter keeps clients apart.
                await asyncio.sleep(min(delay * spread(1, 1.1), MAX_RETRY_AFTER))
            case StoreBusy(index=int()) if self._is_postponing and self._held:
                self._rounds += 1
                await self._sleep(self._backoff.delay(self._rounds))
            case _:
                if isinstance(error, StoreUnauthorized):
                    log.error("Auth error writing audit batch (token expired or insufficient permissions, will retry)")
                await self._sleep(self._backoff.delay(self._attempt))

    async def _postpone(self, batch: list[SpooledEvent], index: int) -> bool:
        """Deal with an event that the store takes later; False when there is nothing to do but wait.

        What stands before it is sent. An event that our clock, too, calls one of the future would hold up the others
        for as long as its year is away, and goes behind them, with all of its correlation. Otherwise the store's clock
        is wrong, and order counts.
        """
        self._is_postponing = False
        if 0 < index < len(batch):
            self._split_sizes[:1] = _split(len(batch), index)
            self._is_lenient = False  # of one correlation nothing may be stored before what waits
            return True
        now = datetime.now(UTC)
        if not is_from_future(batch[0].body, now):
            return False
        self._is_postponing = True
        if self._spool.waiting == 1 or batch[0].seq >= self._postponed_from > 0:  # no other event is left
            self._postponed_from = 0
            return False
        seq = await self._move_behind(batch[0])
        if seq is None:
            return False
        self._postponed_from = self._postponed_from or seq
        stamped = _stamped(batch[0].body)
        if stamped and stamped.event_timestamp - now <= MAX_HELD_AHEAD:
            self._held.setdefault(stamped.correlation_id, PostponedEvents()).moved(batch[0].seq, seq)
        return True

    async def _in_order(self, batch: list[SpooledEvent]) -> list[SpooledEvent]:
        """The first events of a batch that may be sent; one that an older one of its correlation follows goes back."""
        for correlation, held in list(self._held.items()):
            held.forget(batch[0].seq)
            if not held.stands_behind(0):
                del self._held[correlation]
        if not self._held:
            return batch
        ready: list[SpooledEvent] = []
        for event in batch:
            stamped = _stamped(event.body)
            of_correlation = self._held.get(stamped.correlation_id) if stamped else None
            if of_correlation is None or not of_correlation.must_move(event.seq):
                ready.append(event)
            elif ready:
                break
            elif (seq := await self._move_behind(event)) is not None:
                of_correlation.moved(event.seq, seq)
            else:  # the disk is full, and order waits until there is room
                await self._sleep(self._backoff.delay(1))
                break
        return ready

    async def _move_behind(self, event: SpooledEvent) -> int | None:
        """Move the oldest event behind all others, and return its new number; None while there is no room."""
        try:
            seq = await self._spool.postpone(event)
        except SpoolFull:
            return None
        self._batch_done(1)
        self._progress.set()
        return seq

    def _quarantine(self, event: SpooledEvent, reason: str) -> None:
        log.error("Audit event rejected by DataStorage, quarantined", error=reason)
        self._metrics.quarantined.inc()
        self._spool.quarantine(event, reason)
        self._batch_done(1)

    def _batch_done(self, count: int) -> None:
        if self._split_sizes:
            self._split_sizes[0] -= count
            if self._split_sizes[0] <= 0:
                del self._split_sizes[0]


def is_final(result: EventResult) -> bool:
    """Whether sending the event again would change nothing: it is stored, or can never be."""
    return is_stored(result) or (result.status in FINAL_REJECTIONS and not result.retry)


def is_from_future(body: bytes, now: datetime) -> bool:
    """Whether an event is from so far ahead of that time that DataStorage makes it wait."""
    stamped = _stamped(body)
    return stamped is not None and stamped.event_timestamp > now + MAX_CLOCK_AHEAD


def _stamped(body: bytes) -> _Stamped | None:
    try:
        return _decode_stamped(body)
    except JSON_FAULTS:
        return None


def _split(size: int, index: int | None) -> list[int]:
    """How to send a rejected batch again: around the event that the store names, else in halves."""
    if index is not None and 0 <= index < size:
        return [part for part in (index, 1, size - index - 1) if part]
    return [size // 2, size - size // 2]
