"""Maps alerts to signals, with the help of the cluster."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from kubernaut.api.remediation import RemediationRequest
from kubernaut.gateway import kubernetes_events, requests, targets
from kubernaut.gateway.alertmanager import MAX_NAME_LENGTH, Alert, Webhook, signal_of
from kubernaut.gateway.config import ClusterConfig, IntakeConfig
from kubernaut.gateway.folding import fold_key
from kubernaut.gateway.kubernetes_events import CoreEvent
from kubernaut.gateway.labels import Subject, subject_of, with_defaults
from kubernaut.gateway.mapped_alert import MappedAlert, NoTarget
from kubernaut.gateway.targets import ObjectReader, ResolvedObject
from kubernaut.kube.objects import Key

OBJECT_TTL = 60.0  # seconds
MAX_OBJECTS = 1000


class KnownRequests(Protocol):
    """The requests that there are: those of a cluster, or none."""

    def cached_by_alert(self, alert_id: str) -> list[RemediationRequest]:
        """Those on which an alert fires."""


class SignalMapper:
    """Maps alerts to signals. Raises a `KubeError` when the API server is unreachable."""

    def __init__(
        self, reader: ObjectReader, requests: KnownRequests, cluster: ClusterConfig, config: IntakeConfig
    ) -> None:
        self._reader = reader
        self._requests = requests
        self._cluster = cluster
        self._labels = with_defaults(config.labels)
        self._fold_by = config.fold_by
        self._objects: dict[Key, tuple[float, bool]] = {}

    async def map(self, alert: Alert, webhook: Webhook) -> MappedAlert | NoTarget:
        """The signal of an alert, or why no label names a target."""
        subject, cluster = await self._subject(alert.labels)
        if self._cluster.is_local(cluster):
            resolved = await targets.resolve(subject, self._reader)
        else:
            resolved = targets.resolve_elsewhere(subject)
        if resolved is None:
            return NoTarget(targets.rejection_of(subject))
        return self._mapped(alert, webhook, resolved, cluster)

    async def map_event(self, event: CoreEvent, alert: Alert) -> MappedAlert | NoTarget:
        """The signal of a Kubernetes Event, and of the alert that it is, or why it names no object."""
        subject = kubernetes_events.subject_of(event)
        resolved = await targets.resolve(subject, self._reader)
        if resolved is None:
            return NoTarget(targets.rejection_of(subject))
        mapped = self._mapped(alert, Webhook(alerts=[alert]), resolved, "")
        return replace(mapped, signal=msgspec.structs.replace(mapped.signal, source=kubernetes_events.SOURCE))

    def _mapped(self, alert: Alert, webhook: Webhook, resolved: ResolvedObject, cluster: str) -> MappedAlert:
        now = datetime.now(UTC)
        # The target may be deleted by the time the alert repeats or is resolved; the request has kept its owner.
        known = requests.newest(self._requests.cached_by_alert(alert.id))
        if known is not None and known.spec.signal_fingerprint and known.spec.target_resource:
            resolved = ResolvedObject(target=resolved.target, owner=known.spec.target_resource, notes=resolved.notes)
            signal = signal_of(alert, webhook, resolved, now, cluster)
            signal = msgspec.structs.replace(signal, fingerprint=known.spec.signal_fingerprint)
            return MappedAlert(
                signal=signal, owner=resolved.owner, fold_key=requests.fold_key_of(known), notes=resolved.notes
            )
        key = fold_key(alert, resolved.owner, cluster, self._fold_by)
        signal = signal_of(alert, webhook, resolved, now, cluster)
        return MappedAlert(signal=signal, owner=resolved.owner, fold_key=key, notes=resolved.notes)

    async def _subject(self, labels: Mapping[str, str]) -> tuple[Subject, str]:
        """What the labels name, and the cluster that the alert is from."""
        label = self._cluster.label
        subject = subject_of(labels, self._labels, label)
        cluster = labels.get(label, "").strip()[:MAX_NAME_LENGTH] if label else ""
        if cluster and await self._names_an_object(label, Key(subject.namespace, cluster)):
            return subject_of(labels, self._labels), ""
        return subject, cluster

    async def _names_an_object(self, label: str, key: Key) -> bool:
        """Whether the label of the cluster names an object, such as a database cluster.

        Nearly every alert has that label, so the answer is kept for a while.
        """
        expires_at, known = self._objects.get(key, (0.0, False))
        if time.monotonic() < expires_at:
            return known
        found = await targets.exists(label, key, self._reader)
        self._objects[key] = (time.monotonic() + OBJECT_TTL, found)
        while len(self._objects) > MAX_OBJECTS:
            del self._objects[next(iter(self._objects))]
        return found
