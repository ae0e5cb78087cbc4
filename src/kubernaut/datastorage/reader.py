"""Reading the audit log: pages, timelines, verification. Opens no transaction; a row once written never changes."""

import base64
import binascii
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from kubernaut.api.events import (
    EventPage,
    LedgerRange,
    Pagination,
    StoredEvent,
    Timeline,
    TimelineOrder,
    Verification,
    VerifyRequest,
)
from kubernaut.datastorage import canonical, causality, database, queries, rows
from kubernaut.datastorage.causality import EventKey
from kubernaut.datastorage.correlation_verification import CorrelationVerification
from kubernaut.datastorage.errors import DataStorageError
from kubernaut.datastorage.export import Exporter
from kubernaut.datastorage.ledger_reader import LedgerReader
from kubernaut.datastorage.ledger_verification import LedgerVerification
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.removals import Removals
from kubernaut.datastorage.verification import StoredRow

MAX_COUNT = 10_000
"""Counting of matching events stops here."""

RECENT_EVENTS = 20_000
"""Newest events in which details are looked for one by one; only what is rare among them is looked up in the index."""

MAX_CAUSAL_EVENTS = 50_000
"""Events of a correlation that are put into causal order."""

_CURSOR = struct.Struct(">q16s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidCursor(ValueError):
    """The cursor was not issued by this service."""


class InvalidPosition(ValueError):
    """No event of the correlation has the sequence after which the timeline should continue."""


class TimelineTooLong(ValueError):
    """The correlation has too many events to put them into causal order."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which events; None does not filter. Field names are the parameters of the statements."""

    correlation_id: str | None = None
    event_type: str | None = None
    event_category: str | None = None
    event_outcome: str | None = None
    severity: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    actor_type: str | None = None
    actor_id: str | None = None
    namespace: str | None = None
    parent_event_id: UUID | None = None
    detail_key: str | None = None
    detail_value: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """Which page of the result."""

    limit: int = 50
    offset: int = 0
    cursor: str | None = None


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
            return await self._page(filters, page)

    async def _page(self, filters: Filters, page: PageRequest) -> EventPage:
        before = _parse_cursor(page.cursor) if page.cursor else (None, None)
        wanted = {field: getattr(filters, field) for field in Filters.__dataclass_fields__}
        wanted |= {"detail_text": None, "detail_json": None}
        place = {"before_time": before[0], "before_id": before[1], "limit": page.limit + 1, "offset": page.offset}
        recent = await self._recent_since(filters, before[0]) if filters.detail_key else None
        found = await self._rows("events_page", **wanted | recent, **place) if recent else []
        if len(found) <= page.limit:
            if recent:
                wanted |= _details(filters.detail_key or "", filters.detail_value or "")
                recent = None
            found = await self._rows("events_page", **wanted, **place)
        events = [rows.stored_event(row) for row in found[: page.limit]]
        has_more = len(found) > page.limit
        if page.cursor or has_more or (page.offset and not events):
            counted = wanted | (recent or {})
            count = (await self._rows("events_count", **counted, max_count=MAX_COUNT + 1))[0][0]
        else:
            count = page.offset + len(events)
        pagination = Pagination(
            limit=page.limit,
            offset=page.offset,
            total=min(count, MAX_COUNT),
            total_is_exact=count <= MAX_COUNT and recent is None,
            has_more=has_more,
            cursor=_cursor(events[-1]) if has_more else None,
        )
        return EventPage(data=events, pagination=pagination)

    async def _recent_since(self, filters: Filters, before: datetime | None) -> dict[str, datetime] | None:
        """A filter for the newest events that may match; None when all of them are few, or the filters say so."""
        until = min((time for time in (filters.until, before) if time), default=None)
        found = await self._rows("recent_since", until=until, count=RECENT_EVENTS)
        if not found or (filters.since and filters.since >= rows.utc(found[0][0])):
            return None
        return {"since": rows.utc(found[0][0])}

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
        if request.correlation_id is None:
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


def _details(key: str, value: str) -> dict[str, str]:
    """What the index has of an event whose detail reads like this: a text, or something else that is written so."""
    text = msgspec.json.encode({key: value})
    try:
        other = canonical.admitted(msgspec.json.encode({key: msgspec.Raw(value.encode())}))
    except canonical.NotCanonical:
        other = text
    return {"detail_text": text.decode(), "detail_json": other.decode()}


def _cursor(event: StoredEvent) -> str:
    microseconds = (event.event_timestamp - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_CURSOR.pack(microseconds, event.event_id.bytes)).decode()


def _parse_cursor(text: str) -> tuple[datetime, UUID]:
    try:
        microseconds, id_bytes = _CURSOR.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
        return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=id_bytes)
    except (binascii.Error, struct.error, OverflowError, ValueError) as error:
        raise InvalidCursor("the cursor is invalid; use the value of `pagination.cursor` unchanged") from error
