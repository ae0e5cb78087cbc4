"""Records the audit events of requests, each once in the life of this process."""

from collections import OrderedDict
from datetime import datetime

from kubernaut.api.remediation import RemediationRequest
from kubernaut.audit import AuditStore
from kubernaut.gateway import audit_events
from kubernaut.gateway.alertmanager import Alert

ALERT_SIZE = 2048
"""Bytes of the audit events of one alert, with some to spare."""


class AuditRecorder:
    """Writes to the spool.

    Every method raises an `AuditError` when it takes nothing: an alert whose events would be lost is not accepted.
    """

    def __init__(self, store: AuditStore, max_remembered: int) -> None:
        self._store = store
        self._max_remembered = max_remembered
        self._recorded_counts: OrderedDict[str, int] = OrderedDict()
        """By uid of the request, the occurrence count that was recorded last."""

    def check_space(self, alert_count: int) -> None:
        """Raise an `AuditError` when the events of so many alerts would not fit."""
        self._store.check_space(alert_count * ALERT_SIZE)

    def record_state(self, request: RemediationRequest) -> None:
        """Record what the object says, unless this process has; an earlier one may have crashed before it could."""
        deduplication = request.status.deduplication
        uid, count = request.metadata.uid, deduplication.occurrence_count if deduplication else 0
        recorded = self._recorded_counts.get(uid, 0)
        if count and count != recorded:
            self._store.record(audit_events.events_of(request, recorded))
            self._recorded_counts[uid] = count
            while len(self._recorded_counts) > self._max_remembered:
                self._recorded_counts.popitem(last=False)

    def record_resolved(self, request: RemediationRequest, alert: Alert, at: datetime) -> None:
        """Record that an alert is resolved, if it was counted on the request."""
        deduplication = request.status.deduplication
        if deduplication is not None and alert.name in deduplication.signal_names:
            self._store.record([audit_events.resolved_event(request, alert, at)])

    async def synced(self) -> None:
        """Return when everything recorded so far is on disk."""
        await self._store.committed()
