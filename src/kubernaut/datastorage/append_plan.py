"""What a group of waiting requests adds to the ledger; pure.

A group is everything that waits when the ledger's lock is taken. Each request is strict (all its events or none) or
lenient (the good ones). An event whose id is known counts as stored when the content is the same, and as a conflict
otherwise. The order within the group is the order of arrival, and within a request the order of the sender.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from kubernaut.datastorage import chain
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.errors import EventConflict, ParentMissing


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentConflict:
    """An attempt to store other content under a taken id."""

    entry: Entry
    stored_content_hash: bytes


AppendResult = EventConflict | ParentMissing | None
"""The result of one event: None when it is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendPlan:
    """What to write for a group, and the results to answer with."""

    new: list[Entry] = field(default_factory=list)
    conflicts: list[ContentConflict] = field(default_factory=list)
    results: list[list[AppendResult]] = field(default_factory=list)
    """One list per request, one result per event. A strict request with any error stored nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendRequest:
    """Events that one caller wants stored."""

    entries: Sequence[Entry]
    strict: bool = True


def decide(requests: Sequence[AppendRequest], stored: Mapping[UUID, bytes]) -> AppendPlan:
    """What these requests add, given the content hashes of the `stored` events that they name or refer to."""
    plan = AppendPlan()
    # By number: hashing a UUID costs several times as much.
    known = {event_id.int: content for event_id, content in stored.items()}
    for request in requests:
        plan.results.append(_decide_one(request, known, plan))
    return plan


def _decide_one(request: AppendRequest, known: dict[int, bytes], plan: AppendPlan) -> list[AppendResult]:
    own: dict[int, bytes] = {}
    new: list[Entry] = []
    results: list[AppendResult] = []
    failed = False
    for index, entry in enumerate(request.entries):
        event = entry.event
        number = event.event_id.int
        seen = known.get(number) or own.get(number)
        result: AppendResult = None
        if seen is None:
            parent = event.parent_event_id
            if parent is not None and parent.int not in known and parent.int not in own:
                result = ParentMissing(index, parent)
            else:
                own[number] = entry.content_hash
                new.append(entry)
        elif seen != entry.content_hash and not chain.has_content(event, seen):
            result = EventConflict(index, event.event_id)
            plan.conflicts.append(ContentConflict(entry=entry, stored_content_hash=seen))
        failed = failed or result is not None
        results.append(result)
    if not (request.strict and failed):
        known.update(own)
        plan.new.extend(new)
    return results
