"""Signals that were decided and recorded, for tests and benchmarks of what reads the record."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from kubernaut.api.events import AuditEvent
from kubernaut.api.signals import ParentReference, SignalProcessing, SignalSpec
from kubernaut.signalprocessing import offline
from kubernaut.signalprocessing.audit_events import events_of
from kubernaut.signalprocessing.policy import smoke
from kubernaut.signalprocessing.policy.live import PolicyVersion


async def decided_signals(policy: PolicyVersion) -> list[SignalProcessing]:
    """A decided signal for each representative one, whose namespace and workload stand in a folder of manifests."""
    signals = []
    for number, each in enumerate(smoke.representative_inputs()):
        manifests = offline.Manifests()
        context = each.context
        if context.namespace:
            metadata = {"name": context.namespace.name, "labels": context.namespace.labels}
            manifests.add({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        target = msgspec.structs.replace(
            each.signal.target_resource, namespace=context.namespace.name if context.namespace else ""
        )
        parent = ParentReference(name=f"rr-{number}")
        spec = SignalSpec(
            remediation_request_ref=parent, signal=msgspec.structs.replace(each.signal, target_resource=target)
        )
        signals.append(await offline.process(SignalProcessing(spec=spec), manifests, policy))
    return signals


def events(signals: Sequence[SignalProcessing]) -> list[AuditEvent]:
    return [event for signal in signals for event in events_of(signal)]


def write_events(path: Path, recorded: Sequence[AuditEvent]) -> None:
    """One event a line."""
    path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in recorded))
