"""The facts about a signal's target: its namespace, itself, its owners, and what can be detected from those.

An object that is missing or may not be read makes the context degraded; it never fails the signal. Only an API server
that does not answer raises, because a retry can help.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from kubernaut.api.meta import ObjectMeta, OwnerReference
from kubernaut.api.signals import (
    KubernetesContext,
    NamespaceContext,
    OwnerChainEntry,
    ParentReference,
    RecoveryContext,
    Signal,
    SignalProcessing,
    WorkloadContext,
)
from kubernaut.api.vocabulary import Label, TargetType
from kubernaut.kube.errors import ApiServerUnreachable, Forbidden, KubeError, TimedOut, Unauthorized
from kubernaut.kube.objects import Key
from kubernaut.kube.owners import ObservedOwner, owner_chain
from kubernaut.ops import redaction
from kubernaut.signalprocessing.detection import DetectionInput, detect_labels
from kubernaut.signalprocessing.kinds import NAMESPACE, REMEDIATION
from kubernaut.signalprocessing.reader import ObjectReference, Reader, ResolvedObject

MAX_FAILURES = 3
"""Attempts after which an object that the API server cannot read, such as one whose conversion webhook is down, is left
out; the context is degraded then."""

READ_TIMEOUT = 2.0  # seconds
"""For one object in the attempts after that."""


class EnrichmentError(StrEnum):
    """Why facts are missing; `error_type` of the metric."""

    NOT_FOUND = "not_found"
    INCOMPLETE = "incomplete"
    API_ERROR = "api_error"


@dataclass(frozen=True, kw_only=True)
class DegradedReason:
    """One reason why a context is degraded."""

    error: EnrichmentError
    message: str


@dataclass(frozen=True, kw_only=True)
class EnrichmentResult:
    """The facts about a signal, and why some are missing."""

    context: KubernetesContext
    recovery: RecoveryContext | None = None
    degraded_reasons: tuple[DegradedReason, ...] = ()
    """Empty when the context is complete."""


async def enrich(reader: Reader, signal: SignalProcessing, cluster: str = "") -> EnrichmentResult:
    """Everything about the signal's target and its remediation; `cluster` is the name of the cluster that is read."""
    spec = signal.spec
    failure = signal.status.failure_info
    if failure is not None and failure.consecutive_failures >= MAX_FAILURES:
        reader = _LenientReader(reader)
    context, reasons = await context_of(reader, spec.signal, cluster)
    note = signal.metadata.annotations.get(Label.TARGET_NOTE, "")
    if note:
        reasons = [*reasons, _incomplete(redaction.redact(note))]
        context = msgspec.structs.replace(context, degraded_mode=True)
    recovery = await recovery_of(reader, spec.remediation_request_ref, signal.metadata.namespace)
    return EnrichmentResult(context=context, recovery=recovery, degraded_reasons=tuple(reasons))


async def context_of(
    reader: Reader, signal: Signal, cluster: str = ""
) -> tuple[KubernetesContext, list[DegradedReason]]:
    """The context of a target, and why it is degraded."""
    if cluster and signal.cluster_id not in ("", cluster):
        # Objects of the same name here are other objects.
        reason = _incomplete(f"the alert is from cluster {signal.cluster_id}, and this is cluster {cluster}")
        return KubernetesContext(cluster_id=signal.cluster_id, degraded_mode=True), [reason]
    if signal.target_type is not TargetType.KUBERNETES:
        reason = _incomplete(f"target type {signal.target_type} is not supported")
        return KubernetesContext(degraded_mode=True), [reason]
    wanted = signal.target_resource
    reasons: list[DegradedReason] = []
    reference = ObjectReference(
        kind=wanted.kind, name=wanted.name, namespace=wanted.namespace, api_version=wanted.api_version
    )
    target = await _resolve(reader, reference, reasons)
    namespace_name = _namespace_of(reference, target)
    namespace = await _resolve_namespace(reader, namespace_name, reasons) if namespace_name else None
    owner_chain, owners = await _owner_chain(reader, target, reasons) if target else ([], [])
    labels = None
    if namespace_name:
        inputs = DetectionInput(namespace=namespace, target=target, owner_chain=owner_chain, owners=owners)
        labels = await detect_labels(reader, inputs)
    context = KubernetesContext(
        namespace=_namespace_context(namespace_name, namespace) if namespace_name else None,
        workload=_workload_context(target) if target else None,
        owner_chain=owner_chain,
        detected_labels=labels,
        degraded_mode=bool(reasons),
    )
    return context, reasons


async def recovery_of(reader: Reader, parent: ParentReference, namespace: str) -> RecoveryContext | None:
    """What earlier attempts came to; None for a first attempt, and where the remediation cannot be read."""
    key = Key(parent.namespace or namespace, parent.name)
    try:
        remediation = await reader.get(REMEDIATION, key)
    except (Forbidden, Unauthorized):
        return None
    if remediation is None or not remediation.status.recovery_attempts:
        return None
    start = remediation.status.start_time
    return RecoveryContext(
        previous_remediation_id=remediation.metadata.name,
        attempt_count=remediation.status.recovery_attempts,
        last_failure_reason=redaction.redact(remediation.status.failure_reason),
        time_since_first_failure=format_duration(datetime.now(UTC) - start) if start else "",
    )


def format_duration(span: timedelta) -> str:
    """`1h2m3s`, as Kubernetes writes durations."""
    seconds = max(0, round(span.total_seconds()))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if hours or minutes else "", f"{seconds % 60}s"]
    return "".join(parts)


class _Unreadable(KubeError):
    """The API server failed to read one object, again and again."""


class _LenientReader:
    """A reader that gives up on an object; only an API server that accepts no connection raises as before."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.get = reader.get
        self.list = reader.list

    async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return await self._reader.resolve(reference)
        except (Forbidden, Unauthorized):
            raise
        except (KubeError, TimeoutError) as error:
            if isinstance(error, ApiServerUnreachable) and not isinstance(error, TimedOut):
                raise
            raise _Unreadable(str(error) or f"no answer within {READ_TIMEOUT:g} s") from error


def _incomplete(message: str) -> DegradedReason:
    return DegradedReason(error=EnrichmentError.INCOMPLETE, message=message)


async def _resolve(reader: Reader, reference: ObjectReference, reasons: list[DegradedReason]) -> ResolvedObject | None:
    try:
        obj = await reader.resolve(reference)
    except (Forbidden, Unauthorized):
        reasons.append(_incomplete(f"access to {reference.kind} was denied"))
        return None
    except _Unreadable as error:
        reasons.append(_incomplete(f"{reference.kind} could not be read: {redaction.redact(str(error))}"))
        return None
    if obj is None:
        reasons.append(DegradedReason(error=EnrichmentError.NOT_FOUND, message=f"{reference.kind} not found"))
    elif obj.is_deleted:
        reasons.append(_incomplete(f"{reference.kind} was deleted"))
    return obj


def _namespace_of(reference: ObjectReference, target: ResolvedObject | None) -> str:
    """The namespace whose labels apply to the target."""
    if target is not None and not target.is_namespaced:
        return target.metadata.name if target.kind == NAMESPACE.kind else ""
    return reference.namespace


async def _resolve_namespace(reader: Reader, name: str, reasons: list[DegradedReason]) -> ResolvedObject | None:
    reference = ObjectReference(kind=NAMESPACE.kind, name=name, api_version=NAMESPACE.api_version)
    return await _resolve(reader, reference, reasons)


def _namespace_context(name: str, obj: ResolvedObject | None) -> NamespaceContext:
    metadata = obj.metadata if obj else ObjectMeta()
    return NamespaceContext(
        name=name,
        labels=redaction.redact_labels(metadata.labels),
        annotations=redaction.redact_annotations(metadata.annotations),
    )


def _workload_context(obj: ResolvedObject) -> WorkloadContext:
    return WorkloadContext(
        kind=obj.kind,
        name=obj.metadata.name,
        labels=redaction.redact_labels(obj.metadata.labels),
        annotations=redaction.redact_annotations(obj.metadata.annotations),
    )


async def _owner_chain(
    reader: Reader, target: ResolvedObject, reasons: list[DegradedReason]
) -> tuple[list[OwnerChainEntry], list[ResolvedObject]]:
    """The owners, nearest first, as entries and as objects; an owner that cannot be read ends the chain."""

    async def read(reference: OwnerReference, namespace: str) -> ObservedOwner[ResolvedObject]:
        try:
            return await _read_owner(reader, reference, namespace)
        except _Unreadable as error:
            text = redaction.redact(str(error))
            reasons.append(_incomplete(f"owner {reference.kind} could not be read: {text}"))
            return ObservedOwner(namespaced=reference.kind not in _CLUSTER_SCOPED, note="could not be read")

    chain = await owner_chain(target.api_version, target.kind, target, read)
    entries = [
        OwnerChainEntry(
            kind=owner.reference.kind,
            name=owner.reference.name,
            namespace=owner.namespace,
            api_version=owner.reference.api_version,
            note=owner.note,
        )
        for owner in chain
    ]
    return entries, [owner.obj for owner in chain if owner.obj is not None]


_CLUSTER_SCOPED = frozenset({"Node", "PersistentVolume", "Namespace", "ClusterRole", "ClusterRoleBinding"})
"""Kinds whose scope is known when the object cannot be read."""


async def _read_owner(reader: Reader, owner: OwnerReference, namespace: str) -> ObservedOwner[ResolvedObject]:
    reference = ObjectReference(kind=owner.kind, name=owner.name, namespace=namespace, api_version=owner.api_version)
    note, obj = "not found", None
    try:
        obj = await reader.resolve(reference)
    except (Forbidden, Unauthorized):
        note = "access was denied"
    if obj is None:
        return ObservedOwner(namespaced=owner.kind not in _CLUSTER_SCOPED, note=note)
    return ObservedOwner(obj=obj, namespaced=obj.is_namespaced, note="deleted" if obj.is_deleted else "")
