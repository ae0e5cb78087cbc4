"""Records the audit events of requests, each once in the life of this process."""

from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from kubernaut.api.events import AuditEvent
from kubernaut.api.remediation import RemediationRequest
from kubernaut.audit import AuditStore
from kubernaut.gateway import audit_events
from kubernaut.gateway.mapped_alert import ReceivedAlert
from kubernaut.gateway.occurrences import Occurrence

ALERT_SIZE = 2048
"""Bytes of the audit events of one alert, with some to spare."""

REPAIR_INTERVAL = timedelta(minutes=15)
"""Age of an occurrence, when this process started, up to which an earlier one may have crashed before recording it."""

_FIRST = 1


class AuditRecorder:
    """Writes to the spool.

    Every method raises an `AuditError` when it takes nothing: an alert whose events would be lost is not accepted.
    """

    def __init__(self, store: AuditStore, max_remembered: int) -> None:
        self._store = store
        self._max_remembered = max_remembered
        self._recorded: OrderedDict[tuple[str, int], None] = OrderedDict()
        """Uids of requests, and numbers of their occurrences, that were recorded."""
        self._started_at = datetime.now(UTC)

    def check_space(self, alert_count: int) -> None:
        """Raise an `AuditError` when the events of so many alerts would not fit."""
        self._store.check_space(alert_count * ALERT_SIZE)

    def record_received(self, request: RemediationRequest) -> None:
        """Record that the request's signal was received, unless this process has; an earlier one may have crashed."""
        event = audit_events.received_event(request)
        if event is not None:
            self._record(request, _FIRST, event)

    def record_occurrence(self, request: RemediationRequest, received: ReceivedAlert, occurrence: Occurrence) -> None:
        """Record that an alert was folded, unless it was: by this process, or so long ago that an earlier one did.

        The first occurrence is the signal that was received, and what was carried over was recorded where it was
        counted.
        """
        is_recent = self._started_at - occurrence.received < REPAIR_INTERVAL
        if occurrence.number > _FIRST and is_recent:
            self._record(request, occurrence.number, audit_events.occurrence_event(request, received, occurrence))

    def record_resolved(self, request: RemediationRequest, received: ReceivedAlert, at: datetime) -> None:
        """Record that an alert is resolved, if it was counted on the request."""
        if request.status.deduplication is not None:
            self._store.record([audit_events.resolved_event(request, received, at)])

    def _record(self, request: RemediationRequest, number: int, event: AuditEvent) -> None:
        key = (request.metadata.uid, number)
        if key in self._recorded:
            return
        self._store.record([event])
        self._recorded[key] = None
        while len(self._recorded) > self._max_remembered:
            self._recorded.popitem(last=False)

    async def synced(self) -> None:
        """Return when everything recorded so far is on disk."""
        await self._store.committed()
