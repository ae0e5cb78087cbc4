"""What the page of one event shows; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from kubernaut.api.ledger.notes import Verifier
from kubernaut.datastorage import chain
from kubernaut.datastorage.chain import Event, Row
from kubernaut.datastorage.verification import StoredRow
from kubernaut.datastorage.web.search_view import event_url, timeline_url
from kubernaut.ops.visible_text import visible_json


@dataclass(frozen=True, kw_only=True)
class Value:
    """One field by the name that the API has for it."""

    name: str
    text: str = ""
    time: datetime | None = None
    url: str = ""
    is_mono: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """Fields that belong together."""

    title: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class ProofInput:
    """What the script that verifies the receipt gets from the page; everything else it fetches."""

    receipt_url: str
    event_id: str
    digest: str
    """SHA-256 of the canonical event that the page shows."""

    keys: str
    """Public keys of the log, as this server names them."""

    witnesses: str


@dataclass(frozen=True, kw_only=True)
class EventView:
    """The whole page."""

    event_id: str
    title: str
    timeline_url: str
    sections: tuple[Section, ...]
    ledger: Section
    data: str = ""
    proof: ProofInput | None = None
    """None where the content is gone, so that there is nothing to prove."""

    absence: str = ""
    """Why there is no content."""

    is_absence_explained: bool = False
    """A ledger event says that the content was removed."""


def event_view(stored: StoredRow, keys: Sequence[Verifier], witnesses: Sequence[Verifier]) -> EventView:
    """The page of an event and its ledger row."""
    row, event = stored.row, stored.payload
    event_id = str(row.event_id)
    if event is None:
        return EventView(
            event_id=event_id,
            title="Event without content",
            timeline_url=timeline_url(row.correlation_id),
            sections=(),
            ledger=_ledger(row),
            absence=_absence(stored),
            is_absence_explained=stored.is_removed,
        )
    return EventView(
        event_id=event_id,
        title=event.event_type,
        timeline_url=timeline_url(row.correlation_id),
        sections=_sections(event, row),
        ledger=_ledger(row),
        data=_data(event),
        proof=ProofInput(
            receipt_url=f"{event_url(event_id)}/receipt",
            event_id=event_id,
            digest=sha256(chain.canonical(event)).hexdigest(),
            keys=" ".join(key.vkey for key in keys),
            witnesses=" ".join(key.vkey for key in witnesses),
        ),
    )


def _absence(stored: StoredRow) -> str:
    if stored.is_removed:
        return "The content of this event was removed by retention or by an order to erase, as a ledger event says."
    return stored.missing_reason or "The content of this event is missing, and no ledger event says why."


def _sections(event: Event, row: Row) -> tuple[Section, ...]:
    duration = "" if event.duration_ms is None else f"{event.duration_ms:,} ms"
    parent = "" if event.parent_event_id is None else str(event.parent_event_id)
    return (
        Section(
            title="What happened",
            values=(
                Value(name="event_type", text=event.event_type),
                Value(name="event_timestamp", time=event.event_timestamp),
                Value(name="event_category", text=event.event_category),
                Value(name="event_action", text=event.event_action),
                Value(name="event_outcome", text=event.event_outcome),
                Value(name="severity", text=event.severity or ""),
                Value(name="duration_ms", text=duration),
                Value(name="error_code", text=event.error_code or ""),
                Value(name="error_message", text=event.error_message or ""),
            ),
        ),
        Section(
            title="To what",
            values=(
                Value(name="namespace", text=event.namespace or ""),
                Value(name="resource_type", text=event.resource_type),
                Value(name="resource_name", text=event.resource_name or ""),
                Value(name="resource_id", text=event.resource_id),
                Value(name="cluster_id", text=event.cluster_id or ""),
            ),
        ),
        Section(
            title="By whom",
            values=(
                Value(name="actor_type", text=event.actor_type),
                Value(name="actor_id", text=event.actor_id),
                Value(name="actor_ip", text=event.actor_ip or ""),
            ),
        ),
        Section(
            title="Belongs to",
            values=(
                Value(name="correlation_id", text=event.correlation_id, url=timeline_url(event.correlation_id)),
                Value(name="parent_event_id", text=parent, url=event_url(parent) if parent else "", is_mono=True),
                Value(name="trace_id", text=event.trace_id or "", is_mono=True),
                Value(name="span_id", text=event.span_id or "", is_mono=True),
            ),
        ),
        Section(
            title="Record",
            values=(
                Value(name="event_id", text=str(event.event_id), is_mono=True),
                Value(name="version", text=event.version),
                Value(name="received_at", time=row.received_at),
                Value(name="late", text=_yes(row.late)),
                Value(name="retention_days", text=f"{event.retention_days:,}"),
                Value(name="is_sensitive", text=_yes(event.is_sensitive)),
            ),
        ),
    )


def _ledger(row: Row) -> Section:
    link = (Value(name="link_hash", text=row.link_hash.hex(), is_mono=True),) if row.link_hash else ()
    return Section(
        title="Ledger row",
        values=(
            Value(name="shard", text=str(row.shard)),
            Value(name="sequence", text=f"{row.sequence:,}"),
            Value(name="correlation_id", text=row.correlation_id, url=timeline_url(row.correlation_id)),
            Value(name="event_timestamp", time=row.event_timestamp),
            Value(name="received_at", time=row.received_at),
            Value(name="format", text=str(row.format)),
            Value(name="content_hash", text=row.content_hash.hex(), is_mono=True),
            Value(name="previous_event_hash", text=row.previous_event_hash.hex(), is_mono=True),
            Value(name="event_hash", text=row.event_hash.hex(), is_mono=True),
            *link,
            Value(name="leaf_hash", text=(row.leaf_hash or b"").hex(), is_mono=True),
        ),
    )


def _data(event: Event) -> str:
    try:
        return visible_json(bytes(event.event_data))
    except ValueError:
        # Somebody put it into the database; intake admits JSON only.
        return bytes(event.event_data).decode(errors="replace")


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
