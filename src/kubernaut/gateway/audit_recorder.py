"""Records the audit events of requests, each once in the life of this process."""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

import structlog

from kubernaut.api.events import AuditEvent
from kubernaut.api.remediation import RemediationRequest
from kubernaut.audit import AuditError, AuditStore
from kubernaut.gateway import audit_events
from kubernaut.gateway.alertmanager import Alert

log = structlog.get_logger("gateway")


class AuditRecorder:
    """Writes to the spool. Never raises: an alert is not refused because its audit event could not be recorded."""

    def __init__(self, store: AuditStore, max_remembered: int) -> None:
        self._store = store
        self._max_remembered = max_remembered
        self._recorded_counts: OrderedDict[str, int] = OrderedDict()
        """By uid of the request, the occurrence count that was recorded last."""

    def record_state(self, request: RemediationRequest) -> None:
        """Record what the object says, unless this process has; an earlier one may have crashed before it could."""
        deduplication = request.status.deduplication
        uid, count = request.metadata.uid, deduplication.occurrence_count if deduplication else 0
        recorded = self._recorded_counts.get(uid, 0)
        if count and count != recorded:
            self._record(audit_events.events_of(request, recorded))
            self._recorded_counts[uid] = count
            while len(self._recorded_counts) > self._max_remembered:
                self._recorded_counts.popitem(last=False)

    def record_resolved(self, request: RemediationRequest, alert: Alert, at: datetime) -> None:
        """Record that an alert is resolved, if it was counted on the request."""
        deduplication = request.status.deduplication
        if deduplication is not None and alert.name in deduplication.signal_names:
            self._record([audit_events.resolved_event(request, alert, at)])

    async def synced(self) -> None:
        """Return when everything recorded so far is on disk."""
        try:
            await self._store.committed()
        except AuditError as error:
            log.warning("audit events not synced to disk", error=str(error))

    def _record(self, events: Sequence[AuditEvent]) -> None:
        try:
            self._store.record(events)
        except AuditError as error:
            log.warning("audit event not recorded", error=str(error))
