"""The facts about a signal's target: its namespace, itself, who owns it, and what can be told from that.

What is gone or may not be read makes the context degraded; it never fails the signal. Only an API server that does not
answer raises, because asking again helps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from kubernaut.api.meta import ObjectMeta, OwnerReference
from kubernaut.api.signals import (
    KubernetesContext,
    NamespaceContext,
    OwnerChainEntry,
    ParentReference,
    RecoveryContext,
    Signal,
    WorkloadContext,
)
from kubernaut.api.vocabulary import TargetType
from kubernaut.kube.errors import Forbidden, Unauthorized
from kubernaut.kube.objects import Key, Kind
from kubernaut.signalprocessing import redaction
from kubernaut.signalprocessing.detection import Observed, detected_labels
from kubernaut.signalprocessing.kinds import NAMESPACE, REMEDIATION

MAX_DEPTH = 5
"""Hops of an owner chain."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Names an object; without an API version the kind's name decides alone."""

    kind: str
    name: str
    namespace: str = ""
    api_version: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object as far as enrichment reads it."""

    kind: str
    api_version: str
    metadata: ObjectMeta
    pod_labels: dict[str, str] = field(default_factory=dict)
    """Labels of the pods that it is, or makes."""
    is_namespaced: bool = True
    is_deleted: bool = False
    """It is gone; this is what was last known of it."""


class Reader(Protocol):
    """Where facts come from: the caches of a cluster, or a folder of manifests."""

    async def find(self, wanted: Reference) -> Found | None:
        """The object, or what was last known of it. Raises KubeError when that could not be found out."""
        ...

    async def get(self, kind: Kind[T], key: Key) -> T | None:
        """An object of a kind we know."""
        ...

    async def members(self, kind: Kind[T], namespace: str) -> Sequence[T]:
        """All objects of a kind in a namespace."""
        ...


@dataclass(frozen=True, kw_only=True)
class Enriched:
    """What was found out, and why that is not all."""

    context: KubernetesContext
    recovery: RecoveryContext | None = None
    gaps: tuple[str, ...] = ()
    """Why the context is degraded, in words; empty when it is not."""


async def enriched(reader: Reader, signal: Signal, parent: ParentReference, namespace: str) -> Enriched:
    """Everything about the signal's target and its remediation; `namespace` is that of the signal."""
    context, gaps = await context_of(reader, signal)
    recovery = await recovery_of(reader, parent, namespace)
    return Enriched(context=context, recovery=recovery, gaps=tuple(gaps))


async def context_of(reader: Reader, signal: Signal) -> tuple[KubernetesContext, list[str]]:
    """The context of a target, and what is missing in it."""
    if signal.cluster_id:
        # Objects of the same name here are other objects.
        gap = f"no reader for cluster {signal.cluster_id}"
        return KubernetesContext(cluster_id=signal.cluster_id, degraded_mode=True), [gap]
    if signal.target_type is not TargetType.KUBERNETES:
        return KubernetesContext(degraded_mode=True), [f"target type {signal.target_type} is not supported"]
    wanted = signal.target_resource
    gaps: list[str] = []
    reference = Reference(kind=wanted.kind, name=wanted.name, namespace=wanted.namespace)
    target = await _find(reader, reference, gaps)
    home = _home_of(reference, target)
    namespace = await _namespace(reader, home, gaps) if home else None
    chain, owners = await _owners(reader, target, home) if target else ([], [])
    labels = None
    if home:
        labels = await detected_labels(reader, Observed(namespace=namespace, target=target, chain=chain, owners=owners))
    context = KubernetesContext(
        namespace=_namespace_context(home, namespace) if home else None,
        workload=_workload_context(target) if target else None,
        owner_chain=chain,
        detected_labels=labels,
        degraded_mode=bool(gaps),
    )
    return context, gaps


async def recovery_of(reader: Reader, parent: ParentReference, namespace: str) -> RecoveryContext | None:
    """What earlier attempts came to; None for a first attempt, and where the remediation cannot be read."""
    key = Key(parent.namespace or namespace, parent.name)
    try:
        remediation = await reader.get(REMEDIATION, key)
    except (Forbidden, Unauthorized):
        return None
    if remediation is None or not remediation.status.recovery_attempts:
        return None
    began = remediation.status.start_time
    return RecoveryContext(
        previous_remediation_id=remediation.metadata.name,
        attempt_count=remediation.status.recovery_attempts,
        last_failure_reason=redaction.text(remediation.status.failure_reason),
        time_since_first_failure=duration(datetime.now(UTC) - began) if began else "",
    )


def duration(span: timedelta) -> str:
    """`1h2m3s`, as Kubernetes writes durations."""
    seconds = max(0, round(span.total_seconds()))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if hours or minutes else "", f"{seconds % 60}s"]
    return "".join(parts)


async def _find(reader: Reader, reference: Reference, gaps: list[str]) -> Found | None:
    try:
        found = await reader.find(reference)
    except (Forbidden, Unauthorized):
        gaps.append(f"access to {reference.kind} was denied")
        return None
    if found is None:
        gaps.append(f"{reference.kind} not found")
    elif found.is_deleted:
        gaps.append(f"{reference.kind} was deleted")
    return found


def _home_of(reference: Reference, target: Found | None) -> str:
    """The namespace whose labels speak for the target."""
    if target is not None and not target.is_namespaced:
        return target.metadata.name if target.kind == NAMESPACE.kind else ""
    return reference.namespace


async def _namespace(reader: Reader, name: str, gaps: list[str]) -> Found | None:
    return await _find(reader, Reference(kind=NAMESPACE.kind, name=name, api_version=NAMESPACE.api_version), gaps)


def _namespace_context(name: str, found: Found | None) -> NamespaceContext:
    metadata = found.metadata if found else ObjectMeta()
    return NamespaceContext(
        name=name,
        labels=redaction.labels(metadata.labels),
        annotations=redaction.annotations(metadata.annotations),
    )


def _workload_context(found: Found) -> WorkloadContext:
    return WorkloadContext(
        kind=found.kind,
        name=found.metadata.name,
        labels=redaction.labels(found.metadata.labels),
        annotations=redaction.annotations(found.metadata.annotations),
    )


async def _owners(reader: Reader, start: Found, namespace: str) -> tuple[list[OwnerChainEntry], list[Found]]:
    """The owners, nearest first, as entries and as objects; an owner that cannot be read ends the walk."""
    entries: list[OwnerChainEntry] = []
    owners: list[Found] = []
    current: Found | None = start
    visited = {(start.kind, start.metadata.name)}
    while current is not None and len(entries) < MAX_DEPTH:
        owner = next((owner for owner in current.metadata.owner_references if owner.controller), None)
        if owner is None or (owner.kind, owner.name) in visited:
            break
        visited.add((owner.kind, owner.name))
        current, note = await _owner(reader, owner, namespace)
        is_namespaced = current.is_namespaced if current else owner.kind not in _CLUSTER_SCOPED
        entries.append(
            OwnerChainEntry(
                kind=owner.kind,
                name=owner.name,
                namespace=namespace if is_namespaced else "",
                api_version=owner.api_version,
                note=note,
            )
        )
        if current:
            owners.append(current)
    return entries, owners


_CLUSTER_SCOPED = frozenset({"Node", "PersistentVolume", "Namespace", "ClusterRole", "ClusterRoleBinding"})
"""Kinds whose scope is known when the object cannot be read."""


async def _owner(reader: Reader, owner: OwnerReference, namespace: str) -> tuple[Found | None, str]:
    reference = Reference(kind=owner.kind, name=owner.name, namespace=namespace, api_version=owner.api_version)
    try:
        found = await reader.find(reference)
    except (Forbidden, Unauthorized):
        return None, "access was denied"
    if found is None:
        return None, "not found"
    if owner.uid and found.metadata.uid and owner.uid != found.metadata.uid:
        return None, "another object of this name"
    return found, "deleted" if found.is_deleted else ""
