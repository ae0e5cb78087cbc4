"""The alerts that were counted on a request, as its status keeps them. Pure.

An occurrence is one alert, known by its labels, that began to fire at one time. However often a sender repeats it, it
counts once: a retry of a notification that was stored in part counts nothing twice. Each has a number on its request,
from which the id of its audit event follows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kubernaut.api.remediation import Deduplication
from kubernaut.gateway.alertmanager import Alert

MAX_FIRING = 10_000
"""Alerts that are known to fire on one request; beyond it, `overflow` says that its count is a lower bound."""

_MAX_SIGNAL_NAMES = 50
CARRIED_OVER = 0
"""The number of an occurrence that was counted on the request that this one supersedes."""


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """An entry of `status.deduplication.firing`: `id/start/number/received`, times in milliseconds since 1970."""

    alert_id: str
    started_at: int = 0
    """0 where the sender does not know it."""
    number: int = CARRIED_OVER
    received_at: int = 0

    def __str__(self) -> str:
        return f"{self.alert_id}/{self.started_at}/{self.number}/{self.received_at}"

    @classmethod
    def parse(cls, text: str) -> "Occurrence":
        alert_id, *numbers = text.split("/")
        started_at, number, received_at = (*(int(each) if each.isdecimal() else 0 for each in numbers), 0, 0, 0)[:3]
        return cls(alert_id=alert_id, started_at=started_at, number=number, received_at=received_at)

    @property
    def received(self) -> datetime:
        return datetime.fromtimestamp(self.received_at / 1000, UTC)


@dataclass(frozen=True, kw_only=True)
class Count:
    """The status after alerts were received, and the occurrence that each of them is; None where there is no room."""

    deduplication: Deduplication
    occurrences: Sequence[Occurrence | None]


def firing_of(deduplication: Deduplication | None) -> dict[str, Occurrence]:
    """The alerts that fire, by id."""
    parsed = map(Occurrence.parse, deduplication.firing if deduplication else ())
    return {occurrence.alert_id: occurrence for occurrence in parsed}


def count(
    before: Deduplication | None,
    alerts: Iterable[Alert],
    now: datetime,
    superseded: Mapping[str, Occurrence] | None = None,
) -> Count:
    """Count the alerts that were not counted yet, neither here nor on the request that this one supersedes."""
    firing = firing_of(before)
    names = dict.fromkeys(before.signal_names if before else ())
    number = before.occurrence_count if before else 0
    has_overflowed = before.overflow if before else False
    occurrences: list[Occurrence | None] = []
    for alert in alerts:
        started_at, received_at = _milliseconds(alert.starts_at), _milliseconds(now)
        known = firing.get(alert.id)
        if known is None and len(firing) >= MAX_FIRING:
            has_overflowed = True
            occurrences.append(None)
            continue
        if known is None or started_at > known.started_at > 0:
            carried = (superseded or {}).get(alert.id)
            is_carried = known is None and carried is not None and carried.started_at == started_at
            number += not is_carried
            known = Occurrence(
                alert_id=alert.id,
                started_at=started_at,
                number=CARRIED_OVER if is_carried else number,
                received_at=received_at,
            )
            firing[alert.id] = known
            names.setdefault(alert.name)
        occurrences.append(known)
    deduplication = Deduplication(
        occurrence_count=max(number, 1),
        first_seen_at=before.first_seen_at if before and before.first_seen_at else now,
        last_seen_at=now,
        signal_names=list(names)[:_MAX_SIGNAL_NAMES],
        firing=[str(occurrence) for occurrence in firing.values()],
        overflow=has_overflowed,
    )
    return Count(deduplication=deduplication, occurrences=occurrences)


def without(deduplication: Deduplication, alerts: Iterable[Alert]) -> list[str]:
    """The entries of `firing` that are left when these alerts have ended.

    The times of a resolve notice do not matter: some senders leave them out, others have another clock.
    """
    ended = {alert.id for alert in alerts}
    return [text for text in deduplication.firing if Occurrence.parse(text).alert_id not in ended]


def _milliseconds(at: datetime | None) -> int:
    return max(0, int(at.timestamp() * 1000)) if at is not None else 0
