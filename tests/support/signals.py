"""Builders of signals and of what they are about."""

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from kubernaut.api.meta import ObjectMeta
from kubernaut.api.signals import (
    KubernetesContext,
    NamespaceContext,
    ParentReference,
    Signal,
    SignalProcessing,
    SignalSpec,
    SignalStatus,
    Target,
    WorkloadContext,
)
from kubernaut.api.vocabulary import TargetType

_numbers = itertools.count(1)

EARLY = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def a_signal(
    severity: str = "critical",
    *,
    kind: str = "Pod",
    target: str = "api-7d-x",
    at: str = "shop",
    name: str = "HighMemoryUsage",
    namespace: str = "kubernaut-system",
    status: SignalStatus | None = None,
    times_out_at: datetime | None = None,
    parent: str = "",
    **more: Any,
) -> SignalProcessing:
    """A signal about `kind` `target` in namespace `at`; `more` are fields of `spec.signal`."""
    number = next(_numbers)
    spec = SignalSpec(
        remediation_request_ref=ParentReference(name=parent or f"rr-{number}", namespace=namespace),
        signal=Signal(
            fingerprint=f"{number:064x}",
            name=name,
            severity=severity,
            type="alert",
            source="prometheus",
            target_type=more.pop("target_type", TargetType.KUBERNETES),
            target_resource=Target(kind=kind, name=target, namespace=at),
            received_time=EARLY,
            **more,
        ),
        times_out_at=times_out_at,
    )
    metadata = ObjectMeta(
        name=f"sp-{spec.remediation_request_ref.name}",
        namespace=namespace,
        uid=str(uuid.uuid4()),
        resource_version="1",
        generation=1,
        creation_timestamp=EARLY,
    )
    return SignalProcessing(spec=spec, metadata=metadata, status=status or SignalStatus())


def as_manifest(signal: SignalProcessing) -> dict[str, Any]:
    """What is sent to create the signal."""
    metadata = {"name": signal.metadata.name, "namespace": signal.metadata.namespace}
    head = {"apiVersion": signal.api_version, "kind": signal.kind}
    return head | {"metadata": metadata, "spec": msgspec.to_builtins(signal.spec)}


def a_context(
    environment: str = "production", *, namespace: str = "shop", labels: dict[str, str] | None = None
) -> KubernetesContext:
    """A pod in a namespace that says its environment, or does not when that is empty."""
    own = {"kubernaut.ai/environment": environment} if environment else {}
    return KubernetesContext(
        namespace=NamespaceContext(name=namespace, labels=own | (labels or {})),
        workload=WorkloadContext(kind="Pod", name="api-7d-x", labels={"app": "api"}),
    )


def a_namespace(name: str, environment: str = "", **labels: str) -> dict[str, Any]:
    own = {"kubernaut.ai/environment": environment} if environment else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": own | labels}}


def an_object(
    kind: str,
    name: str,
    namespace: str = "shop",
    *,
    api_version: str = "",
    owner: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    spec: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A manifest; the API version of well-known kinds is filled in."""
    metadata: dict[str, Any] = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    if namespace:
        metadata["namespace"] = namespace
    if owner:
        metadata["ownerReferences"] = [owner]
    manifest: dict[str, Any] = {"apiVersion": api_version or _VERSIONS.get(kind, "v1"), "kind": kind}
    return manifest | {"metadata": metadata} | ({"spec": spec} if spec is not None else {})


def owned_by(manifest: dict[str, Any], *, controller: bool = True) -> dict[str, Any]:
    """The owner reference that names an object."""
    metadata = manifest["metadata"]
    uid = metadata.get("uid", "")
    reference = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "name": metadata["name"]}
    return reference | {"uid": uid, "controller": controller}


_VERSIONS = {
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Ingress": "networking.k8s.io/v1",
    "RemediationRequest": "kubernaut.ai/v1alpha1",
}
