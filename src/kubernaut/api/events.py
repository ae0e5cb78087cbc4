"""Audit events as they travel: what a client sends, what the store answers, and the payloads our services write.

Names follow the Go project's OpenAPI document. A client may derive and send `event_id`; the store keeps one row per id.
"""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from kubernaut.api import limits
from kubernaut.api.meta import Time
from kubernaut.api.vocabulary import EventOutcome, EventType, Phase

AFTER_QUEUED_HEADER = "X-Audit-After-Queued"
"""`true` on a request whose events come after others of the same client that were queued and perhaps still are."""

MAX_BATCH_EVENTS = 1000
"""Events in one batch at most."""

ABSENT = msgspec.Raw()
"""In place of JSON that is not there."""

Category = Annotated[str, Meta(min_length=1, max_length=limits.MAX_EVENT_CATEGORY)]
Action = Annotated[str, Meta(min_length=1, max_length=limits.MAX_EVENT_ACTION)]


class AuditWire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The shape of the audit types: immutable, snake_case, absent rather than null; unknown fields are ignored."""


class AuditEvent(AuditWire, frozen=True):
    """One event as a client sends it. Lengths are those of the columns, so that nothing fails after admission."""

    event_type: Annotated[str, Meta(min_length=1, max_length=limits.MAX_EVENT_TYPE)]
    event_timestamp: Time
    event_category: Category
    event_action: Action
    event_outcome: EventOutcome
    correlation_id: Annotated[str, Meta(min_length=1, max_length=limits.MAX_CORRELATION_ID)]
    event_data: msgspec.Raw
    version: Annotated[str, Meta(min_length=1, max_length=limits.MAX_VERSION)] = "1.0"
    event_id: UUID | None = None
    actor_type: Annotated[str, Meta(max_length=limits.MAX_ACTOR_TYPE)] | None = None
    actor_id: Annotated[str, Meta(max_length=limits.MAX_ACTOR_ID)] | None = None
    actor_ip: Annotated[str, Meta(max_length=limits.MAX_ACTOR_IP)] | None = None
    resource_type: Annotated[str, Meta(max_length=limits.MAX_RESOURCE_TYPE)] | None = None
    resource_id: Annotated[str, Meta(max_length=limits.MAX_RESOURCE_ID)] | None = None
    resource_name: Annotated[str, Meta(max_length=limits.MAX_RESOURCE_NAME)] | None = None
    namespace: Annotated[str, Meta(max_length=limits.MAX_NAMESPACE)] | None = None
    cluster_id: Annotated[str, Meta(max_length=limits.MAX_CLUSTER_ID)] | None = None
    parent_event_id: UUID | None = None
    trace_id: Annotated[str, Meta(max_length=limits.MAX_TRACE_ID)] | None = None
    span_id: Annotated[str, Meta(max_length=limits.MAX_SPAN_ID)] | None = None
    severity: Annotated[str, Meta(max_length=limits.MAX_EVENT_SEVERITY)] | None = None
    duration_ms: Annotated[int, Meta(ge=0, le=limits.MAX_DURATION)] | None = None
    error_code: Annotated[str, Meta(max_length=limits.MAX_ERROR_CODE)] | None = None
    error_message: str | None = None
    retention_days: Annotated[int, Meta(ge=1, le=limits.MAX_RETENTION_DAYS)] | None = None
    is_sensitive: bool | None = None
    if_absent: bool | None = None
    """The event was derived again from an object that somebody has rewritten: it is stored where its id is unknown, and
    what is stored under that id stays, without a conflict."""


class SignalPayload(AuditWire, frozen=True):
    """`event_data` of every `signalprocessing.*` event.

    Keys and values that other services read are inside the shared vocabularies. What those cannot say is under keys of
    our own: `decided_*` is the decision in the words of the status, in lower case.
    """

    event_type: EventType
    phase: Phase
    signal: str
    severity: str | None = None
    external_severity: str | None = None
    normalized_severity: str | None = None
    determination_source: str | None = None
    policy_hash: str | None = None
    signal_mode: str | None = None
    source_signal_name: str | None = None
    environment: str | None = None
    environment_source: str | None = None
    priority: str | None = None
    priority_source: str | None = None
    policy_name: str | None = None
    criticality: str | None = None
    sla_requirement: str | None = None
    business_unit: str | None = None
    has_namespace: bool | None = None
    has_pod: bool | None = None
    has_deployment: bool | None = None
    has_owner_chain: bool | None = None
    owner_chain_length: int | None = None
    degraded_mode: bool | None = None
    duration_ms: int | None = None
    from_phase: str | None = None
    to_phase: str | None = None
    attempt: int | None = None
    error: str | None = None
    signalprocessing_name: str | None = None
    signalprocessing_namespace: str | None = None
    decided_environment: str | None = None
    decided_environment_source: str | None = None
    decided_priority: str | None = None
    decided_priority_source: str | None = None
    decided_criticality: str | None = None
    decided_severity_source: str | None = None
    facts: msgspec.Raw = ABSENT
    """What the decision was made from, a `kubernaut.api.facts.DecisionFacts`; of a classification decision only."""


class GatewayPayload(AuditWire, frozen=True):
    """`event_data` of every `gateway.*` event."""

    event_type: EventType
    signal_type: str
    signal_name: str
    namespace: str
    fingerprint: str
    severity: str | None = None
    resource_kind: str | None = None
    resource_name: str | None = None
    remediation_request: str | None = None
    deduplication_status: str | None = None
    occurrence_count: int | None = None
    remediation_request_namespace: str | None = None
    signal_labels: dict[str, str] | None = None
    """Labels of the alert that was folded."""

    alert_status: str | None = None
    """`resolved` where an alert has ended, which the shared vocabulary has no event type for."""

    resolved_at: str | None = None


class EventCreated(AuditWire, frozen=True):
    """The 201 or 202 answer to a single event."""

    event_id: UUID
    event_timestamp: Time
    message: str
    queued: bool = False
    """True in a 202: it is on disk in the dead-letter queue, and will be in the ledger when PostgreSQL answers."""


class LedgerRange(AuditWire, frozen=True):
    """Where the events of a batch stand in one ledger; events of others may stand between them."""

    shard: int
    first_sequence: int
    last_sequence: int
    count: int


class BatchCreated(AuditWire, frozen=True):
    """The 201 or 202 answer to a batch: ids in the order of the request."""

    event_ids: list[UUID]
    message: str
    queued: bool = False
    """True in a 202: all are on disk in the dead-letter queue."""

    ledger: list[LedgerRange] = []
    """Where the events stand, in a 201 to a request that prefers `ledger-range`."""


class EventResult(AuditWire, frozen=True):
    """What became of one event of a lenient batch."""

    index: int
    status: int
    event_id: UUID | None = None
    detail: str | None = None
    field_errors: dict[str, str] = {}
    reason: str = ""
    retry: bool = False
    """Sending the same event again later may help; it was not stored."""


class BatchResults(AuditWire, frozen=True):
    """The 207 answer to a batch sent with `Prefer: handling=lenient`, one result per event in input order."""

    results: list[EventResult]
    stored: int
    rejected: int
    queued: int = 0
    """Events with status 202: on disk in the dead-letter queue."""


class StoredEvent(AuditWire, frozen=True):
    """One event as the store returns it, with its place in the ledger."""

    event_id: UUID
    event_timestamp: Time
    event_date: str
    event_type: str
    version: str
    event_category: str
    event_action: str
    event_outcome: str
    correlation_id: str
    event_data: msgspec.Raw
    sequence: int
    event_hash: str
    previous_event_hash: str
    received_at: Time
    late: bool
    retention_days: int
    is_sensitive: bool
    actor_type: str | None = None
    actor_id: str | None = None
    actor_ip: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    resource_name: str | None = None
    namespace: str | None = None
    cluster_id: str | None = None
    parent_event_id: UUID | None = None
    trace_id: str | None = None
    span_id: str | None = None
    severity: str | None = None
    duration_ms: int | None = None
    error_code: str | None = None
    error_message: str | None = None


class Pagination(AuditWire, frozen=True):
    """Where a page stands; `cursor` asks for the next one and is stable under inserts."""

    limit: int
    offset: int
    total: int
    """Matching events, counted no further than 10,000; by a detail in recent events only, if those fill the page."""

    has_more: bool
    total_is_exact: bool
    """False when the counting stopped, so that there are at least `total`."""

    cursor: str | None = None


class EventPage(AuditWire, frozen=True):
    """The answer to a query, newest first."""

    data: list[StoredEvent]
    pagination: Pagination


class TimelineOrder(StrEnum):
    """The order of a timeline."""

    CAUSAL = "causal"
    LEDGER = "ledger"


class Timeline(AuditWire, frozen=True):
    """The events of one correlation."""

    correlation_id: str
    events: list[StoredEvent]
    has_more: bool
    """There are further events behind the last one; ask with `after=<its sequence>`."""


class LedgerFinding(AuditWire, frozen=True):
    """One row that does not verify, and why."""

    sequence: int
    message: str
    event_id: UUID | None = None
    correlation_id: str | None = None
    expected_hash: str = ""
    actual_hash: str = ""


class LedgerHead(AuditWire, frozen=True):
    """Size and root of one ledger's tree, to be kept somewhere else and compared later."""

    shard: Annotated[int, Meta(ge=0, le=1023)]
    head_sequence: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    head_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    verified_after: int = 0
    """Rows up to this one were not read again, because an earlier verification had read them."""


class VerifyRequest(AuditWire, frozen=True, forbid_unknown_fields=True):
    """What to verify: one correlation, one ledger, or everything; a head kept from before shows a cut tail.

    An unknown field is an error: the answer would be about something else.
    """

    correlation_id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    head_sequence: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    head_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    shard: Annotated[int, Meta(ge=0, le=1023)] | None = None
    """Only this ledger, to which the head belongs; absent: every ledger, and the head belongs to ledger 0."""

    verified_heads: Annotated[list[LedgerHead], Meta(max_length=1024)] = []
    """Heads of an earlier verification, kept since: the ledgers must extend them, and only later rows are read."""


class RemovedEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Payloads that a ledger event says were removed; they are no finding."""

    operation_id: UUID
    """The ledger event."""

    reason: str
    """`retention` or `erasure`."""

    removed_at: Time
    count: int
    """Of the rows that were verified."""

    order: str | None = None
    """Reference of the order to erase."""


class Verification(AuditWire, frozen=True):
    """The answer to a verification; `findings` are in the order of the ledger, so the first is the first bad row."""

    is_valid: bool
    total_events: int
    verified_events: int
    verification_time: Time
    message: str
    head_sequence: int
    """Size of the tree of the first ledger; of one correlation, the sequence of its newest event."""

    head_hash: str
    """Root of that tree; of one correlation, the hash of its newest event."""

    heads: list[LedgerHead]
    """Every ledger that was verified; of one correlation, the ledgers in which it was looked for."""

    findings: list[LedgerFinding]
    correlation_id: str | None = None
    removed: list[RemovedEvents] = []
    """Payloads that are gone and whose removal the ledger has; the first 100 removals."""
