"""Characteristics of a workload that matter to whoever remedies it: GitOps, budgets, autoscaling, mesh and so on.

A list that cannot be read leaves its field false and names it in `failed_detections`; so does every characteristic of
an object that is not there. A false is a "no" only when its field is not named there.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from kubernaut.api.signals import DetectedLabels, OwnerChainEntry
from kubernaut.kube.errors import KubeError
from kubernaut.kube.objects import Kind
from kubernaut.signalprocessing.kinds import (
    HORIZONTAL_POD_AUTOSCALER,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    RESOURCE_QUOTA,
    STATEFUL_SET,
)
from kubernaut.signalprocessing.reader import ResolvedObject

T = TypeVar("T")

_WORKLOAD_FIELDS = ["gitOpsManaged", "pdbProtected", "hpaEnabled", "stateful", "helmManaged", "serviceMesh"]


class Lister(Protocol):
    """Lists the objects of a namespace."""

    async def list(self, kind: Kind[T], namespace: str) -> Sequence[T]: ...


@dataclass(frozen=True, kw_only=True)
class DetectionInput:
    """What enrichment has resolved so far; the objects as they are, before redaction."""

    namespace: ResolvedObject | None
    target: ResolvedObject | None
    owner_chain: list[OwnerChainEntry]
    owners: list[ResolvedObject]

    @property
    def objects(self) -> list[ResolvedObject]:
        """The target and its owners, nearest first."""
        return [self.target, *self.owners] if self.target else []

    @property
    def kinds_and_names(self) -> list[tuple[str, str]]:
        """Of the target and its owners, also of owners that could not be read."""
        target = [(self.target.kind, self.target.metadata.name)] if self.target else []
        return [*target, *((entry.kind, entry.name) for entry in self.owner_chain)]


async def detect_labels(lister: Lister, inputs: DetectionInput) -> DetectedLabels:
    """Everything that can be detected about a namespaced target."""
    failed: list[str] = []

    async def detect(field: str, detection: Awaitable[bool]) -> bool:
        try:
            return await detection
        except KubeError:
            failed.append(field)
            return False

    namespace = inputs.namespace.metadata.name if inputs.namespace else ""
    if inputs.target is None:
        failed.extend(_WORKLOAD_FIELDS)
    tool = _git_ops_tool(inputs)
    return DetectedLabels(
        git_ops_managed=bool(tool),
        git_ops_tool=tool,
        pdb_protected=await detect("pdbProtected", _is_protected(lister, inputs, namespace)),
        hpa_enabled=await detect("hpaEnabled", _is_autoscaled(lister, inputs, namespace)),
        stateful=any(kind == STATEFUL_SET.kind for kind, _ in inputs.kinds_and_names),
        helm_managed=_is_helm_managed(inputs),
        network_isolated=await detect("networkIsolated", _has_any(lister, NETWORK_POLICY, namespace)),
        service_mesh=_service_mesh(inputs),
        resource_quota_constrained=await detect(
            "resourceQuotaConstrained", _has_any(lister, RESOURCE_QUOTA, namespace)
        ),
        failed_detections=failed,
    )


_ARGO_ANNOTATIONS = ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance")
_ARGO_LABEL = "argocd.argoproj.io/instance"
_FLUX_LABELS = ("fluxcd.io/sync-gc-mark", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")


def _git_ops_tool(inputs: DetectionInput) -> str:
    """The tool of the nearest object that names one, then of the namespace."""
    for obj in [*inputs.objects, *([inputs.namespace] if inputs.namespace else [])]:
        labels, annotations = obj.metadata.labels, obj.metadata.annotations
        if any(name in annotations for name in _ARGO_ANNOTATIONS):
            return "argocd"
        if any(name in labels for name in _FLUX_LABELS):
            return "flux"
        if _ARGO_LABEL in labels:
            return "argocd"
    return ""


def _is_helm_managed(inputs: DetectionInput) -> bool:
    return any(
        obj.metadata.labels.get("app.kubernetes.io/managed-by") == "Helm" or "helm.sh/chart" in obj.metadata.labels
        for obj in inputs.objects
    )


def _service_mesh(inputs: DetectionInput) -> str:
    annotations = inputs.target.metadata.annotations if inputs.target else {}
    if "sidecar.istio.io/status" in annotations:
        return "istio"
    return "linkerd" if "linkerd.io/proxy-version" in annotations else ""


async def _is_protected(lister: Lister, inputs: DetectionInput, namespace: str) -> bool:
    labels = inputs.target.pod_labels if inputs.target else {}
    if not labels or not namespace:
        return False
    budgets = await lister.list(POD_DISRUPTION_BUDGET, namespace)
    return any(budget.spec.selector is not None and budget.spec.selector.matches(labels) for budget in budgets)


async def _is_autoscaled(lister: Lister, inputs: DetectionInput, namespace: str) -> bool:
    workloads = set(inputs.kinds_and_names)
    if not workloads or not namespace:
        return False
    autoscalers = await lister.list(HORIZONTAL_POD_AUTOSCALER, namespace)
    scaled = [autoscaler.spec.scale_target_ref for autoscaler in autoscalers]
    return any((target.kind, target.name) in workloads for target in scaled)


async def _has_any(lister: Lister, kind: Kind[T], namespace: str) -> bool:
    return bool(namespace) and bool(await lister.list(kind, namespace))
