"""Firing alerts: one open request per fold key, on which further alerts are counted.

The order of the writes makes every crash repairable by the next delivery, which Alertmanager sends because it got no
2xx: first the `RemediationRequest`, whose name every replica would choose alike; then the signal; last the count on the
request, so that a delivery without a response has not been counted either.

An alert that is more severe than the open request gets a request of its own, which supersedes the open one: what was
decided about a warning is not the answer to an outage.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.vocabulary import Label
from kubernaut.gateway import occurrences, requests
from kubernaut.gateway.audit_recorder import AuditRecorder
from kubernaut.gateway.folding import severity_rank
from kubernaut.gateway.mapped_alert import MappedAlert, ReceivedAlert
from kubernaut.gateway.occurrences import Occurrence
from kubernaut.gateway.request_store import MAX_ATTEMPTS, RETRY_DELAY, RequestStore
from kubernaut.gateway.responses import Result, ResultStatus, reference_to
from kubernaut.kube.errors import Conflict, NotFound


class Deduplicator:
    """Stores firing alerts."""

    def __init__(self, store: RequestStore, audit: AuditRecorder) -> None:
        self._store = store
        self._audit = audit

    async def process(self, firing: Sequence[ReceivedAlert]) -> list[Result]:
        """Store the alerts of one fold key; returns one result for each. Raises a `KubeError`."""
        # The first of the most severe ones is what a new signal is about, and its first occurrence.
        lead = max(firing, key=lambda received: severity_rank(received.signal.severity))
        ordered = [lead, *(received for received in firing if received is not lead)]
        mapped = lead.mapped
        known = self._store.cached_by_fold_key(mapped.fold_key)
        request = self._store.newest_open(known)
        previous = requests.newest(known)
        attempt = 0
        while True:
            try:
                request = await self._open(mapped, request, previous)
                results = await self._count(request, ordered)
                return [results[received.index] for received in firing]
            except (Conflict, NotFound):
                # Another replica was faster, or the request was finished or deleted.
                attempt += 1
                if attempt == MAX_ATTEMPTS:
                    raise
                await asyncio.sleep(RETRY_DELAY * attempt)
                previous = request or previous
                request = await self._store.get_open(request) if request else None

    async def _open(
        self, mapped: MappedAlert, request: RemediationRequest | None, previous: RemediationRequest | None
    ) -> RemediationRequest:
        """The open request; a new one where there is none, or where the alert is more severe."""
        if request is None:
            request = await self._store.get_or_create_open(mapped, previous)
        if severity_rank(mapped.signal.severity) > severity_rank(request.spec.severity):
            request = await self._store.get_or_create_open(mapped, request, supersedes=request.metadata.name)
        return request

    def _superseded(self, request: RemediationRequest) -> RemediationRequest | None:
        """The request that this one supersedes, unless it has been deleted."""
        name = request.metadata.annotations.get(Label.SUPERSEDES, "")
        return self._store.cached_by_name(name) if name else None

    async def _count(self, request: RemediationRequest, firing: Sequence[ReceivedAlert]) -> dict[int, Result]:
        """The results by index; the first alert is what a new signal is about."""
        is_new = request.status.deduplication is None
        before = self._superseded(request)
        superseded: Mapping[str, Occurrence] = {}
        if before is not None:
            superseded = occurrences.firing_of(before.status.deduplication)
        alerts = [received.alert for received in firing]
        counted = occurrences.count(request.status.deduplication, alerts, datetime.now(UTC), superseded)
        await self._store.ensure_signal(request, firing[0].mapped, counted.deduplication)
        if before is not None and Label.SUPERSEDED_BY not in before.metadata.annotations:
            await self._store.annotate_superseded(before, request)
        request = await self._store.patch_status(request, requests.deduplication_patch(counted.deduplication))
        self._audit.record_received(request)
        for received, occurrence in zip(firing, counted.occurrences, strict=True):
            if occurrence is not None:
                self._audit.record_occurrence(request, received, occurrence)
        if Label.RESOLVED_AT in request.metadata.annotations:
            await self._store.annotate_resolved(request, None)
        return {
            received.index: _result(received, request, is_created=is_new and position == 0)
            for position, received in enumerate(firing)
        }


def _result(received: ReceivedAlert, request: RemediationRequest, *, is_created: bool) -> Result:
    name = request.metadata.name
    return Result(
        status=ResultStatus.CREATED if is_created else ResultStatus.DUPLICATE,
        name=received.alert.name,
        fingerprint=received.signal.fingerprint,
        message=f"signal created as {name}" if is_created else f"deduplicated on the open request {name}",
        reference=reference_to(request),
        deduplication=request.status.deduplication,
    )
