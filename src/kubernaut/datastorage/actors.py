"""Who may write whose events, so that nobody who merely reaches the service can forge a decision."""

from collections.abc import Mapping, Sequence

from kubernaut.api.problems import Slug
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.config import ANY, ActorConfig
from kubernaut.datastorage.intake import EventRejected, Rejection
from kubernaut.ops.http.authentication import Identity


class Actors:
    """The actors of each identity. Without authentication there is no identity, and everybody may write everything."""

    def __init__(self, actors: Mapping[str, ActorConfig] | None = None) -> None:
        self._actors = dict(actors or {})

    def check(self, identity: Identity | None, entries: Sequence[Entry]) -> None:
        """Raise EventRejected for the first event that is not the writer's to write."""
        for index, entry in enumerate(entries):
            if (denial := self._denial(identity, entry)) is not None:
                field, reason = denial
                detail = f"event at index {index}: {reason}"
                raise EventRejected(Slug.FORBIDDEN, detail, {f"[{index}].{field}": reason}, index=index)

    def check_each(self, identity: Identity | None, admitted: Sequence[Entry | Rejection]) -> list[Entry | Rejection]:
        """The events, with a rejection in the place of each that is not the writer's to write."""
        return [self._entry_or_rejection(identity, index, entry) for index, entry in enumerate(admitted)]

    def _entry_or_rejection(self, identity: Identity | None, index: int, entry: Entry | Rejection) -> Entry | Rejection:
        if not isinstance(entry, Entry) or (denial := self._denial(identity, entry)) is None:
            return entry
        field, reason = denial
        return EventRejected(Slug.FORBIDDEN, reason, {f"[{index}].{field}": reason}, index=index)

    def _denial(self, identity: Identity | None, entry: Entry) -> tuple[str, str] | None:
        """The field that is wrong, and why."""
        if identity is None:
            return None
        event = entry.event
        actor = self._actors.get(identity.name)
        if actor is None:
            return "actor_id", f"{identity.name} may not write events: it is not listed under `actors`"
        if not _has(actor.actor_ids, event.actor_id):
            return "actor_id", f"{identity.name} may not write events of actor {event.actor_id!r}"
        if not _has(actor.event_categories, event.event_category):
            return "event_category", f"{identity.name} may not write events of category {event.event_category!r}"
        return None


def _has(allowed: Sequence[str], value: str) -> bool:
    return value in allowed or ANY in allowed
