"""Hashes that make the ledger show an edit; pure.

Each event leaves three hashes, SHA-256 each, the first two with a word in front that says what is hashed:

    content  = H("kubernaut.content.v1\\n" ‖ canonical event)          what the client said, nothing else
    event    = H("kubernaut.event.v1\\n" ‖ previous event ‖ content)   the chain of one correlation
    leaf     = H(0x00 ‖ ledger entry)                                 a leaf of the ledger's Merkle tree

`content` decides whether two events with one id are the same. `event` follows the order of the ledger within one
correlation, never timestamps, because clocks disagree. `leaf` covers every column of the row, and the tree binds it to
its place among all rows, so that a deleted correlation is missed as well. The first row of a chain follows 32 zero
bytes. Rows of format 1, from before the tree, have the chain of the whole ledger instead of a stored leaf:

    link     = H("kubernaut.ledger.v1\\n" ‖ previous link ‖ event ‖ place)

The canonical event is JSON without blanks, keys sorted, every field present (null when absent), times in UTC as
`2026-01-31T23:59:59.000001Z` (no fraction when it is zero), and `event_data` as `canonical.data` writes it.
The place is the JSON array of shard, sequence, event id, correlation id, event time, time of arrival, and lateness.
Write, verification and export use these functions and no others.
"""

import hashlib
from collections.abc import MutableMapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from kubernaut.api.ledger import entries
from kubernaut.api.ledger.entries import LedgerEntry
from kubernaut.datastorage import addresses

ORIGIN = bytes(32)
"""What the first row of every chain follows."""

_EVENT = b"kubernaut.event.v1\n"
_LINK = b"kubernaut.ledger.v1\n"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as it is stored: defaults filled in, time in UTC, data canonical. Fields are sorted; keep them so."""

    actor_id: str
    actor_ip: str | None
    actor_type: str
    cluster_id: str | None
    correlation_id: str
    duration_ms: int | None
    error_code: str | None
    error_message: str | None
    event_action: str
    event_category: str
    event_data: msgspec.Raw
    event_id: UUID
    event_outcome: str
    event_timestamp: datetime
    event_type: str
    is_sensitive: bool
    namespace: str | None
    parent_event_id: UUID | None
    resource_id: str
    resource_name: str | None
    resource_type: str
    retention_days: int
    severity: str
    span_id: str | None
    trace_id: str | None
    version: str


class Row(NamedTuple):
    """One row of the ledger."""

    shard: int
    sequence: int
    event_id: UUID
    correlation_id: str
    event_timestamp: datetime
    received_at: datetime
    late: bool
    content_hash: bytes
    previous_event_hash: bytes
    event_hash: bytes
    link_hash: bytes | None
    format: int
    leaf_hash: bytes | None
    """None in rows of format 1."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One admitted event, ready to be appended."""

    event: Event
    content_hash: bytes
    received_at: datetime
    late: bool
    if_absent: bool = False
    """Where its id is known, it counts as stored, whatever its content."""


canonical = msgspec.json.Encoder().encode
"""The bytes of an Event that its content hash covers, and of the columns that place a Row in the ledger."""

_PLACE = Row._fields.index("content_hash")


def content_hash(event: Event) -> bytes:
    """What the client said, in 32 bytes."""
    return entries.content_hash(canonical(event))


def has_content(event: Event, content: bytes) -> bool:
    """Whether `content` is the hash of the event, also where Python 3.13 once spelled its address."""
    if content_hash(event) == content:
        return True
    mixed = addresses.mixed_text(event.actor_ip) if event.actor_ip else None
    return mixed is not None and content_hash(msgspec.structs.replace(event, actor_ip=mixed)) == content


def event_hash(previous: bytes, content: bytes) -> bytes:
    """The place of `content` behind `previous` in the chain of its correlation."""
    return hashlib.sha256(_EVENT + previous + content).digest()


def link_hash(previous: bytes, row: Row) -> bytes:
    """The place of `row` behind the row whose link is `previous`; ignores the link that `row` carries."""
    return hashlib.sha256(_LINK + previous + row.event_hash + canonical(row[:_PLACE])).digest()


def ledger_entry(row: Row) -> bytes:
    """What the log holds of a row: every column but the leaf, which follows from it."""
    return entries.encode(
        LedgerEntry(
            content_hash=row.content_hash,
            correlation_id=row.correlation_id,
            event_hash=row.event_hash,
            event_id=row.event_id,
            event_timestamp=row.event_timestamp,
            format=row.format,
            late=row.late,
            link_hash=row.link_hash,
            previous_event_hash=row.previous_event_hash,
            received_at=row.received_at,
            sequence=row.sequence,
            shard=row.shard,
        )
    )


def leaf_hash(row: Row) -> bytes:
    """The leaf of a row in the tree of its ledger."""
    return hashlib.sha256(b"\0" + ledger_entry(row)).digest()


def link(shard: int, size: int, correlations: MutableMapping[str, bytes], admitted: Sequence[Entry]) -> list[Row]:
    """The rows that append events to a ledger of `size` rows; `correlations` (newest event hash of each) is updated."""
    rows: list[Row] = []
    sequence = size
    for entry in admitted:
        event = entry.event
        sequence += 1
        previous = correlations.get(event.correlation_id, ORIGIN)
        hashed = event_hash(previous, entry.content_hash)
        correlations[event.correlation_id] = hashed
        row = Row(
            shard,
            sequence,
            event.event_id,
            event.correlation_id,
            event.event_timestamp,
            entry.received_at,
            entry.late,
            entry.content_hash,
            previous,
            hashed,
            None,
            entries.FORMAT,
            None,
        )
        rows.append(Row(*row[:-1], leaf_hash(row)))
    return rows


def shard_of(correlation_id: str, shards: int) -> int:
    """Which ledger a correlation belongs to; stable for a given number of shards."""
    if shards == 1:
        return 0
    return int.from_bytes(hashlib.sha256(correlation_id.encode()).digest()[:8]) % shards
