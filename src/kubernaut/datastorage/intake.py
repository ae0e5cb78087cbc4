"""What gets in: strict decoding, limits and defaults. Nothing that passes here fails in PostgreSQL later.

Both dialects are understood, key by key: the canonical names, and those of December 2025 (`service`, `operation`,
`outcome`, `resource_namespace`, `cluster_name`, `event_version`). Where an event has both, the canonical one counts.
"""

import ipaddress
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NoReturn, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from kubernaut.api.events import AuditEvent, Name
from kubernaut.api.meta import Time
from kubernaut.api.problems import Slug
from kubernaut.api.vocabulary import EventOutcome
from kubernaut.datastorage import canonical, chain
from kubernaut.datastorage.chain import Entry
from kubernaut.ops.http.problems import RequestRejected

MAX_CLOCK_AHEAD = timedelta(minutes=60)
"""How far a sender's clock may run ahead of ours."""

LATE_AFTER = timedelta(days=7)
"""An event that arrives later than this is stored and marked."""

MAX_REASONS = 20
"""Reasons that one rejection lists."""

DEFAULT_RETENTION_DAYS = 2555
DEFAULT_SEVERITY = "info"


class EventRejected(RequestRejected):
    """A batch that is rejected because of the event at `index`."""

    def __init__(self, slug: Slug, detail: str, field_errors: Mapping[str, str], *, index: int) -> None:
        super().__init__(slug, detail, field_errors)
        self.index = index


_Outcome = Literal["success", "failure", "pending"]
assert set(get_args(_Outcome)) == set(EventOutcome)  # noqa: S101 - decoding a word costs a third of decoding an enum


class _Incoming(AuditEvent, frozen=True, kw_only=True):
    """An event in either dialect."""

    event_category: Name = ""
    event_action: Name = ""
    event_outcome: _Outcome | None = None  # type: ignore[assignment]  # a word, and may come as `outcome` instead
    version: Annotated[str, Meta(min_length=1, max_length=20)] = ""
    service: Name | None = None
    operation: Name | None = None
    outcome: _Outcome | None = None
    resource_namespace: Annotated[str, Meta(max_length=253)] | None = None
    cluster_name: Annotated[str, Meta(max_length=255)] | None = None
    event_version: Annotated[str, Meta(min_length=1, max_length=20)] | None = None
    event_timestamp: Time


_decode_one = msgspec.json.Decoder(_Incoming).decode
_decode_batch = msgspec.json.Decoder(list[_Incoming]).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


def admit_one(body: bytes, now: datetime) -> Entry:
    """The event of a single write. Raises RequestRejected."""
    _require_opening(body, b"{", "request body must be a JSON object")
    try:
        return _entry(_decode_one(body), now, nul=b"\\u0000" in body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _InvalidField) as error:
        field, reason = _reason(error)
        raise _rejection(f"{field}: {reason}" if field else reason, {field or "body": reason}) from error


def admit(body: bytes, now: datetime, max_events: int) -> list[Entry]:
    """The events of a batch, in order, all or none. Raises RequestRejected with a reason for each bad event."""
    _require_opening(body, b"[", "request body must be a JSON array, not a single object")
    nul = b"\\u0000" in body
    try:
        incoming = _decode_batch(body)
        check_size(len(incoming), max_events)
        return [_entry(event, now, nul=nul) for event in incoming]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _InvalidField):
        # Rare, so it may cost a second pass: the answer names every bad event, not only the first.
        results = enumerate(admit_each(body, now, max_events))
        rejections = {index: result for index, result in results if isinstance(result, RequestRejected)}
        errors = {key: reason for rejected in rejections.values() for key, reason in rejected.field_errors.items()}
        if not errors:
            raise
        index = min(rejections)
        shown = dict(list(errors.items())[:MAX_REASONS])
        first, reason = next(iter(shown.items()))
        more = f" ({len(errors)} errors)" if len(errors) > 1 else ""
        rejected = _rejection(f"event at index {index}: {first}: {reason}{more}", shown)
        raise EventRejected(rejected.slug, str(rejected), shown, index=index) from None


def admit_each(body: bytes, now: datetime, max_events: int) -> list[Entry | RequestRejected]:
    """Each event of a batch or the reason against it, in order. Raises RequestRejected when the body is no batch."""
    _require_opening(body, b"[", "request body must be a JSON array, not a single object")
    try:
        raws = _decode_raws(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = f"request body must be a JSON array: {error}"
        raise RequestRejected(Slug.INVALID_REQUEST, reason, {"body": reason}) from error
    check_size(len(raws), max_events)
    return [_entry_or_rejection(index, raw, now) for index, raw in enumerate(raws)]


def check_size(count: int, max_events: int) -> None:
    """Raise RequestRejected when a batch has no events or too many."""
    if count == 0:
        raise _rejection("batch cannot be empty", {"body": "batch cannot be empty"})
    if count > max_events:
        raise RequestRejected(Slug.BATCH_SIZE, f"batch size {count} exceeds maximum allowed batch size of {max_events}")


def _entry_or_rejection(index: int, raw: msgspec.Raw, now: datetime) -> Entry | RequestRejected:
    try:
        return _entry(_decode_one(raw), now, nul=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _InvalidField) as error:
        field, reason = _reason(error)
        key = f"[{index}].{field}" if field else f"[{index}]"
        return _rejection(reason, {key: reason})


class _InvalidField(Exception):
    """The reason against one field, on its way to a RequestRejected."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def _entry(incoming: _Incoming, now: datetime, *, nul: bool) -> Entry:
    category = incoming.event_category or incoming.service or _missing("event_category", "service")
    action = incoming.event_action or incoming.operation or _missing("event_action", "operation")
    outcome = incoming.event_outcome or incoming.outcome or _missing("event_outcome", "outcome")
    time = _utc(incoming.event_timestamp, now)
    try:
        data = canonical.admitted(incoming.event_data)
    except canonical.NotCanonical as error:
        raise _InvalidField("event_data", str(error)) from error
    version = incoming.version or incoming.event_version or "1.0"
    if len(version) > 10:
        raise _InvalidField("version", "Expected `str` of length <= 10")
    event = chain.Event(
        actor_id=incoming.actor_id or f"{category}-service",
        actor_ip=_address(incoming.actor_ip),
        actor_type=incoming.actor_type or "service",
        cluster_id=incoming.cluster_id or incoming.cluster_name or None,
        correlation_id=incoming.correlation_id,
        duration_ms=incoming.duration_ms,
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
    return Entry(event=event, content_hash=chain.content_hash(event), received_at=now, late=now - time > LATE_AFTER)


def _missing(field: str, legacy: str) -> NoReturn:
    raise _InvalidField(field, f"required field missing: {field} (accepted: {field}, {legacy})")


def _utc(time: datetime, now: datetime) -> datetime:
    try:
        utc = time.astimezone(UTC)
    except OverflowError as error:
        raise _InvalidField("event_timestamp", "timestamp out of range") from error
    if utc - now > MAX_CLOCK_AHEAD:
        raise _InvalidField(
            "event_timestamp",
            f"{utc.isoformat()} is more than 60 minutes in the future; the server's time is {now.isoformat()}",
        )
    return utc


def _address(text: str | None) -> str | None:
    if not text:
        return None
    try:
        if "%" in text:
            raise ValueError("zones are local to a machine")
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise _InvalidField("actor_ip", "must be an IPv4 or IPv6 address") from error


def _reject_nul(event: chain.Event) -> None:
    for field in event.__struct_fields__:
        value = getattr(event, field)
        if isinstance(value, str) and "\0" in value:
            raise _InvalidField(field, "a text contains the character NUL")


def _require_opening(body: bytes, opening: bytes, reason: str) -> None:
    if not body.lstrip(b" \t\r\n").startswith(opening):
        if opening == b"[" and body.strip() == b"null":
            reason = "batch cannot be empty"
        raise RequestRejected(Slug.INVALID_REQUEST, reason, {"body": reason})


def _rejection(detail: str, field_errors: dict[str, str]) -> RequestRejected:
    data_only = field_errors and all(key.rpartition(".")[2] == "event_data" for key in field_errors)
    return RequestRejected(Slug.INVALID_EVENT_DATA if data_only else Slug.VALIDATION, detail, field_errors)


def _reason(error: Exception) -> tuple[str, str]:
    """Field and reason; msgspec says `Expected … - at `$.field``, and `missing required field `x`` without a path."""
    if isinstance(error, _InvalidField):
        return error.field, str(error)
    text, _, path = str(error).partition(" - at `$")
    if "missing required field `" in text:
        field = text.partition("`")[2].partition("`")[0]
        return field, f"required field missing: {field}"
    return path.rstrip("`").lstrip("."), text


def new_event_id(now: datetime) -> UUID:
    """A random id (UUIDv7) that sorts by time, so that the ledger's index grows at one end."""
    milliseconds = int(now.timestamp() * 1000)
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=number)
