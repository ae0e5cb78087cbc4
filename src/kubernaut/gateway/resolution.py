"""Resolved alerts: they never open a request, and the last one of a request resolves it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.vocabulary import Label
from kubernaut.gateway import occurrences, requests
from kubernaut.gateway.alertmanager import Alert
from kubernaut.gateway.audit_recorder import AuditRecorder
from kubernaut.gateway.mapped_alert import ReceivedAlert
from kubernaut.gateway.request_store import MAX_ATTEMPTS, RETRY_DELAY, RequestStore
from kubernaut.gateway.responses import Result, ResultStatus, reference_to
from kubernaut.kube.errors import Conflict, NotFound


class AlertResolver:
    """Resolves the requests of resolved alerts."""

    def __init__(self, store: RequestStore, audit: AuditRecorder) -> None:
        self._store = store
        self._audit = audit

    async def process(self, resolved: Sequence[ReceivedAlert]) -> list[Result]:
        """Remove the alerts from the requests on which they fire; returns one result for each. Raises a `KubeError`."""
        key = resolved[0].mapped.fold_key
        known = self._store.cached_by_fold_key(key)
        if not any(map(_is_firing, known)):
            # The cache may lag behind, and a resolved alert is sent only once.
            known = await self._store.list_by_fold_key(key)
        alerts = [received.alert for received in resolved]
        ended: dict[str, RemediationRequest] = {}
        for request in sorted(filter(_is_firing, known), key=lambda request: str(request.metadata.creation_timestamp)):
            fired = _fired(request, alerts)
            updated = await self._remove_firing(request, alerts) if fired else request
            ended |= dict.fromkeys(fired, updated or request)
        newest = requests.newest(known)
        results = []
        for received in resolved:
            request_ = ended.get(received.alert.id)
            # Recorded although it fires no more, if its end is known: an earlier process may have crashed between the
            # write and the record.
            recorded = request_ or (newest if received.alert.ends_at else None)
            if recorded is not None:
                self._audit.record_resolved(recorded, received, _ended_at(received.alert))
            results.append(_result(received, request_))
        return results

    async def _remove_firing(self, request: RemediationRequest, alerts: Sequence[Alert]) -> RemediationRequest | None:
        """The request without the alerts, resolved when none is left; None when it was deleted."""
        current: RemediationRequest | None = request
        for attempt in range(1, MAX_ATTEMPTS + 1):
            if current is None or (deduplication := current.status.deduplication) is None:
                return current
            try:
                still_firing = occurrences.without(deduplication, alerts)
                if still_firing != deduplication.firing:
                    current = await self._store.patch_status(current, {"deduplication": {"firing": still_firing}})
                if not still_firing and not deduplication.overflow:
                    current = await self._store.annotate_resolved(current, max(map(_ended_at, alerts)))
            except (Conflict, NotFound):
                if attempt == MAX_ATTEMPTS:
                    raise
                await asyncio.sleep(RETRY_DELAY * attempt)
                current = await self._store.get(request)
            else:
                return current
        return current


def _is_firing(request: RemediationRequest) -> bool:
    """Whether alerts of it fire; also when it was superseded, or what it asked for is done."""
    return request.metadata.deletion_timestamp is None and Label.RESOLVED_AT not in request.metadata.annotations


def _fired(request: RemediationRequest, alerts: Sequence[Alert]) -> set[str]:
    """The ids of those alerts that fire on the request."""
    deduplication = request.status.deduplication
    ids = {alert.id for alert in alerts}
    if deduplication is None or deduplication.firing or deduplication.overflow:
        return ids & occurrences.firing_of(deduplication).keys()
    # None is left, but the end was not written; or the CRD of the Go project is installed, which keeps no such list.
    return ids if deduplication.signal_names or deduplication.occurrence_count == 1 else set()


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
        reference=reference_to(request) if request else None,
        deduplication=request.status.deduplication if request else None,
    )
