"""From notifications to objects: at least once to the API server, and one open request per fold key."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from weakref import WeakValueDictionary

import structlog

from kubernaut.audit import AuditError
from kubernaut.gateway import kubernetes_events
from kubernaut.gateway.alertmanager import Alert, InvalidAlert, Webhook
from kubernaut.gateway.audit_recorder import AuditRecorder
from kubernaut.gateway.deduplication import Deduplicator
from kubernaut.gateway.heartbeats import Heartbeats
from kubernaut.gateway.kubernetes_events import CoreEvent
from kubernaut.gateway.mapped_alert import NoTarget, ReceivedAlert
from kubernaut.gateway.request_store import RequestStore
from kubernaut.gateway.resolution import AlertResolver
from kubernaut.gateway.responses import Reason, Result, ResultStatus
from kubernaut.gateway.signals import SignalMapper
from kubernaut.gateway.stored_alerts import AlertKey, StoredAlerts, key_of
from kubernaut.kube.errors import KubeError, TooManyRequests

log = structlog.get_logger("gateway")

HEARTBEAT = "a heartbeat by intake.ignore: it opens no signal"
MAX_PART = 250
"""Alerts of one notification that are decoded and processed at the same time."""

MAX_CONCURRENCY = 16
"""Alerts, and then workloads, of one notification that are processed at the same time."""


MAX_WRITING = 32
"""Workloads of all notifications that are written at the same time. The others wait, so that each one that has begun is
written soon, and what is not written in time has cost the API server nothing."""


class Intake:
    """Processes notifications."""

    def __init__(self, mapper: SignalMapper, store: RequestStore, audit: AuditRecorder, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._mapper = mapper
        self._store = store
        self._audit = audit
        self._deduplicator = Deduplicator(store, audit)
        self._resolver = AlertResolver(store, audit)
        self._stored = StoredAlerts()
        self._writing = asyncio.Semaphore(MAX_WRITING)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def process(self, webhook: Webhook, timeout: float) -> list[Result]:
        """Store every alert, and return one result for each, in their order.

        What is not stored within `timeout` seconds has failed; what was stored stays stored. Alerts are decoded and
        processed in parts, so that a notification of any size takes little memory. When it returns, the audit events
        of what was stored are on disk.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        results: list[Result] = []
        stored: list[AlertKey] = []
        for start in range(0, len(webhook.alerts), MAX_PART):
            alerts = webhook.alerts[start : start + MAX_PART]
            results += await self._process_part(alerts, webhook, deadline)
            stored += self._remember(alerts, results[start:])
        if all(result.status is not ResultStatus.FAILED for result in results):
            for key in stored:
                self._stored.discard(key)
        try:
            await self._audit.synced()
        except AuditError as error:
            return [_unrecorded(result, error) for result in results]
        return results

    def _remember(self, alerts: Sequence[Alert | InvalidAlert], results: Sequence[Result]) -> list[AlertKey]:
        """Remember what was stored until the sender knows it."""
        keys = []
        for alert, result in zip(alerts, results, strict=True):
            if isinstance(alert, Alert) and result.status is not ResultStatus.FAILED:
                keys.append(key_of(alert))
                self._stored.add(keys[-1], result)
        return keys

    async def process_event(self, event: CoreEvent) -> Result:
        """Store a Kubernetes Event that is an alert."""
        alert = kubernetes_events.alert_of(event)
        try:
            self._audit.check_space(1)
            mapped = await self._mapper.map_event(event, alert)
        except Exception as error:  # noqa: BLE001 - a defect must not end the watch of all Events
            return _failed(alert, error)
        if isinstance(mapped, NoTarget):
            return _rejected(alert.name, Reason.NO_TARGET, mapped.reason)
        async with self._writing:
            (result,) = (await self._process_workload([ReceivedAlert(index=0, alert=alert, mapped=mapped)])).values()
        try:
            await self._audit.synced()
        except AuditError as error:
            return _unrecorded(result, error)
        return result

    async def _process_part(
        self, alerts: Sequence[Alert | InvalidAlert], webhook: Webhook, deadline: float
    ) -> list[Result]:
        try:
            self._audit.check_space(len(alerts))
        except AuditError as error:
            return [_failed(alert, error) for alert in alerts]
        results: dict[int, Result] = {}
        groups: dict[str, list[ReceivedAlert]] = {}
        limit = asyncio.Semaphore(MAX_CONCURRENCY)

        async def map_alert(index: int, alert: Alert) -> None:
            if self._heartbeats.observe(alert):
                results[index] = Result(status=ResultStatus.IGNORED, name=alert.name, message=HEARTBEAT)
                return
            async with limit:
                try:
                    mapped = await self._mapper.map(alert, webhook)
                except Exception as error:  # noqa: BLE001 - a defect must not refuse the alert's neighbours
                    results[index] = _failed(alert, error)
                    return
            if isinstance(mapped, NoTarget):
                results[index] = _rejected(alert.name, Reason.NO_TARGET, mapped.reason)
            else:
                received = ReceivedAlert(index=index, alert=alert, mapped=mapped)
                groups.setdefault(mapped.fold_key, []).append(received)

        async def process_group(group: list[ReceivedAlert]) -> None:
            async with limit, self._writing:
                group.sort(key=lambda received: received.index)
                results.update(await self._process_workload(group))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                async with asyncio.TaskGroup() as tasks:
                    for index, alert in enumerate(alerts):
                        if isinstance(alert, InvalidAlert):
                            results[index] = _rejected(alert.name, Reason.INVALID, alert.reason)
                        elif (stored := self._stored.get(key_of(alert))) is not None:
                            results[index] = stored
                        else:
                            tasks.create_task(map_alert(index, alert))
                async with asyncio.TaskGroup() as tasks:
                    for group in groups.values():
                        tasks.create_task(process_group(group))
        now = datetime.now(UTC)
        return [_with_adjustments(results.get(index), alert, now) for index, alert in enumerate(alerts)]

    def record_cached(self) -> None:
        """Record what the cached requests say has happened, in case an earlier process crashed before it could."""
        try:
            for request in self._store.cached():
                self._audit.record_received(request)
        except AuditError as error:
            # Each is recorded with its next alert all the same.
            log.warning("audit event not recorded", error=str(error))

    async def _process_workload(self, group: Sequence[ReceivedAlert]) -> dict[int, Result]:
        """The results by index. Firing alerts first: what fires is not resolved because another alert of it is.

        But an alert that ended and began again ends first.
        """
        firing = [received for received in group if received.alert.is_firing]
        resolved = [received for received in group if not received.alert.is_firing]
        began = {received.alert.id: received.alert.starts_at for received in firing}
        before = [received for received in resolved if received.alert.ended_before(began.get(received.alert.id))]
        after = [received for received in resolved if received not in before]
        results: dict[int, Result] = {}
        async with self._locks.setdefault(group[0].mapped.fold_key, asyncio.Lock()):
            for part, process in (
                (before, self._resolver.process),
                (firing, self._deduplicator.process),
                (after, self._resolver.process),
            ):
                if not part:
                    continue
                try:
                    processed = await process(part)
                except Exception as error:  # noqa: BLE001 - a defect must not refuse the alert's neighbours
                    processed = [_failed(received.alert, error) for received in part]
                results |= {received.index: result for received, result in zip(part, processed, strict=True)}
        return results


def _with_adjustments(result: Result | None, alert: Alert | InvalidAlert, now: datetime) -> Result:
    """The result, and how the alert was adjusted; without one, the time was over before its turn."""
    if result is None:
        return _not_reached(alert)
    if isinstance(alert, InvalidAlert) or not (adjustments := alert.adjustments_at(now)):
        return result
    return replace(result, adjustments=adjustments)


def _rejected(name: str, reason: Reason, message: str) -> Result:
    return Result(status=ResultStatus.REJECTED, name=name, message=message, reason=reason)


def _not_reached(alert: Alert | InvalidAlert) -> Result:
    message = "the Kubernetes API did not store it in time"
    return Result(status=ResultStatus.FAILED, name=alert.name, message=message, reason=Reason.TIMEOUT)


def _unrecorded(result: Result, error: AuditError) -> Result:
    """What was stored, but whose audit events are not on disk, must come again."""
    if result.status in (ResultStatus.REJECTED, ResultStatus.IGNORED):
        return result
    return replace(result, status=ResultStatus.FAILED, message=str(error), reason=Reason.AUDIT)


def _failed(alert: Alert | InvalidAlert, error: Exception) -> Result:
    if not isinstance(error, AuditError | KubeError):
        log.error("alert processing failed", alert=alert.name, exc_info=error)
        message = "an error of the gateway; see its log"
        return Result(status=ResultStatus.FAILED, name=alert.name, message=message, reason=Reason.DEFECT)
    reason = Reason.AUDIT if isinstance(error, AuditError) else Reason.KUBERNETES
    after = error.retry_after if isinstance(error, TooManyRequests) and error.retry_after else 0.0
    return Result(status=ResultStatus.FAILED, name=alert.name, message=str(error), retry_after=after, reason=reason)
