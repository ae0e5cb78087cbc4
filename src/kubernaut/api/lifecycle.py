"""Requests and answers about what the audit log keeps: legal holds and erasures."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from kubernaut.api.meta import Time

CorrelationId = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]


class PlaceHold(msgspec.Struct, frozen=True, kw_only=True):
    """Hold everything of a correlation."""

    correlation_id: CorrelationId
    reason: Text


class ReleaseHold(msgspec.Struct, frozen=True, kw_only=True):
    """End a hold."""

    release_reason: Text


class HoldPlaced(msgspec.Struct, frozen=True, kw_only=True):
    """A hold that is in force now."""

    correlation_id: str
    events_affected: int
    placed_by: str
    placed_at: Time
    reason: str


class HoldReleased(msgspec.Struct, frozen=True, kw_only=True):
    """A hold that has ended."""

    correlation_id: str
    events_released: int
    released_by: str
    released_at: Time


class LegalHold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold in force."""

    correlation_id: str
    events_affected: int
    placed_by: str
    placed_at: Time
    reason: str


class HoldList(msgspec.Struct, frozen=True, kw_only=True):
    """Every hold in force."""

    holds: list[LegalHold]
    total: int


class EraseEvents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Erase the payloads of these events, or of one correlation. An unknown field is an error: it may narrow this."""

    order: Annotated[str, Meta(min_length=1, max_length=200)]
    """Reference of the order, such as that of a data subject's request."""

    event_ids: Annotated[list[UUID], Meta(max_length=1000)] = []
    correlation_id: CorrelationId | None = None
    reason: Annotated[str, Meta(max_length=2000)] = ""


class EventsErased(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased; 0 when all of it was gone before."""

    order: str
    events_erased: int
    erased_by: str
    erased_at: Time
    operation_ids: list[UUID]
    """The ledger events that say so."""
