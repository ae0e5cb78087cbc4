"""Resolved alerts: they never open a request, and the last one of a request resolves it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from kubernaut.api.remediation import RemediationRequest
from kubernaut.gateway import requests
from kubernaut.gateway.alertmanager import Alert
from kubernaut.gateway.audit_recorder import AuditRecorder
from kubernaut.gateway.mapped_alert import ReceivedAlert
from kubernaut.gateway.request_store import MAX_ATTEMPTS, RETRY_DELAY, RequestStore
from kubernaut.gateway.responses import Result, ResultStatus
from kubernaut.kube.errors import Conflict, NotFound


class AlertResolver:
    """Resolves the requests of resolved alerts."""

    def __init__(self, store: RequestStore, audit: AuditRecorder) -> None:
        self._store = store
        self._audit = audit

    async def process(self, resolved: Sequence[ReceivedAlert]) -> list[Result]:
        """Remove the alerts from their workload's open request; returns one result for each. Raises a `KubeError`."""
        fingerprint = resolved[0].signal.fingerprint
        known = self._store.cached_by_fingerprint(fingerprint)
        if self._store.newest_open(known) is None:
            # The cache may lag behind, and a resolved alert is sent only once.
            known = await self._store.list_by_fingerprint(fingerprint)
        request = self._store.newest_open(known)
        attempt = 0
        while request is not None:
            try:
                request = await self._remove_firing(request, [received.alert for received in resolved])
            except (Conflict, NotFound):
                attempt += 1
                if attempt == MAX_ATTEMPTS:
                    raise
                await asyncio.sleep(RETRY_DELAY * attempt)
                request = await self._store.get_open(request)
            else:
                break
        # Recorded although no request is open: an earlier process may have crashed between the write and the record.
        newest = request or requests.newest(known)
        if newest is not None:
            for received in resolved:
                self._audit.record_resolved(newest, received.alert, _ended_at(received.alert))
        return [_result(received, request) for received in resolved]

    async def _remove_firing(self, request: RemediationRequest, alerts: Sequence[Alert]) -> RemediationRequest:
        firing = request.status.deduplication.firing if request.status.deduplication else []
        ended = {alert.id for alert in alerts}
        still_firing = [alert_id for alert_id in firing if alert_id not in ended]
        if still_firing != firing:
            request = await self._store.patch_status(request, {"deduplication": {"firing": still_firing}})
        if not still_firing:
            request = await self._store.annotate_resolved(request, max(map(_ended_at, alerts)))
        return request


def _ended_at(alert: Alert) -> datetime:
    """When the alert ended, and no later than now."""
    now = datetime.now(UTC)
    return min(alert.ended_at or now, now)


def _result(received: ReceivedAlert, request: RemediationRequest | None) -> Result:
    return Result(
        status=ResultStatus.RESOLVED,
        name=received.alert.name,
        fingerprint=received.signal.fingerprint,
        message=f"resolved on {request.metadata.name}" if request else "no open request",
        request=request,
    )
