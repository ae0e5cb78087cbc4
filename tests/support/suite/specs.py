"""What a spec of the suite says: given objects, when a signal is raised, then its status and its audit trail."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

import pytest_muster as muster
from kubernaut.api.events import StoredEvent
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import EventType, Phase
from kubernaut.kube.client import Client
from kubernaut.kube.objects import Key, key_of
from kubernaut.signalprocessing.kinds import SIGNAL
from support.signalprocessing import Cluster, Store
from support.signals import a_namespace, an_object
from support.suite.objects import Manifest
from support.suite.polling import TIMEOUT, eventually
from support.suite.worker import SuiteController

LAST_EVENT = EventType.SIGNAL_PROCESSED


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The world of one spec. Names are made for it alone, so that no two specs and no two runs ever meet."""

    cluster: Cluster
    controller: SuiteController | None
    """None: the spec opens a controller of its own."""
    store: Store
    workspace: muster.Workspace
    raised: list[Key] = field(default_factory=list)
    """The signals of this spec."""
    correlations: list[str] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return self.cluster.client

    @property
    def home(self) -> str:
        """The namespace of the signals."""
        return self.cluster.home

    def name(self, stem: str) -> str:
        """A name that nobody else gets."""
        return self.workspace.name(stem, max_length=50)

    async def namespace(self, stem: str = "shop", environment: str = "", **labels: str) -> str:
        """A namespace of this spec; `team="x"` stands for the label `kubernaut.ai/team`."""
        name = self.name(stem)
        full = {f"kubernaut.ai/{key.replace('_', '-')}": value for key, value in labels.items()}
        await self.create(a_namespace(name, environment, **full))
        return name

    async def create(self, *manifests: Manifest) -> list[Manifest]:
        """Create objects, and go on when the controller has seen them."""
        created = await self.cluster.create(*manifests)
        if self.controller:
            for manifest in created:
                await self.controller.observe(manifest)
        return created

    async def delete(self, kind: str, where: Key) -> None:
        """Delete an object, and go on when the controller has seen it go."""
        await self.cluster.delete(kind, where)
        if self.controller:
            await self.controller.observe_deletion(kind, where)

    async def request(self, stem: str = "test-rr", *, severity: str = "critical", **status: Any) -> Manifest:
        """A RemediationRequest, the parent of a signal; its name is the correlation id of the audit trail."""
        spec = {"signalName": "TestSignal", "severity": severity, "signalType": "prometheus"}
        spec |= {"signalSource": "test-adapter", "targetType": "kubernetes"}
        labels = {"kubernaut.ai/test": "true"}
        manifest = an_object("RemediationRequest", self.name(stem), self.home, labels=labels, spec=spec)
        return (await self.create(manifest | ({"status": status} if status else {})))[0]

    async def signal(
        self,
        severity: str = "critical",
        *,
        target: tuple[str, str, str],
        parent: Manifest | None = None,
        **fields: Any,
    ) -> Key:
        """Raise a signal about `kind, name, namespace`; without a parent it gets one. `fields` are of `spec.signal`."""
        parent = parent or await self.request(severity=severity)
        manifest = self.manifest(severity, target=target, parent=parent, **fields)
        await self.client.create(SIGNAL, manifest)
        self.raised.append(self.key(manifest))
        self.correlations.append(parent["metadata"]["name"])
        return self.raised[-1]

    def manifest(
        self,
        severity: str,
        *,
        target: tuple[str, str, str],
        parent: Manifest,
        spec: Manifest | None = None,
        **fields: Any,
    ) -> Manifest:
        """The object that is created for a signal; a field that is None is left out. `spec` stands beside `signal`."""
        kind, name, namespace = target
        signal = {
            "fingerprint": hashlib.sha256(self.name("fingerprint").encode()).hexdigest(),
            "name": "TestSignal",
            "severity": severity,
            "type": "prometheus",
            "source": "test-adapter",
            "targetType": "kubernetes",
            "targetResource": {"kind": kind, "name": name} | ({"namespace": namespace} if namespace else {}),
            "receivedTime": "2025-12-15T12:00:00Z",
        }
        metadata = parent["metadata"]
        reference = {"apiVersion": parent["apiVersion"], "kind": parent["kind"], "name": metadata["name"]}
        reference |= {"namespace": self.home} | ({"uid": metadata["uid"]} if "uid" in metadata else {})
        labels = {"kubernaut.ai/remediation-request": metadata["name"], "kubernaut.ai/component": "signal-processing"}
        signal = {key: value for key, value in (signal | fields).items() if value is not None}
        own = {"name": self.name("test-signal"), "namespace": self.home, "labels": labels}
        return {
            "apiVersion": SIGNAL.api_version,
            "kind": SIGNAL.kind,
            "metadata": own,
            "spec": {"remediationRequestRef": reference, "signal": signal, **(spec or {})},
        }

    def key(self, manifest: Manifest) -> Key:
        """The key of an object."""
        return Key(manifest["metadata"]["namespace"], manifest["metadata"]["name"])

    async def final(self, key: Key) -> SignalProcessing:
        """The signal once it is Completed or Failed, with its completion time."""
        return await self.cluster.final(key, timeout=TIMEOUT)

    async def completed(self, severity: str = "critical", **signal: Any) -> SignalProcessing:
        """Raise a signal and wait until it is Completed."""
        done = await self.final(await self.signal(severity, **signal))
        assert done.status.phase is Phase.COMPLETED, done.status.failure_info
        return done

    async def all_completed(self, keys: list[Key]) -> list[SignalProcessing]:
        """Wait until all are Completed."""
        done = await asyncio.gather(*(self.final(key) for key in keys))
        assert {each.status.phase for each in done} == {Phase.COMPLETED}
        return list(done)

    async def trail(self, signal: SignalProcessing) -> list[StoredEvent]:
        """Every audit event of a signal that has ended, in causal order; nothing comes after them."""
        correlation = signal.spec.remediation_request_ref.name

        async def complete() -> list[StoredEvent]:
            found = (await self.store.client.timeline(correlation)).events
            types = [event.event_type for event in found]
            assert LAST_EVENT in types, f"DataStorage has no {LAST_EVENT} within {TIMEOUT:g} s, only {types}"
            return found

        events = await eventually(complete, timeout=TIMEOUT)
        strangers = {payload(event).get("signalprocessing_name") for event in events} - {signal.metadata.name}
        assert not strangers, f"correlation id {correlation!r} is already used by {sorted(map(str, strangers))}"
        return events

    async def audited(self, signal: SignalProcessing, event_type: EventType, count: int = 1) -> list[StoredEvent]:
        """Exactly `count` events of a type, found as an auditor does: by type, category and correlation id."""
        trail = await self.trail(signal)
        page = await self.store.client.query(
            {
                "correlation_id": signal.spec.remediation_request_ref.name,
                "event_type": event_type,
                "event_category": "signalprocessing",
            }
        )
        assert page.pagination.total == len(page.data) == count, [event.event_type for event in trail]
        for event in page.data:
            assert (event.actor_type, event.actor_id) == ("service", "signalprocessing-controller")
            assert event.version == "1.0"
        return page.data

    async def kubernetes_events(self, signal: SignalProcessing) -> list[Manifest]:
        """The Kubernetes Events about a signal, oldest first."""
        return await self.cluster.events_about(key_of(signal))


def payload(event: StoredEvent) -> Manifest:
    """What an audit event says."""
    return msgspec.json.decode(event.event_data)


def environment(signal: SignalProcessing) -> tuple[str, str]:
    """The environment and its source."""
    found = signal.status.environment_classification
    assert found is not None
    return str(found.environment), found.source


def priority(signal: SignalProcessing) -> tuple[str, str]:
    """The priority and its source."""
    found = signal.status.priority_assignment
    assert found is not None
    return str(found.priority), found.source


def owners(signal: SignalProcessing) -> list[tuple[str, str]]:
    """Kind and name of each owner, nearest first."""
    context = signal.status.kubernetes_context
    assert context is not None
    return [(owner.kind, owner.name) for owner in context.owner_chain]


def custom_labels(signal: SignalProcessing) -> dict[str, list[str]]:
    context = signal.status.kubernetes_context
    assert context is not None
    return context.custom_labels
