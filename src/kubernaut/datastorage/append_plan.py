"""What a group of waiting requests adds to the ledger; pure.

A group is everything that waits when the ledger's lock is taken. Each request is strict (all its events or none) or
lenient (the good ones). An event whose id is known counts as stored when the content is the same or does not matter
(`if_absent`), and as a conflict otherwise. The order within the group is the order of arrival, and within a request the
order of the sender.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID, uuid5

import msgspec

from kubernaut.datastorage import canonical, chain, partitions
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.errors import EventConflict, ParentMissing, PartitionMissing
from kubernaut.ops.tracing import TraceContext


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentConflict:
    """An attempt to store other content under a taken id."""

    entry: Entry
    stored_content_hash: bytes

    @property
    def event(self) -> Entry:
        """The attempt as an event of the ledger. Its id says what was attempted, so that a repetition is no other."""
        refused = self.entry.event
        data = {
            "event_id": str(refused.event_id),
            "event_type": CONFLICT_EVENT,
            "refused_content_hash": self.entry.content_hash.hex(),
            "refused_event": msgspec.Raw(chain.canonical(refused)),
            "stored_content_hash": self.stored_content_hash.hex(),
        }
        event = chain.Event(
            actor_id="datastorage",
            actor_ip=None,
            actor_type="service",
            cluster_id=refused.cluster_id,
            correlation_id=refused.correlation_id,
            duration_ms=None,
            error_code=None,
            error_message=None,
            event_action="conflict",
            event_category="security",
            event_data=msgspec.Raw(canonical.data(msgspec.json.encode(data))),
            event_id=attempt_id(refused.event_id, self.stored_content_hash, self.entry.content_hash),
            event_outcome="failure",
            event_timestamp=self.entry.received_at,
            event_type=CONFLICT_EVENT,
            is_sensitive=refused.is_sensitive,
            namespace=refused.namespace,
            parent_event_id=None,
            resource_id=str(refused.event_id),
            resource_name=None,
            resource_type="AuditEvent",
            retention_days=refused.retention_days,
            severity="warning",
            span_id=None,
            trace_id=None,
            version="1.0",
        )
        return Entry(
            event=event, content_hash=chain.content_hash(event), received_at=self.entry.received_at, late=False
        )


def attempt_id(event_id: UUID, stored_content_hash: bytes, refused_content_hash: bytes) -> UUID:
    """The id of the event that keeps an attempt to store other content under a taken id."""
    return uuid5(event_id, f"{event_id}/{stored_content_hash.hex()}/{refused_content_hash.hex()}")


CONFLICT_EVENT = "datastorage.event.conflict"
"""The type of the event that keeps an attempt to store other content under a taken id."""

AppendResult = EventConflict | ParentMissing | PartitionMissing | None
"""The result of one event: None when it is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendPlan:
    """What to write for a group, and the results to answer with."""

    new: list[Entry] = field(default_factory=list)
    conflicts: list[ContentConflict] = field(default_factory=list)
    results: list[list[AppendResult]] = field(default_factory=list)
    """One list per request, one result per event. A strict request with any error stored nothing."""

    def add_conflicts(self, recorded: Container[UUID], lost: frozenset[date]) -> None:
        """Turn the conflicts that are not `recorded` yet into events of the ledger, and drop the others.

        Those whose event has no partition are dropped too: evidence that is not in the ledger would be none.
        """
        attempts = {conflict.event.event.event_id: conflict for conflict in self.conflicts}
        self.conflicts[:] = [
            attempt
            for event_id, attempt in attempts.items()
            if event_id not in recorded and partitions.partition_of(attempt.entry.received_at) not in lost
        ]
        self.new.extend(conflict.event for conflict in self.conflicts)


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendRequest:
    """Events that one caller wants stored."""

    entries: Sequence[Entry]
    strict: bool = True
    trace: TraceContext | None = None


def decide(
    requests: Sequence[AppendRequest], stored: Mapping[UUID, bytes], lost: frozenset[date] = frozenset()
) -> AppendPlan:
    """What these requests add, given the content hashes of the `stored` events that they name or refer to.

    Events of the months in `lost` cannot be stored, and neither can their children in the same request.
    """
    plan = AppendPlan()
    # By number: hashing a UUID costs several times as much.
    known = {event_id.int: content for event_id, content in stored.items()}
    for request in requests:
        plan.results.append(_decide_one(request, known, plan, lost))
    return plan


def _decide_one(
    request: AppendRequest, known: dict[int, bytes], plan: AppendPlan, lost: frozenset[date]
) -> list[AppendResult]:
    own: dict[int, bytes] = {}
    new: list[Entry] = []
    results: list[AppendResult] = []
    waiting: dict[int, str] = {}  # events that cannot be stored for the want of this partition
    failed = False
    for index, entry in enumerate(request.entries):
        event = entry.event
        number = event.event_id.int
        seen = known.get(number) or own.get(number)
        result: AppendResult = None
        if seen is None:
            parent = event.parent_event_id
            if lost and (partition := _missing_partition(event, lost, waiting)):
                waiting[number] = partition
                result = PartitionMissing(index, partition)
            elif parent is not None and parent.int not in known and parent.int not in own:
                result = ParentMissing(index, parent)
            else:
                own[number] = entry.content_hash
                new.append(entry)
        elif not (entry.if_absent or seen == entry.content_hash or chain.has_content(event, seen)):
            result = EventConflict(index, event.event_id)
            plan.conflicts.append(ContentConflict(entry=entry, stored_content_hash=seen))
        failed = failed or result is not None
        results.append(result)
    if not (request.strict and failed):
        known.update(own)
        plan.new.extend(new)
    return results


def _missing_partition(event: chain.Event, lost: frozenset[date], waiting: Mapping[int, str]) -> str | None:
    """The partition that keeps an event from being stored: its own, or that of its parent in the same request."""
    month = partitions.partition_of(event.event_timestamp)
    if month in lost:
        return partitions.name_of(month)
    return waiting.get(event.parent_event_id.int) if event.parent_event_id else None
