"""A reconciler whose API server, policy and audit store are in memory."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from prometheus_client import CollectorRegistry

from kubernaut.api.events import AuditEvent
from kubernaut.api.signals import FINALIZER, SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Environment
from kubernaut.audit.errors import SpoolFull
from kubernaut.kube.errors import ApiServerUnreachable, Conflict, NotFound
from kubernaut.kube.objects import Key, key_of
from kubernaut.signalprocessing.config import OnPolicyError, RecordedEvents
from kubernaut.signalprocessing.environment_mapping import EnvironmentMapping
from kubernaut.signalprocessing.kubernetes_events import EventPublisher, KubernetesEvent
from kubernaut.signalprocessing.metrics import DecisionMetrics, ProcessingMetrics
from kubernaut.signalprocessing.offline import Manifests
from kubernaut.signalprocessing.phases import Dependencies, Phases
from kubernaut.signalprocessing.policy import decision
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.protocol import Evaluation, RuleError
from kubernaut.signalprocessing.reader import ObjectReference, ResolvedObject
from kubernaut.signalprocessing.reconciler import Reconciler
from kubernaut.signalprocessing.signal_mode import SignalModeMapping
from support.signals import a_namespace, an_object

RESULTS = {
    "environment": [{"environment": "Production", "source": "namespace-labels"}],
    "severity": ["critical"],
    "priority": [{"priority": "P0", "policy_name": "mine"}],
}


class FakePolicy:
    """A policy that always answers the same."""

    def __init__(self, **errors: RuleError) -> None:
        self.errors = errors

    async def decide(self, policy_input: PolicyInput) -> decision.Decision:
        results = {rule: result for rule, result in RESULTS.items() if rule not in self.errors}
        return decision.decide(Evaluation(results=results, errors=self.errors), policy_input, "ab" * 32)


class FakeApi:
    """Signals that are stored as an API server stores them: newest version only, status merged."""

    def __init__(self, *signals: SignalProcessing) -> None:
        self.stored = {key_of(signal): signal for signal in signals}
        self.cached = dict(self.stored)
        self.writes = 0
        self.errors: list[Exception] = []

    def get_cached(self, key: Key) -> SignalProcessing | None:
        return self.cached.get(key)

    async def get(self, key: Key) -> SignalProcessing:
        if key not in self.stored:
            raise NotFound(str(key))
        self.cached[key] = self.stored[key]
        return self.stored[key]

    async def patch_status(self, signal: SignalProcessing, patch: dict[str, Any]) -> SignalProcessing:
        if self.errors:
            raise self.errors.pop(0)
        key = key_of(signal)
        if key not in self.stored:
            raise NotFound(str(key))
        current = self.stored[key]
        if current.metadata.resource_version != signal.metadata.resource_version:
            raise Conflict("somebody else wrote first")
        self.writes += 1
        status = _merged(msgspec.to_builtins(current.status), patch)
        self.put(key, msgspec.convert(status, SignalStatus))
        self.cached[key] = self.stored[key]
        return self.stored[key]

    async def add_finalizer(self, signal: SignalProcessing) -> None:
        self.put_metadata(signal, finalizers=[*signal.metadata.finalizers, FINALIZER])

    async def remove_finalizer(self, signal: SignalProcessing) -> None:
        key = key_of(signal)
        if self.stored[key].metadata.resource_version != signal.metadata.resource_version:
            raise Conflict("somebody else wrote first")
        del self.stored[key]

    def put_metadata(self, signal: SignalProcessing, **changes: Any) -> None:
        """Change metadata, as a finalizer or a deletion does."""
        self.put(key_of(signal), signal.status)
        stored = self.stored[key_of(signal)]
        metadata = msgspec.structs.replace(stored.metadata, **changes)
        self.cached[key_of(signal)] = self.stored[key_of(signal)] = msgspec.structs.replace(stored, metadata=metadata)

    def put(self, key: Key, status: SignalStatus) -> None:
        """What another writer does."""
        signal = self.stored[key]
        version = str(int(signal.metadata.resource_version) + 1)
        metadata = msgspec.structs.replace(signal.metadata, resource_version=version)
        self.stored[key] = msgspec.structs.replace(signal, metadata=metadata, status=status)


def _merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            inner = target.get(key)
            target[key] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            target[key] = value
    return target


class FakeRecorder:
    """Audit events in memory."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.is_full = False
        self.unacknowledged: set[UUID] = set()

    def is_acknowledged(self, event_ids: Iterable[UUID]) -> bool:
        return self.unacknowledged.isdisjoint(event_ids)

    def record(self, events: Iterable[AuditEvent]) -> None:
        if self.is_full:
            raise SpoolFull("full")
        self.events += events


class Unanswering(Manifests):
    """A cluster that does not answer for a while."""

    failures = 0

    async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
        if self.failures:
            self.failures -= 1
            raise ApiServerUnreachable("GET pods: no answer, token=abc123")
        return await super().resolve(reference)


class Harness:
    """A reconciler and its dependencies."""

    def __init__(
        self,
        signal: SignalProcessing,
        policy: FakePolicy | None = None,
        *,
        on_policy_error: OnPolicyError = OnPolicyError.FALLBACK,
        events: RecordedEvents = RecordedEvents.OUTCOME,
        adds_finalizer: bool = False,
    ) -> None:
        self.key = key_of(signal)
        self.signals = FakeApi(signal)
        self.cluster = Unanswering()
        self.cluster.add(a_namespace("shop", "production"))
        self.cluster.add(an_object("Pod", "api-7d-x"))
        self.audit = FakeRecorder()
        self.events: list[KubernetesEvent] = []
        self.now = datetime.now(UTC)
        self.registry = CollectorRegistry()
        metrics = ProcessingMetrics(self.registry)
        dependencies = Dependencies(
            reader=self.cluster,
            policy=policy or FakePolicy(),
            environments=lambda: EnvironmentMapping(exact={"shop": Environment.STAGING}),
            signal_modes=lambda: SignalModeMapping({"PredictedOOMKill": "OOMKilled"}),
        )
        self.phases = Phases(dependencies, on_policy_error=on_policy_error, clock=self.tick)
        self.reconciler = Reconciler(
            self.signals,
            self.phases,
            self.audit,
            EventPublisher(lambda _, event: self.events.append(event), events),
            metrics,
            decisions=DecisionMetrics(self.registry),
            adds_finalizer=adds_finalizer,
        )

    def tick(self) -> datetime:
        self.now += timedelta(microseconds=137)
        return self.now

    async def reconcile(self) -> Any:
        return await self.reconciler.reconcile(self.key)

    @property
    def status(self) -> SignalStatus:
        return self.signals.stored[self.key].status

    @property
    def reasons(self) -> list[str]:
        return [event.reason.value for event in self.events]

    @property
    def actions(self) -> list[str]:
        return [event.event_type.removeprefix("signalprocessing.") for event in self.audit.events]
