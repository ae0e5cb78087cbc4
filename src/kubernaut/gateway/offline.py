"""Alerts without a cluster: the mapping, the folding and the answers of the gateway, on a reader of manifests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.signals import Signal
from kubernaut.gateway import kubernetes_events
from kubernaut.gateway.alertmanager import Alert, InvalidAlert, Webhook
from kubernaut.gateway.config import GatewayConfig
from kubernaut.gateway.folding import severity_rank
from kubernaut.gateway.heartbeats import Heartbeats
from kubernaut.gateway.intake import HEARTBEAT
from kubernaut.gateway.kubernetes_events import CoreEvent
from kubernaut.gateway.mapped_alert import MappedAlert, NoTarget
from kubernaut.gateway.responses import ResultStatus
from kubernaut.gateway.signals import SignalMapper
from kubernaut.gateway.targets import ObjectReader
from kubernaut.ops.metrics import new_registry


@dataclass(frozen=True, kw_only=True)
class OfflineResult:
    """What becomes of one alert."""

    status: ResultStatus
    name: str
    message: str = ""
    signal: Signal | None = None
    """Of a created one."""
    fold_key: str = ""
    adjustments: tuple[str, ...] = ()
    """What is stored in another form than it came in."""
    notes: tuple[str, ...] = ()
    """Why the target may not be what the labels mean."""


class _NoRequests:
    """Nothing has come in before."""

    def cached_by_alert(self, alert_id: str) -> list[RemediationRequest]:
        return []


@dataclass
class _OpenSignal:
    """What is known of the newest signal of a fold key."""

    rank: int
    """Of its severity."""
    firing: set[str] = field(default_factory=set)
    """Ids of the alerts that fire on it, and on those that it supersedes."""


@dataclass
class OfflineIntake:
    """Takes notifications and Events in, one after the other; an alert that folds opens no second signal.

    When the last alert of a signal is resolved, the next one opens a new signal.
    """

    reader: ObjectReader
    config: GatewayConfig
    _open: dict[str, _OpenSignal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._mapper = SignalMapper(self.reader, _NoRequests(), self.config.cluster, self.config.intake)
        self._heartbeats = Heartbeats(self.config.intake.ignore, new_registry("offline", ""))

    async def process(self, webhook: Webhook) -> list[OfflineResult]:
        """One result for each alert of a notification, in their order."""
        results: dict[int, OfflineResult] = {}
        groups: dict[str, list[tuple[int, Alert, MappedAlert]]] = {}
        for index, alert in enumerate(webhook.alerts):
            mapped = await self._mapped(alert, webhook)
            if isinstance(mapped, OfflineResult):
                results[index] = mapped
            elif isinstance(alert, Alert):
                groups.setdefault(mapped.fold_key, []).append((index, alert, mapped))
        for group in groups.values():
            # As online: what ended before it began anew is first, and the first of the most severe ones is what the
            # signal is about.
            firing = [each for each in group if each[1].is_firing]
            resolved = [each for each in group if not each[1].is_firing]
            began = {alert.id: alert.starts_at for _, alert, _ in firing}
            before = [each for each in resolved if each[1].ended_before(began.get(each[1].id))]
            firing.sort(key=lambda each: -severity_rank(each[2].signal.severity))
            for index, alert, mapped in (*before, *firing, *(each for each in resolved if each not in before)):
                results[index] = self._folded(alert, mapped) if alert.is_firing else self._resolved(alert, mapped)
        return [results[index] for index in range(len(webhook.alerts))]

    async def process_event(self, event: CoreEvent) -> OfflineResult:
        """The result of a Kubernetes Event."""
        if reason := kubernetes_events.rejection_of(event):
            return OfflineResult(status=ResultStatus.REJECTED, name=event.reason, message=reason)
        alert = kubernetes_events.alert_of(event)
        mapped = await self._mapper.map_event(event, alert)
        return _rejected(alert.name, mapped.reason) if isinstance(mapped, NoTarget) else self._folded(alert, mapped)

    async def _mapped(self, alert: Alert | InvalidAlert, webhook: Webhook) -> MappedAlert | OfflineResult:
        if isinstance(alert, InvalidAlert):
            return _rejected(alert.name, alert.reason)
        if self._heartbeats.observe(alert):
            return OfflineResult(status=ResultStatus.IGNORED, name=alert.name, message=HEARTBEAT)
        mapped = await self._mapper.map(alert, webhook)
        return _rejected(alert.name, mapped.reason) if isinstance(mapped, NoTarget) else mapped

    def _resolved(self, alert: Alert, mapped: MappedAlert) -> OfflineResult:
        if (known := self._open.get(mapped.fold_key)) is not None:
            known.firing.discard(alert.id)
            if not known.firing:
                del self._open[mapped.fold_key]
        return OfflineResult(status=ResultStatus.RESOLVED, name=alert.name, message="it opens no signal")

    def _folded(self, alert: Alert, mapped: MappedAlert) -> OfflineResult:
        rank = severity_rank(mapped.signal.severity)
        known = self._open.get(mapped.fold_key)
        adjustments = tuple(map(str, alert.adjustments_at(datetime.now(UTC))))
        if known is not None and rank <= known.rank:
            known.firing.add(alert.id)
            return OfflineResult(
                status=ResultStatus.DUPLICATE,
                name=alert.name,
                message="one more occurrence of the signal before it",
                fold_key=mapped.fold_key,
                adjustments=adjustments,
                notes=mapped.notes,
            )
        self._open[mapped.fold_key] = _OpenSignal(rank, {alert.id} | (known.firing if known else set()))
        return OfflineResult(
            status=ResultStatus.CREATED,
            name=alert.name,
            message="more severe than the signal before it, which it supersedes" if known is not None else "",
            signal=mapped.signal,
            fold_key=mapped.fold_key,
            adjustments=adjustments,
            notes=mapped.notes,
        )


def _rejected(name: str, message: str) -> OfflineResult:
    return OfflineResult(status=ResultStatus.REJECTED, name=name, message=message)
