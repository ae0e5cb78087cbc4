"""From alerts to objects: at least once to the API server, and one open signal per workload.

The order of the writes makes every crash repairable by the next delivery, which Alertmanager sends because it got no
2xx: first the `RemediationRequest`, whose name every replica would choose alike; then the signal; last the account on
the request, so that a delivery which was not answered has not been counted either.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog

from kubernaut.api.events import AuditEvent
from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.signals import Signal
from kubernaut.api.vocabulary import Label
from kubernaut.audit import AuditError, AuditStore
from kubernaut.gateway import requests, trail
from kubernaut.gateway.alertmanager import Alert, Found, Webhook, candidates, signal_of
from kubernaut.gateway.config import IntakeConfig
from kubernaut.gateway.owners import Objects, find
from kubernaut.gateway.requests import REQUESTS, SIGNALS
from kubernaut.gateway.responses import Result, ResultStatus
from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import AlreadyExists, Conflict, KubeError, NotFound, TooManyRequests
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key

log = structlog.get_logger("gateway")

BY_FINGERPRINT = "fingerprint"
BY_FIRING = "firing"
INDEXES = {
    BY_FINGERPRINT: lambda request: [request.spec.signal_fingerprint or ""],
    BY_FIRING: lambda request: request.status.deduplication.firing if request.status.deduplication else [],
}
"""Indexes that the cache of requests must have."""

NO_TARGET = "no label of it names a kind of object that this cluster has, nor a namespace"
_TRIES = 10
_AT_ONCE = 16


@dataclass(frozen=True)
class _Placed:
    """An alert, its place in the notification, and what it is about."""

    index: int
    alert: Alert
    signal: Signal


class Intake:
    """Turns notifications into objects."""

    def __init__(
        self,
        client: Client,
        discovery: Discovery,
        objects: Objects,
        cache: Informer[RemediationRequest],
        store: AuditStore,
        config: IntakeConfig,
    ) -> None:
        self._client = client
        self._discovery = discovery
        self._objects = objects
        self._cache = cache
        self._store = store
        self._config = config
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._complete: dict[str, None] = {}  # uids of requests whose signal was seen
        self._counted: dict[str, int] = {}  # uid of a request to the count that was recorded last

    async def take(self, webhook: Webhook) -> list[Result]:
        """Store every alert, and say of each what became of it, in their order.

        When it returns, the audit events of what was stored are on disk.
        """
        results: list[Result | None] = [None] * len(webhook.alerts)
        groups: dict[str, list[_Placed]] = {}
        limit = asyncio.Semaphore(_AT_ONCE)

        async def place(index: int, alert: Alert) -> None:
            async with limit:
                try:
                    placed = await self._place(index, alert, webhook)
                except KubeError as error:
                    results[index] = _failed(alert, error)
                    return
                if placed is None:
                    log.warning("alert rejected", alert=alert.name, reason=NO_TARGET)
                    results[index] = Result(status=ResultStatus.REJECTED, name=alert.name, message=NO_TARGET)
                else:
                    groups.setdefault(placed.signal.fingerprint, []).append(placed)

        async def settle(group: list[_Placed]) -> None:
            async with limit:
                group.sort(key=lambda placed: placed.index)
                for placed, result in zip(group, await self._settle(group), strict=True):
                    results[placed.index] = result

        async with asyncio.TaskGroup() as tasks:
            for index, alert in enumerate(webhook.alerts):
                tasks.create_task(place(index, alert))
        async with asyncio.TaskGroup() as tasks:
            for group in groups.values():
                tasks.create_task(settle(group))
        await self._recorded()
        return [result for result in results if result is not None]

    def record_again(self) -> None:
        """Record what the objects say has happened, in case an earlier process died before it could."""
        for request in self._cache.list():
            self._record_state(request)

    async def _place(self, index: int, alert: Alert, webhook: Webhook) -> _Placed | None:
        named = candidates(alert, webhook, await self._discovery.kinds_by_singular_name())
        if not named or named[0].kind.kind == "Namespace":
            # Perhaps it names a kind that was installed lately. Asked for a name that is none, discovery looks again,
            # but not more often than every half minute.
            await self._discovery.kind_by_singular_name("alertname")
            named = candidates(alert, webhook, await self._discovery.kinds_by_singular_name())
        if not named:
            return None
        now = datetime.now(UTC)
        # What an alert is about may be gone by the time it repeats or ends; what it was about is written down.
        known = self._open(self._cache.by_index(BY_FIRING, alert.id))
        if known is not None and known.spec.signal_fingerprint and known.spec.target_resource:
            target = known.spec.target_resource
            signal = signal_of(alert, webhook, Found(target=target, owner=target), now)
            return _Placed(index, alert, msgspec.structs.replace(signal, fingerprint=known.spec.signal_fingerprint))
        return _Placed(index, alert, signal_of(alert, webhook, await find(named, self._objects), now))

    async def _settle(self, group: Sequence[_Placed]) -> list[Result]:
        """One workload's alerts. Firing ones first: what fires is not over because something else about it is."""
        fingerprint = group[0].signal.fingerprint
        firing = [placed for placed in group if placed.alert.is_firing]
        over = [placed for placed in group if not placed.alert.is_firing]
        by_index: dict[int, Result] = {}
        async with self._locks.setdefault(fingerprint, asyncio.Lock()):
            for part, settle in ((firing, self._fold), (over, self._resolve)):
                if not part:
                    continue
                try:
                    results = await settle(part)
                except KubeError as error:
                    results = [_failed(placed.alert, error) for placed in part]
                by_index |= {placed.index: result for placed, result in zip(part, results, strict=True)}
        return [by_index[placed.index] for placed in group]

    async def _fold(self, firing: Sequence[_Placed]) -> list[Result]:
        signal = firing[0].signal
        known = self._cache.by_index(BY_FINGERPRINT, signal.fingerprint)
        request = self._open(known)
        previous = requests.newest(known)
        attempt = 0
        while True:
            try:
                request = request or await self._opened(signal, previous)
                await self._complete_signal(request, signal)
                return await self._count(request, firing)
            except (Conflict, NotFound):
                # Somebody else was faster: another replica, or whoever finished or deleted the request.
                attempt += 1
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(0.01 * attempt)
                previous = request or previous
                request = await self._again(request) if request else None

    async def _opened(self, signal: Signal, previous: RemediationRequest | None) -> RemediationRequest:
        """The open request about a workload, created when there is none.

        Names follow from each other, so a cache that is late only makes the walk longer: a name that is taken leads
        to its request, and if that is over, to the name after it. Asking for all requests about a workload instead
        would make the server look at every request there is, for each new one.
        """
        while True:
            name = requests.name_of(signal.fingerprint, previous, datetime.now(UTC))
            key = Key(self._config.namespace, name)
            deleted = self._cache.tombstone(key)
            if deleted is not None:
                previous = deleted
                continue
            try:
                request = await self._client.create(REQUESTS, requests.new_request(name, key.namespace, signal))
            except AlreadyExists:
                request = await self._client.get(REQUESTS, key)
            self._cache.observe(request)
            if self._open([request]) is not None:
                return request
            previous = request

    async def _again(self, request: RemediationRequest) -> RemediationRequest | None:
        """The request as the API server has it now, if it is still open."""
        try:
            request = await self._client.get(REQUESTS, Key(request.metadata.namespace, request.metadata.name))
        except NotFound:
            return None
        self._cache.observe(request)
        return self._open([request])

    async def _ask(self, fingerprint: str) -> list[RemediationRequest]:
        selection = ListOptions(namespace=self._config.namespace, label_selector=requests.selector(fingerprint))
        listing = await self._client.list(REQUESTS, selection)
        for request in listing.items:
            self._cache.observe(request)
        return [request for request in listing.items if request.spec.signal_fingerprint == fingerprint]

    def _open(self, there: Sequence[RemediationRequest]) -> RemediationRequest | None:
        now = datetime.now(UTC)
        return requests.newest(request for request in there if requests.is_open(request, now, self._config.stale_after))

    async def _complete_signal(self, request: RemediationRequest, signal: Signal) -> None:
        if not self._config.create_parents or request.metadata.uid in self._complete:
            return
        with contextlib.suppress(AlreadyExists):
            await self._client.create(SIGNALS, requests.new_signal(request, signal))
        self._complete[request.metadata.uid] = None
        _bound(self._complete, self._config.remembered)

    async def _count(self, request: RemediationRequest, firing: Sequence[_Placed]) -> list[Result]:
        is_new = request.status.deduplication is None
        self._record_state(request)
        account = requests.counted(request, [placed.alert for placed in firing], datetime.now(UTC))
        request = await self._client.patch_status(REQUESTS, request, requests.as_patch(account))
        self._cache.observe(request)
        self._record_state(request)
        if Label.RESOLVED_AT in request.metadata.annotations:
            await self._annotate(request, None)
        name = request.metadata.name
        results: list[Result] = []
        for placed in firing:
            created = is_new and not results
            results.append(
                Result(
                    status=ResultStatus.CREATED if created else ResultStatus.DUPLICATE,
                    name=placed.alert.name,
                    fingerprint=placed.signal.fingerprint,
                    message=f"signal stored as {name}" if created else f"counted on {name}, which is open",
                    request=request,
                )
            )
        return results

    async def _resolve(self, over: Sequence[_Placed]) -> list[Result]:
        fingerprint = over[0].signal.fingerprint
        there = self._cache.by_index(BY_FINGERPRINT, fingerprint)
        if self._open(there) is None:
            there = await self._ask(fingerprint)  # the cache may be late, and a notice comes only once
        request = self._open(there)
        attempt = 0
        while request is not None:
            try:
                request = await self._end(request, over)
            except (Conflict, NotFound):
                attempt += 1
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(0.01 * attempt)
                request = await self._again(request)
            else:
                break
        # Recorded although nothing was open: an earlier process may have died between the object and the record.
        self._record_resolved(request or requests.newest(there), over)
        return [_resolved(placed, request) for placed in over]

    async def _end(self, request: RemediationRequest, over: Sequence[_Placed]) -> RemediationRequest:
        account = request.status.deduplication
        before = account.firing if account else []
        ended = {placed.alert.id for placed in over}
        left = [alert for alert in before if alert not in ended]
        if left != before:
            request = await self._client.patch_status(REQUESTS, request, {"deduplication": {"firing": left}})
            self._cache.observe(request)
        if not left:
            at = max(_ended_at(placed.alert) for placed in over)
            request = await self._annotate(request, at)
        return request

    async def _annotate(self, request: RemediationRequest, at: datetime | None) -> RemediationRequest:
        """Mark the request and its signal as resolved, or as firing again."""
        value = at.isoformat().replace("+00:00", "Z") if at else None
        annotations = {"annotations": {Label.RESOLVED_AT.value: value}}
        place = request.metadata
        with contextlib.suppress(NotFound):
            key = Key(place.namespace, requests.signal_name_of(request))
            await self._client.patch(SIGNALS, key, {"metadata": annotations})
        body = {"metadata": {**annotations, "resourceVersion": place.resource_version}}
        request = await self._client.patch(REQUESTS, Key(place.namespace, place.name), body)
        self._cache.observe(request)
        return request

    def _record_resolved(self, request: RemediationRequest | None, over: Sequence[_Placed]) -> None:
        if request is None:
            return
        account = request.status.deduplication
        known = set(account.signal_names) if account else set()
        for placed in over:
            if placed.alert.name in known:
                self._record([trail.resolved_event(request, placed.alert, _ended_at(placed.alert))])

    def _record_state(self, request: RemediationRequest) -> None:
        """Record what the object says, unless this process has; an earlier one may have died before it could."""
        account = request.status.deduplication
        uid, count = request.metadata.uid, account.occurrence_count if account else 0
        if count and self._counted.get(uid) != count:
            self._record(trail.events_of(request, since=self._counted.get(uid, 0)))
            self._counted[uid] = count
            _bound(self._counted, self._config.remembered)

    def _record(self, events: Sequence[AuditEvent]) -> None:
        try:
            self._store.record(events)
        except AuditError as error:
            # The store has logged and counted it. An alert is not refused because its record waits for room.
            log.warning("audit event not recorded", error=str(error))

    async def _recorded(self) -> None:
        try:
            await self._store.committed()
        except AuditError as error:
            log.warning("audit events are not on disk yet", error=str(error))


def _bound(memory: dict[str, Any], most: int) -> None:
    """Forget the oldest entries."""
    while len(memory) > most:
        del memory[next(iter(memory))]


def _ended_at(alert: Alert) -> datetime:
    """When the alert ended; its start, when nobody said, for that is the same each time it is said."""
    return alert.ends_at if alert.ends_at and alert.ends_at > alert.starts_at else alert.starts_at


def _failed(alert: Alert, error: KubeError) -> Result:
    log.error("alert not stored", alert=alert.name, error=str(error))
    after = error.retry_after if isinstance(error, TooManyRequests) and error.retry_after else 0.0
    return Result(status=ResultStatus.FAILED, name=alert.name, message=str(error), retry_after=after)


def _resolved(placed: _Placed, request: RemediationRequest | None) -> Result:
    return Result(
        status=ResultStatus.RESOLVED,
        name=placed.alert.name,
        fingerprint=placed.signal.fingerprint,
        message=f"resolved on {request.metadata.name}" if request else "nothing about it is open",
        request=request,
    )
