"""Events as rows of `audit_events`, and back: for the chain in canonical form, for readers as the API words it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from kubernaut.api.events import StoredEvent
from kubernaut.datastorage import addresses, canonical, chain
from kubernaut.datastorage.errors import DatabaseUnavailable, Reason
from kubernaut.datastorage.verification import StoredRow

EVENT_COLUMNS = (
    "event_id",
    "event_version",
    "event_timestamp",
    "event_type",
    "event_category",
    "event_action",
    "event_outcome",
    "actor_type",
    "actor_id",
    "actor_ip",
    "resource_type",
    "resource_id",
    "resource_name",
    "correlation_id",
    "parent_event_id",
    "trace_id",
    "span_id",
    "namespace",
    "cluster_id",
    "event_data",
    "severity",
    "duration_ms",
    "error_code",
    "error_message",
    "retention_days",
    "is_sensitive",
)
"""What `record` fills, in this order."""


def record(event: chain.Event) -> tuple[object, ...]:
    """The row of an event, ready for COPY."""
    return (
        event.event_id,
        event.version,
        event.event_timestamp,
        event.event_type,
        event.event_category,
        event.event_action,
        event.event_outcome,
        event.actor_type,
        event.actor_id,
        event.actor_ip,
        event.resource_type,
        event.resource_id,
        event.resource_name,
        event.correlation_id,
        event.parent_event_id,
        event.trace_id,
        event.span_id,
        event.namespace,
        event.cluster_id,
        str(event.event_data, "utf-8"),
        event.severity,
        event.duration_ms,
        event.error_code,
        event.error_message,
        event.retention_days,
        event.is_sensitive,
    )


def stored_row(record: Mapping[str, Any]) -> StoredRow:
    """A row as the statements `ledger_rows` and `correlation_rows` return it. Raises as `stored_event` does."""
    row = chain.Row(
        record["shard"],
        record["sequence"],
        record["row_event_id"],
        record["row_correlation_id"],
        utc(record["row_event_timestamp"]),
        utc(record["received_at"]),
        record["late"],
        record["content_hash"],
        record["previous_event_hash"],
        record["event_hash"],
        record["link_hash"],
        record["format"],
        record["leaf_hash"],
    )
    try:
        return StoredRow(row=row, payload=event_of(record) if record["event_id"] is not None else None)
    except KeyError as error:
        raise _schema_changed(error) from error


def _schema_changed(missing: KeyError) -> DatabaseUnavailable:
    """`SELECT *` does not fail when somebody has renamed or dropped a column; reading it does."""
    return DatabaseUnavailable(f"PostgreSQL unavailable: audit_events has no column {missing}", Reason.SCHEMA_CHANGED)


def event_of(record: Mapping[str, Any]) -> chain.Event:
    """The event as it stands in `audit_events`, in canonical form."""
    address = record["actor_ip"]
    return chain.Event(
        actor_id=record["actor_id"],
        actor_ip=addresses.canonical_text(address) if address is not None else None,
        actor_type=record["actor_type"],
        cluster_id=record["cluster_id"],
        correlation_id=record["correlation_id"],
        duration_ms=record["duration_ms"],
        error_code=record["error_code"],
        error_message=record["error_message"],
        event_action=record["event_action"],
        event_category=record["event_category"],
        event_data=msgspec.Raw(_data(record["event_data"])),
        event_id=record["event_id"],
        event_outcome=record["event_outcome"],
        event_timestamp=utc(record["event_timestamp"]),
        event_type=record["event_type"],
        is_sensitive=record["is_sensitive"],
        namespace=record["namespace"],
        parent_event_id=record["parent_event_id"],
        resource_id=record["resource_id"],
        resource_name=record["resource_name"],
        resource_type=record["resource_type"],
        retention_days=record["retention_days"],
        severity=record["severity"],
        span_id=record["span_id"],
        trace_id=record["trace_id"],
        version=record["event_version"],
    )


def utc(time: datetime) -> datetime:
    """A time as the driver returns it, which for the first moment of year 1 (`-infinity`) has no zone."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _data(text: str) -> bytes:
    try:
        return canonical.data(text)
    except canonical.NotCanonical:
        # Intake would not have let it in, so somebody put it there; its own bytes then stand for it and do not fit.
        return text.encode()


def stored_event(row: Any) -> StoredEvent:
    """A joined row of event and ledger as the API returns it. Raises DatabaseUnavailable when a column is gone."""
    try:
        return _stored_event(row)
    except KeyError as error:
        raise _schema_changed(error) from error


def _stored_event(row: Any) -> StoredEvent:
    previous = row["previous_event_hash"]
    return StoredEvent(
        event_id=row["event_id"],
        event_timestamp=utc(row["event_timestamp"]),
        event_date=row["event_date"].isoformat(),
        event_type=row["event_type"],
        version=row["event_version"],
        event_category=row["event_category"],
        event_action=row["event_action"],
        event_outcome=row["event_outcome"],
        correlation_id=row["correlation_id"],
        event_data=msgspec.Raw(row["event_data"].encode()),
        sequence=row["sequence"],
        event_hash=row["event_hash"].hex(),
        previous_event_hash="" if previous == chain.ORIGIN else previous.hex(),
        received_at=row["received_at"],
        late=row["late"],
        actor_type=row["actor_type"],
        actor_id=row["actor_id"],
        actor_ip=addresses.canonical_text(row["actor_ip"]) if row["actor_ip"] is not None else None,
        resource_type=row["resource_type"],
        resource_id=row["resource_id"],
        resource_name=row["resource_name"],
        namespace=row["namespace"],
        cluster_id=row["cluster_id"],
        parent_event_id=row["parent_event_id"],
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        severity=row["severity"],
        duration_ms=row["duration_ms"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        retention_days=row["retention_days"],
        is_sensitive=row["is_sensitive"],
    )
