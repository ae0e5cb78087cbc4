"""What gets in: strict decoding, limits and defaults. Nothing that passes here fails in PostgreSQL later.

This is the one place that decides which values are stored: those that PostgreSQL, JSON and every supported Python carry
unchanged. Whatever is acknowledged therefore verifies for ever; everything else is rejected with the field's name.

Both dialects are understood, key by key: the canonical names, and those of December 2025 (`service`, `operation`,
`outcome`, `resource_namespace`, `cluster_name`, `event_version`). Where an event has both, the canonical one counts.
"""

import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NoReturn, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from kubernaut.api import limits
from kubernaut.api.events import Action, AuditEvent, Category
from kubernaut.api.meta import Time
from kubernaut.api.problems import Slug
from kubernaut.api.vocabulary import EVENT_CATEGORIES, EventCategory, EventOutcome
from kubernaut.datastorage import addresses, canonical, chain
from kubernaut.datastorage.append_plan import CONFLICT_EVENT
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.operations import RESERVED_TYPES
from kubernaut.ops.http.problems import RequestRejected
from kubernaut.ops.json_faults import JSON_FAULTS, json_fault

MAX_CLOCK_AHEAD = timedelta(minutes=60)
"""How far a sender's clock may run ahead of ours."""

MAX_RETRY_AFTER = 300
"""Seconds that an event from a clock ahead of ours is told to wait at most."""

FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
END_TIME = datetime(9999, 12, 31, tzinfo=UTC)
"""Times are from 1970 on and before the last day of 9999. That day stands for "never" in many systems, as year 1 stands
for "not set"; no clock shows either, so that waiting would not help."""

_TIME_RANGE = "an RFC 3339 time with a zone, from 1970-01-01 to 9999-12-30, is expected"

LATE_AFTER = timedelta(days=7)
"""An event that arrives later than this is stored and marked."""

MAX_REASONS = 20
"""Reasons that one rejection lists."""

DEFAULT_RETENTION_DAYS = limits.MAX_RETENTION_DAYS
DEFAULT_SEVERITY = "info"


class EventRejected(RequestRejected):
    """An event that is never stored, or a batch with one, which is the event at `index`."""

    def __init__(self, slug: Slug, detail: str, field_errors: Mapping[str, str], *, index: int | None = None) -> None:
        super().__init__(slug, detail, field_errors)
        self.index = index


class ClockAhead(RequestRejected):
    """An event from the future, or a batch with one: a clock is wrong, so that sending it later may help."""

    def __init__(
        self,
        detail: str,
        field_errors: Mapping[str, str],
        *,
        retry_after: int,
        server_time: datetime,
        index: int | None = None,
        event_id: UUID | None = None,
    ) -> None:
        super().__init__(Slug.UNAVAILABLE, detail, field_errors, retry_after=retry_after)
        self.server_time = server_time
        self.index = index
        self.event_id = event_id


Rejection = EventRejected | ClockAhead


_Outcome = Literal["success", "failure", "pending"]
assert set(get_args(_Outcome)) == set(EventOutcome)  # noqa: S101 - decoding a word costs a third of decoding an enum


_Milliseconds = (
    Annotated[int, Meta(ge=0, le=limits.MAX_DURATION)] | Annotated[float, Meta(ge=0, le=limits.MAX_DURATION)]
)


class _Incoming(AuditEvent, frozen=True, kw_only=True):
    """An event in either dialect."""

    event_category: Category = ""
    event_action: Action = ""
    event_outcome: _Outcome | None = None  # type: ignore[assignment]  # a word, and may come as `outcome` instead
    version: Annotated[str, Meta(min_length=1, max_length=20)] = ""
    service: Category | None = None
    operation: Action | None = None
    outcome: _Outcome | None = None
    resource_namespace: Annotated[str, Meta(max_length=limits.MAX_NAMESPACE)] | None = None
    cluster_name: Annotated[str, Meta(max_length=limits.MAX_CLUSTER_ID)] | None = None
    event_version: Annotated[str, Meta(min_length=1, max_length=20)] | None = None
    event_timestamp: Time
    duration_ms: _Milliseconds | None = None  # type: ignore[assignment]  # a fraction, which is rounded up


_decode_one = msgspec.json.Decoder(_Incoming).decode
_decode_batch = msgspec.json.Decoder(list[_Incoming]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


def admit_one(body: bytes, now: datetime) -> Entry:
    """The event of a single write. Raises EventRejected, ClockAhead, or RequestRejected."""
    _require_opening(body, b"{", "request body must be a JSON object")
    return _accept(_entry_or_rejection(None, body, now))


def admit(body: bytes, now: datetime, max_events: int) -> list[Entry]:
    """The events of a batch, in order, all or none. Raises RequestRejected with a reason for each bad event."""
    _require_opening(body, b"[", "request body must be a JSON array, not a single object")
    nul = b"\\u0000" in body
    try:
        incoming = _decode_batch(body)
        check_size(len(incoming), max_events)
        return [_entry(event, now, nul=nul) for event in incoming]
    except (*JSON_FAULTS, _InvalidField):
        # Rare, so it may cost a second pass: the answer names every bad event, not only the first.
        results = admit_each(body, now, max_events)
        rejections = {index: result for index, result in enumerate(results) if not isinstance(result, Entry)}
        if not rejections:
            raise
        raise _batch_rejection(rejections) from None


def admit_each(body: bytes, now: datetime, max_events: int) -> list[Entry | Rejection]:
    """Each event of a batch or the reason against it, in order. Raises RequestRejected when the body is no batch."""
    _require_opening(body, b"[", "request body must be a JSON array, not a single object")
    try:
        raws = _decode_raws(body)
    except JSON_FAULTS:
        # A text that is no Unicode is the fault of one event, and not of the whole batch.
        try:
            raws = _decode_raws(_decodable(body))
        except JSON_FAULTS as error:
            reason = f"request body must be a JSON array: {json_fault(error)}"
            raise RequestRejected(Slug.INVALID_REQUEST, reason, {"body": reason}) from error
    check_size(len(raws), max_events)
    return [_entry_or_rejection(index, raw, now) for index, raw in enumerate(raws)]


def check_size(count: int, max_events: int) -> None:
    """Raise RequestRejected when a batch has no events or too many."""
    if count == 0:
        raise RequestRejected(Slug.VALIDATION, "batch cannot be empty", {"body": "batch cannot be empty"})
    if count > max_events:
        raise RequestRejected(Slug.BATCH_SIZE, f"batch size {count} exceeds maximum allowed batch size of {max_events}")


def _accept(result: Entry | Rejection) -> Entry:
    if isinstance(result, Entry):
        return result
    raise result


def _batch_rejection(rejections: Mapping[int, Rejection]) -> Rejection:
    """Why a batch is rejected: because of the events that can never be stored, else of those that cannot be yet."""
    final = {index: rejected for index, rejected in rejections.items() if isinstance(rejected, EventRejected)}
    errors = {key: text for rejected in (final or rejections).values() for key, text in rejected.field_errors.items()}
    index = min(final or rejections)
    shown = dict(list(errors.items())[:MAX_REASONS])
    field, reason = next(iter(shown.items()))
    more = f" ({len(errors)} errors)" if len(errors) > 1 else ""
    detail = f"event at index {index}: {field}: {reason}{more}"
    if final:
        return EventRejected(_slug(shown), detail, shown, index=index)
    ahead = [rejected for rejected in rejections.values() if isinstance(rejected, ClockAhead)]
    return ClockAhead(
        detail,
        shown,
        retry_after=max(rejected.retry_after for rejected in ahead),
        server_time=ahead[0].server_time,
        index=index,
    )


def _entry_or_rejection(index: int | None, raw: bytes | msgspec.Raw, now: datetime) -> Entry | Rejection:
    try:
        try:
            incoming = _decode_one(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Decoded once more for the name of the field.
            if isinstance(error, msgspec.ValidationError):
                raise
            incoming = _decode_one(_decodable(bytes(raw)))
        return _entry(incoming, now, nul=True)
    except (*JSON_FAULTS, _InvalidField) as error:
        field, reason = _reason(error)
        key = f"[{index}].{field}".rstrip(".") if index is not None else field or "body"
        detail = f"{field}: {reason}" if field and index is None else reason
        if isinstance(error, _TimeAhead):
            wait = min(max(1, math.ceil(error.excess.total_seconds())), MAX_RETRY_AFTER)
            return ClockAhead(
                detail, {key: reason}, retry_after=wait, server_time=now, index=index, event_id=error.event_id
            )
        return EventRejected(_slug({key: reason}), detail, {key: reason}, index=index)


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def _decodable(body: bytes) -> bytes:
    """The body with NUL, which is rejected by field, in place of what no text can hold."""
    text = body.decode("utf-8", "surrogateescape")
    body = _NOT_UTF8.sub(r"\\u0000", text).encode()
    return _ESCAPE.sub(lambda escape: rb"\u0000" if escape[1] else escape[0], body)


class _InvalidField(Exception):
    """The reason against one field, on its way to a rejection."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class _TimeAhead(_InvalidField):
    """A time that is later by `excess` than it may be."""

    def __init__(self, time: datetime, now: datetime, event_id: UUID | None) -> None:
        super().__init__(
            "event_timestamp",
            f"{time.isoformat()} is more than 60 minutes in the future; the server's time is {now.isoformat()}",
        )
        self.excess = time - now - MAX_CLOCK_AHEAD
        self.event_id = event_id


_JSON_START = re.compile(rb'[\[{"\-0-9tfn]')


def _entry(incoming: _Incoming, now: datetime, *, nul: bool) -> Entry:
    category = incoming.event_category or incoming.service or _missing("event_category", "service")
    if category not in EVENT_CATEGORIES:
        raise _InvalidField("event_category", f"must be one of {', '.join(EventCategory)}")
    action = incoming.event_action or incoming.operation or _missing("event_action", "operation")
    outcome = incoming.event_outcome or incoming.outcome or _missing("event_outcome", "outcome")
    if incoming.event_type in RESERVED_TYPES or incoming.event_type == CONFLICT_EVENT:
        raise _InvalidField("event_type", "only DataStorage itself writes events of this type")
    time = _utc(incoming.event_timestamp)
    if time - now > MAX_CLOCK_AHEAD:
        raise _TimeAhead(time, now, incoming.event_id)
    try:
        data = canonical.admitted(incoming.event_data)
    except canonical.NotCanonical as error:
        raise _InvalidField("event_data", str(error)) from error
    version = incoming.version or incoming.event_version or "1.0"
    if len(version) > limits.MAX_VERSION:
        raise _InvalidField("version", f"Expected `str` of length <= {limits.MAX_VERSION}")
    event = chain.Event(
        actor_id=incoming.actor_id or f"{category}-service",
        actor_ip=_address(incoming.actor_ip),
        actor_type=incoming.actor_type or "service",
        cluster_id=incoming.cluster_id or incoming.cluster_name or None,
        correlation_id=incoming.correlation_id,
        duration_ms=math.ceil(incoming.duration_ms) if incoming.duration_ms is not None else None,
        error_code=incoming.error_code or None,
        error_message=incoming.error_message or None,
        event_action=action,
        event_category=category,
        event_data=msgspec.Raw(data),
        event_id=incoming.event_id or new_event_id(now),
        event_outcome=outcome,
        event_timestamp=time,
        event_type=incoming.event_type,
        is_sensitive=bool(incoming.is_sensitive),
        namespace=incoming.namespace or incoming.resource_namespace or None,
        parent_event_id=incoming.parent_event_id,
        resource_id=incoming.resource_id or incoming.correlation_id,
        resource_name=incoming.resource_name or None,
        resource_type=incoming.resource_type or category,
        retention_days=incoming.retention_days or DEFAULT_RETENTION_DAYS,
        severity=incoming.severity or DEFAULT_SEVERITY,
        span_id=incoming.span_id or None,
        trace_id=incoming.trace_id or None,
        version=version,
    )
    if nul:
        _reject_nul(event)
    return Entry(
        event=event,
        content_hash=chain.content_hash(event),
        received_at=now,
        late=now - time > LATE_AFTER,
        if_absent=bool(incoming.if_absent),
    )


def _missing(field: str, legacy: str) -> NoReturn:
    raise _InvalidField(field, f"required field missing: {field} (accepted: {field}, {legacy})")


def _utc(time: datetime) -> datetime:
    try:
        utc = time.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or not FIRST_TIME <= utc < END_TIME:
        raise _InvalidField("event_timestamp", f"{time.isoformat()} is out of range: {_TIME_RANGE}")
    return utc


def _address(text: str | None) -> str | None:
    if not text:
        return None
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise _InvalidField("actor_ip", "must be an IPv4 or IPv6 address") from error


def _reject_nul(event: chain.Event) -> None:
    for field in event.__struct_fields__:
        value = getattr(event, field)
        if isinstance(value, str) and "\0" in value:
            raise _InvalidField(field, canonical.NOT_TEXT)


def _require_opening(body: bytes, opening: bytes, reason: str) -> None:
    found = body.lstrip(b" \t\r\n")
    if not found.startswith(opening):
        if opening == b"[" and found.strip() == b"null":
            reason = "batch cannot be empty"
        elif found and not _JSON_START.match(found):
            reason = "request body is not JSON"
        raise RequestRejected(Slug.INVALID_REQUEST, reason, {"body": reason})


def _slug(field_errors: Mapping[str, str]) -> Slug:
    data_only = all(key.rpartition(".")[2] == "event_data" for key in field_errors)
    return Slug.INVALID_EVENT_DATA if data_only else Slug.VALIDATION


_UNKNOWN_WORD = "Invalid enum value"
MAX_SHOWN_WORD = 50  # characters


def _reason(error: Exception) -> tuple[str, str]:
    """Field and reason; msgspec says `Expected … - at `$.field``, and `missing required field `x`` without a path."""
    if isinstance(error, _InvalidField):
        return error.field, str(error)
    # The path stands last; a word of the sender's in front of it may look like one.
    text, _, path = json_fault(error).rpartition(" - at `$")
    if not text:
        text, path = path, ""
    if text.startswith("Object missing required field `"):
        field = text.partition("`")[2].partition("`")[0]
        return field, f"required field missing: {field}"
    field = path.rstrip("`").lstrip(".")
    if text.startswith(_UNKNOWN_WORD):
        word = text.removeprefix(_UNKNOWN_WORD).strip()
        return field, f"must be one of {', '.join(EventOutcome)}, in lower case; it is {word[:MAX_SHOWN_WORD]}"
    return field, f"{text}; {_TIME_RANGE}" if field == "event_timestamp" else text


def new_event_id(now: datetime) -> UUID:
    """A random id (UUIDv7) that sorts by time, so that the ledger's index grows at one end."""
    milliseconds = int(now.timestamp() * 1000)
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=number)
