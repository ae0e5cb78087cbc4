"""The causal order of the events of one correlation.

The ledger's order is that of arrival: gateway and controller deliver on their own, so that the event which opened a
correlation may arrive after its consequences. Here it comes first, a child never comes before its parent, and the
events' own times decide the rest; events of the same time stay in the order of the ledger, which of one sender is the
order in which it recorded them.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from kubernaut.api.vocabulary import EventType


class EventKey(NamedTuple):
    """What decides the place of one event."""

    sequence: int
    event_id: UUID
    event_timestamp: datetime
    event_type: str
    parent_event_id: UUID | None


def ordered(keys: Iterable[EventKey]) -> list[int]:
    """The sequences of these events, given in the order of the ledger, in causal order."""
    # The store admits no event before its parent, so each parent has its place when its child comes.
    places: dict[UUID, tuple[bool, datetime]] = {}
    order: list[tuple[tuple[bool, datetime], int]] = []
    for key in keys:
        place = (key.event_type != EventType.SIGNAL_RECEIVED, key.event_timestamp)
        parent = places.get(key.parent_event_id) if key.parent_event_id else None
        if parent is not None:
            place = (place[0] or parent[0], max(place[1], parent[1]))
        places[key.event_id] = place
        order.append((place, key.sequence))
    return [sequence for _, sequence in sorted(order)]
