"""Pages of events that match filters, newest first.

Every filter but that on a detail has an index in the order of the answer. Details have one without an order, which is
right for what is rare and reads everything for what is common. How common a detail is nobody knows beforehand, so the
newest events that match the other filters are looked through first, few and then more; only what is rare among them is
looked up in the index.
"""

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import msgspec

from kubernaut.api.events import EventPage, Pagination, StoredEvent
from kubernaut.datastorage import canonical, rows

MAX_COUNT = 10_000
"""Counting of matching events stops here."""

WINDOWS = (1_000, 10_000)
"""Newest events that are looked through for a detail: at first, and where some of them have it but less than a page."""

MAX_UNKNOWN_ROWS = 1_000
"""Rows that no ledger knows, and which are therefore not shown, that may stand among those of a page; where there are
more, all rows that match are read."""

_NO_INDEX: Mapping[str, object] = {"detail_text": None, "detail_json": None}
_NO_CURSOR: Mapping[str, object] = {"before_time": None, "before_id": None}
_CURSOR = struct.Struct(">q16s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidCursor(ValueError):
    """The cursor was not issued by this service."""


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


class Fetch(Protocol):
    """Returns the rows of a statement."""

    async def __call__(self, name: str, **values: object) -> list[Any]: ...


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The rows of a page, and one more if there is one."""

    rows: list[Any]
    is_windowed: bool
    """Whether a detail was looked for in the newest events, and not in the index."""


class EventPages:
    """Reads pages by the statements that `fetch` sends."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def page(self, filters: Filters, page: PageRequest) -> EventPage:
        """One page. Raises InvalidCursor."""
        found = await self._find(filters, page)
        events = [rows.stored_event(row) for row in found.rows[: page.limit]]
        has_more = len(found.rows) > page.limit
        total, is_exact = page.offset + len(events), True
        if page.cursor or has_more or (page.offset and not events):
            is_windowed = found.is_windowed and has_more
            counted, is_exact = await self._count(filters, is_windowed=is_windowed)
            total = max(total, counted)
        pagination = Pagination(
            limit=page.limit,
            offset=page.offset,
            total=min(total, MAX_COUNT),
            total_is_exact=is_exact and total <= MAX_COUNT,
            has_more=has_more,
            cursor=_cursor(events[-1]) if has_more else None,
        )
        return EventPage(data=events, pagination=pagination)

    async def _find(self, filters: Filters, page: PageRequest) -> _Found:
        before = _parse_cursor(page.cursor) if page.cursor else (None, None)
        wanted = {**_values(filters), **_NO_INDEX, "before_time": before[0], "before_id": before[1]}
        place = {"limit": page.limit + 1, "offset": page.offset}
        if filters.detail_key is not None:
            for window in WINDOWS:
                found = await self._fetch("events_page", **wanted, **place, window=window)
                if len(found) > page.limit or not await self._exceed(wanted, window):
                    return _Found(rows=found, is_windowed=True)
                if not found and not _has_others(filters):
                    break
        wanted |= _details(filters)
        window = page.offset + page.limit + 1 + MAX_UNKNOWN_ROWS
        found = await self._fetch("events_page", **wanted, **place, window=window)
        if len(found) <= page.limit and await self._exceed(wanted, window):
            found = await self._fetch("events_page", **wanted, **place, window=None)
        return _Found(rows=found, is_windowed=False)

    async def _exceed(self, wanted: dict[str, object], window: int) -> bool:
        """Whether more than `window` events match, a detail aside unless it is looked up in the index."""
        return bool((await self._fetch("events_exceed", **wanted, window=window))[0][0])

    async def _count(self, filters: Filters, *, is_windowed: bool) -> tuple[int, bool]:
        """How many events match, and whether that is known to be all; those beyond a window are not counted."""
        wanted = _values(filters)
        if is_windowed:
            window = WINDOWS[-1]
            found = await self._fetch("newest_events_count", **wanted, window=window)
            return found[0][0], not await self._exceed({**wanted, **_NO_INDEX, **_NO_CURSOR}, window)
        found = await self._fetch("events_count", **wanted, **_details(filters), max_count=MAX_COUNT + 1)
        return found[0][0], True


def _values(filters: Filters) -> dict[str, object]:
    return {field: getattr(filters, field) for field in Filters.__dataclass_fields__}


def _has_others(filters: Filters) -> bool:
    """Whether not every event is looked through for the detail."""
    names = Filters.__dataclass_fields__.keys() - {"detail_key", "detail_value"}
    return any(getattr(filters, name) is not None for name in names)


def _details(filters: Filters) -> Mapping[str, object]:
    """What the index has of an event whose detail reads like this: a text, or something else that is written so."""
    if filters.detail_key is None:
        return _NO_INDEX
    key, value = filters.detail_key, filters.detail_value or ""
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
