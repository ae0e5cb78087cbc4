"""Maps alerts to signals, with the help of the cluster."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from kubernaut.api.signals import Signal
from kubernaut.gateway import targets
from kubernaut.gateway.alertmanager import Alert, Webhook, candidates, signal_of
from kubernaut.gateway.request_store import RequestStore
from kubernaut.gateway.targets import Candidate, ObjectReader, ResolvedObject
from kubernaut.kube.discovery import Discovery


@dataclass(frozen=True, kw_only=True)
class ReceivedAlert:
    """An alert, its index in the notification, and its signal."""

    index: int
    alert: Alert
    signal: Signal


class SignalMapper:
    """Maps alerts to signals. Raises a `KubeError` when the API server is unreachable."""

    def __init__(self, discovery: Discovery, reader: ObjectReader, requests: RequestStore) -> None:
        self._discovery = discovery
        self._reader = reader
        self._requests = requests

    async def map(self, alert: Alert, webhook: Webhook) -> Signal | None:
        """The signal of an alert; None when no label names a target."""
        named = await self._candidates(alert, webhook)
        if not named:
            return None
        now = datetime.now(UTC)
        # The target may be deleted by the time the alert repeats or is resolved; the request has kept it.
        known = self._requests.newest_open(self._requests.cached_by_alert(alert.id))
        if known is not None and known.spec.signal_fingerprint and known.spec.target_resource:
            target = known.spec.target_resource
            signal = signal_of(alert, webhook, ResolvedObject(target=target, owner=target), now)
            return msgspec.structs.replace(signal, fingerprint=known.spec.signal_fingerprint)
        return signal_of(alert, webhook, await targets.resolve(named, self._reader), now)

    async def _candidates(self, alert: Alert, webhook: Webhook) -> list[Candidate]:
        named = candidates(alert, webhook, await self._discovery.kinds_by_singular_name())
        if named and named[0].kind.kind != "Namespace":
            return named
        # A label may name a kind that was installed lately. Looking up a kind that does not exist makes discovery
        # fetch again, but not more often than its refresh interval.
        await self._discovery.kind_by_singular_name("alertname")
        return candidates(alert, webhook, await self._discovery.kinds_by_singular_name())
