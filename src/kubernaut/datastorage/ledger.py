"""Deciding what a group of waiting requests adds to the ledger; pure.

A group is everything that waits when the ledger's lock is taken. Each request is strict (all its events or none) or
lenient (the good ones). An event whose id is known counts as stored when the content is the same, and as a conflict
otherwise. The order within the group is the order of arrival, and within a request the order of the sender.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from kubernaut.datastorage import chain
from kubernaut.datastorage.errors import EventConflict, ParentMissing
from kubernaut.datastorage.intake import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The newest row of one ledger."""

    sequence: int = 0
    link_hash: bytes = chain.ORIGIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """An attempt to store other content under a taken id."""

    entry: Entry
    stored_content_hash: bytes


Outcome = EventConflict | ParentMissing | None
"""What became of one event: None when it is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to write for a group, and what to answer."""

    new: list[Entry] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    """One list per request, one outcome per event. A strict request with any error stored nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Events that one caller wants stored."""

    entries: Sequence[Entry]
    strict: bool = True


def decide(requests: Sequence[Request], stored: Mapping[UUID, bytes]) -> Plan:
    """What these requests add, given the content hashes of the `stored` events that they name or refer to."""
    plan = Plan()
    # By number: hashing a UUID costs several times as much.
    known = {event_id.int: content for event_id, content in stored.items()}
    for request in requests:
        plan.outcomes.append(_decide_one(request, known, plan))
    return plan


def _decide_one(request: Request, known: dict[int, bytes], plan: Plan) -> list[Outcome]:
    mine: dict[int, bytes] = {}
    new: list[Entry] = []
    outcomes: list[Outcome] = []
    failed = False
    for index, entry in enumerate(request.entries):
        event = entry.event
        number = event.event_id.int
        seen = known.get(number) or mine.get(number)
        outcome: Outcome = None
        if seen is None:
            parent = event.parent_event_id
            if parent is not None and parent.int not in known and parent.int not in mine:
                outcome = ParentMissing(index, parent)
            else:
                mine[number] = entry.content_hash
                new.append(entry)
        elif seen != entry.content_hash:
            outcome = EventConflict(index, event.event_id)
            plan.evidence.append(Evidence(entry=entry, stored_content_hash=seen))
        failed = failed or outcome is not None
        outcomes.append(outcome)
    if not (request.strict and failed):
        known.update(mine)
        plan.new.extend(new)
    return outcomes


def extend(shard: int, head: Head, heads: dict[str, bytes], entries: Sequence[Entry]) -> tuple[list[chain.Row], Head]:
    """The rows that append `entries` behind `head`; `heads` (newest event hash per correlation) moves along."""
    rows: list[chain.Row] = []
    sequence, link = head.sequence, head.link_hash
    for entry in entries:
        event = entry.event
        sequence += 1
        previous = heads.get(event.correlation_id, chain.ORIGIN)
        hashed = chain.event_hash(previous, entry.content_hash)
        heads[event.correlation_id] = hashed
        place = (shard, sequence, event.event_id, event.correlation_id, event.event_timestamp)
        state = (entry.received_at, entry.late, entry.content_hash, previous, hashed)
        link = chain.link_hash(link, chain.Row(*place, *state, b""))
        rows.append(chain.Row(*place, *state, link))
    return rows, Head(sequence=sequence, link_hash=link)
