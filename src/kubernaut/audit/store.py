"""The audit store of one process: `record()` returns at once, the delivery does the rest."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from kubernaut.api.events import AuditEvent
from kubernaut.audit.client import DataStorageClient, open_client
from kubernaut.audit.config import AuditConfig
from kubernaut.audit.delivery import Delivery, FlushResult
from kubernaut.audit.errors import SpoolFull, StoreClosed
from kubernaut.audit.metrics import AuditMetrics
from kubernaut.audit.spool import Spool, open_spool
from kubernaut.audit.spool_file import EncodedEvent
from kubernaut.ops.tasks import background

log = structlog.get_logger("audit-store")
_encoder = msgspec.json.Encoder()


class AuditStore:
    """Takes events and sees to it that DataStorage gets each of them, once and in order."""

    def __init__(self, spool: Spool, delivery: Delivery, metrics: AuditMetrics) -> None:
        self._spool = spool
        self._delivery = delivery
        self._metrics = metrics
        self._is_closed = False
        self.dropped = 0
        """Events that were rejected because the spool was full."""

    def record(self, events: Iterable[AuditEvent]) -> None:
        """Take events in order, all or none; returns at once, with neither network nor disk on the way.

        An event without an id gets a random one; one whose id still waits is not taken twice.
        Raises SpoolFull when no more may wait, StoreClosed after the end, ValueError when `event_data` is no JSON.
        """
        if self._is_closed:
            raise StoreClosed("the audit store is closed; record events before its block ends")
        events = list(events)
        if not events:
            return
        try:
            self._spool.append([_entry(event) for event in events])
        except SpoolFull:
            self.dropped += len(events)
            self._metrics.dropped.inc(len(events))
            log.error(
                "Audit buffer full, event dropped",
                event_type=events[0].event_type,
                correlation_id=events[0].correlation_id,
                buffered_count=self._spool.waiting,
                dropped_count=self.dropped,
            )
            raise
        self._metrics.buffered.inc(len(events))

    def check_space(self, size: int) -> None:
        """Raise SpoolFull when events of that many bytes could not be recorded now, and StoreClosed after the end."""
        if self._is_closed:
            raise StoreClosed("the audit store is closed; record events before its block ends")
        self._spool.check_space(size)

    async def committed(self) -> None:
        """Wait until everything recorded so far is on disk; SpoolFull when the disk does not take it."""
        await self._spool.committed()

    async def flush(self, timeout: float) -> FlushResult:
        """Deliver what was recorded so far, for at most `timeout` seconds, and say what came of it.

        Raises StoreClosed after the end, and in a process that was forked from the one that opened the store.
        """
        if self._is_closed:
            raise StoreClosed("the audit store is closed; flush before its block ends")
        return await self._delivery.flush(timeout)

    def is_acknowledged(self, event_ids: Iterable[UUID]) -> bool:
        """Whether DataStorage has every one of these events, as far as they were recorded here before."""
        return not self._spool.holds_any({event_id.bytes for event_id in event_ids})

    @property
    def waiting(self) -> int:
        """Events that DataStorage does not have yet."""
        return self._spool.waiting

    @property
    def quarantined(self) -> int:
        """Events that DataStorage rejected for good."""
        return self._spool.quarantined

    async def _drain(self, timeout: float) -> None:
        log.info("Closing audit store, flushing remaining events", buffered_count=self._spool.waiting)
        self._is_closed = True
        if self._spool.waiting:
            await self._delivery.flush(timeout)
        log.info(
            "Audit store closed",
            buffered_count=self._spool.waiting,
            written_count=self._delivery.delivered,
            dropped_count=self.dropped,
            failed_batch_count=self._delivery.failures,
        )


@asynccontextmanager
async def open_audit(
    config: AuditConfig, service: str, registry: CollectorRegistry | None = None
) -> AsyncIterator[AuditStore]:
    """The audit store of this process; what an earlier one left in the spool is delivered first.

    DataStorage need not be running. At the end the last batches are delivered for at most `drain_timeout` seconds, and
    what is left waits on disk. Raises SpoolLocked when another process uses the directory.
    """
    metrics = AuditMetrics(service, registry)
    async with open_spool(config.spool) as spool, open_client(config.client) as client:
        store, delivery = _assembled(spool, client, config, metrics)
        log.info(
            "Audit store initialized",
            service=service,
            buffer_size=config.spool.max_bytes,
            batch_size=config.batch_size,
            flush_interval=config.flush_interval,
            max_retries="unlimited",
            waiting=spool.waiting,
        )
        async with background(delivery.run(), "audit-delivery") as sending:
            try:
                yield store
            finally:
                if not sending.done() and spool.is_owner:
                    await store._drain(config.drain_timeout)  # noqa: SLF001


def _assembled(
    spool: Spool, client: DataStorageClient, config: AuditConfig, metrics: AuditMetrics
) -> tuple[AuditStore, Delivery]:
    metrics.watch(spool, config.spool.max_bytes)
    delivery = Delivery(spool, client, config, metrics)
    return AuditStore(spool, delivery, metrics), delivery


def _entry(event: AuditEvent) -> EncodedEvent:
    if event.event_id is None:
        event = msgspec.structs.replace(event, event_id=uuid4())
    body = _encoder.encode(event)
    if b"\n" in body:  # only event_data can hold one: it travels as its author wrote it
        body = msgspec.json.format(body, indent=-1)
    assert event.event_id is not None  # noqa: S101
    return EncodedEvent(event.event_id.bytes, body, bool(event.if_absent))
