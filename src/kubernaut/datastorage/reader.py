"""Reading the audit log: pages, timelines, verification. Opens no transaction; a row once written never changes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from kubernaut.api.events import (
    EventPage,
    LedgerRange,
    Timeline,
    TimelineOrder,
    Verification,
    VerifyRequest,
)
from kubernaut.datastorage import causality, database, queries, rows
from kubernaut.datastorage.causality import EventKey
from kubernaut.datastorage.correlation_verification import CorrelationVerification
from kubernaut.datastorage.errors import DataStorageError
from kubernaut.datastorage.event_pages import EventPages, Filters, PageRequest
from kubernaut.datastorage.export import Exporter
from kubernaut.datastorage.ledger_reader import LedgerReader
from kubernaut.datastorage.ledger_verification import LedgerVerification
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.removals import Removals
from kubernaut.datastorage.verification import StoredRow

MAX_CAUSAL_EVENTS = 50_000
"""Events of a correlation that are put into causal order."""


class InvalidPosition(ValueError):
    """No event of the correlation has the sequence after which the timeline should continue."""


class TimelineTooLong(ValueError):
    """The correlation has too many events to put them into causal order."""


@dataclass(frozen=True, kw_only=True)
class TimelineRequest:
    """Which piece of a timeline, and its order."""

    order: TimelineOrder = TimelineOrder.CAUSAL
    after: int = 0
    """Sequence of the last event of the piece before."""

    limit: int = 1000


class Reader:
    """Reads through a pool that reconnects by itself."""

    def __init__(self, pool: asyncpg.Pool, metrics: Metrics, verification: LedgerVerification) -> None:
        self._pool = pool
        self._metrics = metrics
        self.verification = verification
        self.ledger = LedgerReader(pool)
        self.export = Exporter(pool, self.ledger)
        self.last_verification: Verification | None = None
        """What the last verification of whole ledgers found, as far as this process made one."""

    async def page(self, filters: Filters, page: PageRequest) -> EventPage:
        """Events newest first. Raises InvalidCursor."""
        async with self._measured("query"):
            return await EventPages(self._rows).page(filters, page)

    async def has_event_type(self, event_type: str) -> bool:
        """Whether any event has this type."""
        return bool((await self._rows("event_type_exists", event_type=event_type))[0][0])

    async def event(self, event_id: UUID) -> StoredRow | None:
        """One event with its row, and why its content is gone where it is; None when there is none.

        Raises ValueError or OverflowError where somebody put a value into the row that Python cannot hold.
        """
        async with self._measured("event"):
            stored = await self.ledger.event(event_id)
            return (await Removals(self._pool, self.ledger).explain([stored]))[0] if stored else None

    async def timeline(self, correlation_id: str, request: TimelineRequest | None = None) -> Timeline:
        """Events of one correlation; none when there are none. Raises InvalidPosition, TimelineTooLong."""
        request = request or TimelineRequest()
        async with self._measured("timeline"):
            if request.order is TimelineOrder.LEDGER:
                found = await self._rows(
                    "timeline", correlation_id=correlation_id, after=request.after, limit=request.limit + 1
                )
                more = len(found) > request.limit
            else:
                sequences, more = await self._causal(correlation_id, request)
                rows_of = await self._rows("timeline_events", correlation_id=correlation_id, sequences=sequences)
                by_sequence = {row["sequence"]: row for row in rows_of}
                found = [by_sequence[sequence] for sequence in sequences if sequence in by_sequence]
            events = [rows.stored_event(row) for row in found[: request.limit]]
            return Timeline(correlation_id=correlation_id, events=events, has_more=more)

    async def _causal(self, correlation_id: str, request: TimelineRequest) -> tuple[list[int], bool]:
        """The sequences of one piece of a timeline in causal order, and whether more follow."""
        keys = await self._rows("timeline_keys", correlation_id=correlation_id, limit=MAX_CAUSAL_EVENTS + 1)
        if len(keys) > MAX_CAUSAL_EVENTS:
            raise TimelineTooLong(
                f"the correlation has more than {MAX_CAUSAL_EVENTS} events, too many to put them into causal order; "
                "use order=ledger"
            )
        sequences = causality.ordered(EventKey(row[0], row[1], rows.utc(row[2]), row[3], row[4]) for row in keys)
        if request.after and request.after not in sequences:
            raise InvalidPosition(f"no event of this correlation has the sequence {request.after}")
        start = sequences.index(request.after) + 1 if request.after else 0
        return sequences[start : start + request.limit], len(sequences) > start + request.limit

    async def ledger_ranges(self, event_ids: Sequence[UUID]) -> list[LedgerRange]:
        """Where stored events stand, by ledger; none when PostgreSQL does not say it now."""
        try:
            found = await self._rows("ledger_ranges", event_ids=list(event_ids))
        except DataStorageError:
            return []  # they are stored all the same
        return [LedgerRange(**dict(row)) for row in found]

    async def verify(self, request: VerifyRequest) -> Verification:
        """Verify one correlation, or every ledger, and name each bad row in order."""
        found = await self._verify(request)
        if request.correlation_id is None and request.shard is None:
            self.last_verification = found
        return found

    async def _verify(self, request: VerifyRequest) -> Verification:
        async with self._measured("verify"):
            if request.correlation_id is not None:
                return await CorrelationVerification(self._pool, self.ledger).verify(request.correlation_id, request)
            return await self.verification.verify(request)

    async def _rows(self, name: str, **values: object) -> list[Any]:
        with database.translated():
            return await queries.fetch(self._pool, name, **values)

    @asynccontextmanager
    async def _measured(self, operation: str) -> AsyncIterator[None]:
        status = "failure"
        try:
            with self._metrics.query_seconds.labels(operation).time():
                yield
            status = "success"
        finally:
            self._metrics.queries.labels(operation, status).inc()
