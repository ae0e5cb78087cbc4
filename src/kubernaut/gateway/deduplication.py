"""Firing alerts: one open request per workload, on which further alerts are counted.

The order of the writes makes every crash repairable by the next delivery, which Alertmanager sends because it got no
2xx: first the `RemediationRequest`, whose name every replica would choose alike; then the signal; last the count on the
request, so that a delivery without a response has not been counted either.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.vocabulary import Label
from kubernaut.gateway import requests
from kubernaut.gateway.audit_recorder import AuditRecorder
from kubernaut.gateway.mapped_alert import ReceivedAlert
from kubernaut.gateway.request_store import MAX_ATTEMPTS, RETRY_DELAY, RequestStore
from kubernaut.gateway.responses import Result, ResultStatus
from kubernaut.kube.errors import Conflict, NotFound


class Deduplicator:
    """Stores firing alerts."""

    def __init__(self, store: RequestStore, audit: AuditRecorder) -> None:
        self._store = store
        self._audit = audit

    async def process(self, firing: Sequence[ReceivedAlert]) -> list[Result]:
        """Store the alerts of one workload; returns one result for each. Raises a `KubeError`."""
        mapped = firing[0].mapped
        known = self._store.cached_by_fingerprint(mapped.signal.fingerprint)
        request = self._store.newest_open(known)
        previous = requests.newest(known)
        attempt = 0
        while True:
            try:
                request = request or await self._store.get_or_create_open(mapped, previous)
                await self._store.ensure_signal(request, mapped)
                return await self._count(request, firing)
            except (Conflict, NotFound):
                # Another replica was faster, or the request was finished or deleted.
                attempt += 1
                if attempt == MAX_ATTEMPTS:
                    raise
                await asyncio.sleep(RETRY_DELAY * attempt)
                previous = request or previous
                request = await self._store.get_open(request) if request else None

    async def _count(self, request: RemediationRequest, firing: Sequence[ReceivedAlert]) -> list[Result]:
        is_new = request.status.deduplication is None
        self._audit.record_state(request)
        deduplication = requests.count_occurrences(request, [received.alert for received in firing], datetime.now(UTC))
        request = await self._store.patch_status(request, requests.deduplication_patch(deduplication))
        self._audit.record_state(request)
        if Label.RESOLVED_AT in request.metadata.annotations:
            await self._store.annotate_resolved(request, None)
        return [
            _result(received, request, is_created=is_new and position == 0) for position, received in enumerate(firing)
        ]


def _result(received: ReceivedAlert, request: RemediationRequest, *, is_created: bool) -> Result:
    name = request.metadata.name
    return Result(
        status=ResultStatus.CREATED if is_created else ResultStatus.DUPLICATE,
        name=received.alert.name,
        fingerprint=received.signal.fingerprint,
        message=f"signal created as {name}" if is_created else f"deduplicated on the open request {name}",
        request=request,
    )
