"""The ledger events by which holds, retention, erasures and what operators do with dead letters are known; pure.

Nothing changes what the database keeps without one of these, and it is appended in the transaction of the change. A
removal names the rows whose payload it removed, all of one ledger, so that verification can tell a payload that expired
from one that somebody deleted.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID, uuid5

import msgspec

from kubernaut.datastorage import canonical, chain
from kubernaut.datastorage.chain import Entry

CATEGORY = "security"
MAX_ROWS = 5_000
"""Rows that one removal names; its payload must stay within the limits of any other event."""

_NAMESPACE = UUID("8f4f4c8e-2a57-5f0c-9d6a-3b7b7f0f7a11")


class OperationType(StrEnum):
    """`event_type` of these events; nobody but DataStorage may write them."""

    RETENTION_APPLIED = "datastorage.retention.applied"
    ERASURE_APPLIED = "datastorage.erasure.applied"
    HOLD_PLACED = "datastorage.legal_hold.placed"
    HOLD_RELEASED = "datastorage.legal_hold.released"
    DEAD_LETTERS_DROPPED = "datastorage.dead_letters.dropped"
    DEAD_LETTERS_REPLAYED = "datastorage.dead_letters.replayed"


RESERVED_TYPES = frozenset(map(str, OperationType))

KEPT_TYPES = (
    OperationType.RETENTION_APPLIED,
    OperationType.ERASURE_APPLIED,
    OperationType.HOLD_PLACED,
    OperationType.HOLD_RELEASED,
)
"""Operations whose events never expire, because by them a removal or a hold is known."""

REMOVALS = {OperationType.RETENTION_APPLIED: "retention", OperationType.ERASURE_APPLIED: "erasure"}
"""The operations that remove payloads, and the reason in their marks."""


class RemovedRow(NamedTuple):
    """A row whose payload is removed."""

    shard: int
    sequence: int
    event_id: UUID
    event_timestamp: datetime


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Who does what, when."""

    type: OperationType
    correlation_id: str
    time: datetime
    actor_id: str = "datastorage"
    actor_type: str = "service"


class Removal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`event_data` of a removal."""

    event_type: str
    shard: int
    first_sequence: int
    last_sequence: int
    count: int
    event_ids_sha256: str
    """SHA-256 over the ids, 16 bytes each, in the order of their sequence."""

    sequences: list[tuple[int, int]]
    """The rows as ranges, both ends included."""

    order: str = ""
    """Reference of the order to erase."""

    reason: str = ""


class HoldChange(msgspec.Struct, frozen=True, kw_only=True):
    """`event_data` of a hold that is placed or released."""

    event_type: str
    correlation_id: str
    reason: str
    events_affected: int
    hold_id: UUID | None = None


class LetterRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One dead letter, without its content, which may be what made it one."""

    id: str
    message_sha256: str
    reason: str = ""
    event_id: UUID | None = None
    event_type: str = ""
    correlation_id: str = ""


class LetterChange(msgspec.Struct, frozen=True, kw_only=True):
    """`event_data` of dead letters that somebody drops or replays."""

    event_type: str
    count: int
    letters: list[LetterRecord]


def removal(operation: Operation, rows: Sequence[RemovedRow], *, order: str = "", reason: str = "") -> Entry:
    """The event that says that these payloads, of one ledger in the order of their sequence, are removed."""
    digest = hashlib.sha256(b"".join(row.event_id.bytes for row in rows)).hexdigest()
    data = Removal(
        event_type=operation.type,
        shard=rows[0].shard,
        first_sequence=rows[0].sequence,
        last_sequence=rows[-1].sequence,
        count=len(rows),
        event_ids_sha256=digest,
        sequences=ranges([row.sequence for row in rows]),
        order=order,
        reason=reason,
    )
    return entry(operation, data, identity=f"{rows[0].shard} {digest}")


def entry(operation: Operation, data: msgspec.Struct, *, identity: str) -> Entry:
    """The event of an operation; its id follows from `identity`, which is unique among operations of the type."""
    event = chain.Event(
        actor_id=operation.actor_id,
        actor_ip=None,
        actor_type=operation.actor_type,
        cluster_id=None,
        correlation_id=operation.correlation_id,
        duration_ms=None,
        error_code=None,
        error_message=None,
        event_action=operation.type.rpartition(".")[2],
        event_category=CATEGORY,
        event_data=msgspec.Raw(canonical.data(msgspec.json.encode(data))),
        event_id=uuid5(_NAMESPACE, f"{operation.type}\n{identity}"),
        event_outcome="success",
        event_timestamp=operation.time,
        event_type=operation.type,
        is_sensitive=False,
        namespace=None,
        parent_event_id=None,
        resource_id=operation.correlation_id,
        resource_name=None,
        resource_type="AuditLedger",
        retention_days=2555,
        severity="info",
        span_id=None,
        trace_id=None,
        version="1.0",
    )
    return Entry(event=event, content_hash=chain.content_hash(event), received_at=operation.time, late=False)


def ranges(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, both ends included."""
    found: list[tuple[int, int]] = []
    for sequence in sequences:
        if found and sequence == found[-1][1] + 1:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return found


decode_removal = msgspec.json.Decoder(Removal).decode
"""A removal from the event data of its event. Raises msgspec.MsgspecError."""

decode_hold_change = msgspec.json.Decoder(HoldChange).decode
"""A hold that is placed or released from the event data of its event. Raises msgspec.MsgspecError."""
