"""Characteristics of a workload that matter to whoever remedies it: GitOps, budgets, autoscaling, mesh and so on.

A list that cannot be read leaves its field false and names it in `failed_detections`; so does every characteristic of
an object that is not there. A false is a "no" only when its field is not named there.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from kubernaut.api.signals import DetectedLabels, OwnerChainEntry
from kubernaut.kube.errors import KubeError
from kubernaut.kube.objects import Kind
from kubernaut.signalprocessing.kinds import AUTOSCALER, BUDGET, NETWORK_POLICY, QUOTA

if TYPE_CHECKING:
    from kubernaut.signalprocessing.enrichment import Found

T = TypeVar("T")

_OF_OBJECTS = ["gitOpsManaged", "pdbProtected", "hpaEnabled", "stateful", "helmManaged", "serviceMesh"]


class Lists(Protocol):
    """Something that lists the objects of a namespace."""

    async def members(self, kind: Kind[T], namespace: str) -> Sequence[T]: ...


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What enrichment has found so far; the objects as they are, before redaction."""

    namespace: "Found | None"
    target: "Found | None"
    chain: list[OwnerChainEntry]
    owners: "list[Found]"


async def detected_labels(lists: Lists, seen: Observed) -> DetectedLabels:
    """Everything that can be told about a namespaced target."""
    failed: list[str] = []

    async def ask(field: str, question: Awaitable[bool]) -> bool:
        try:
            return await question
        except KubeError:
            failed.append(field)
            return False

    home = seen.namespace.metadata.name if seen.namespace else ""
    if seen.target is None:
        failed.extend(_OF_OBJECTS)
    tool = _git_ops_tool(seen)
    return DetectedLabels(
        git_ops_managed=bool(tool),
        git_ops_tool=tool,
        pdb_protected=await ask("pdbProtected", _is_protected(lists, seen, home)),
        hpa_enabled=await ask("hpaEnabled", _is_autoscaled(lists, seen, home)),
        stateful=any(kind == "StatefulSet" for kind, _ in _names(seen)),
        helm_managed=_is_helm_managed(seen),
        network_isolated=await ask("networkIsolated", _has_any(lists, NETWORK_POLICY, home)),
        service_mesh=_service_mesh(seen),
        resource_quota_constrained=await ask("resourceQuotaConstrained", _has_any(lists, QUOTA, home)),
        failed_detections=failed,
    )


def _objects(seen: Observed) -> "list[Found]":
    return [seen.target, *seen.owners] if seen.target else []


def _names(seen: Observed) -> list[tuple[str, str]]:
    own = [(seen.target.kind, seen.target.metadata.name)] if seen.target else []
    return [*own, *((hop.kind, hop.name) for hop in seen.chain)]


_ARGO_ANNOTATIONS = ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance")
_ARGO_LABEL = "argocd.argoproj.io/instance"
_FLUX_LABELS = ("fluxcd.io/sync-gc-mark", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")


def _git_ops_tool(seen: Observed) -> str:
    """The nearest object that says so wins, then the namespace."""
    for found in [*_objects(seen), *([seen.namespace] if seen.namespace else [])]:
        labels, annotations = found.metadata.labels, found.metadata.annotations
        if any(name in annotations for name in _ARGO_ANNOTATIONS):
            return "argocd"
        if any(name in labels for name in _FLUX_LABELS):
            return "flux"
        if _ARGO_LABEL in labels:
            return "argocd"
    return ""


def _is_helm_managed(seen: Observed) -> bool:
    return any(
        found.metadata.labels.get("app.kubernetes.io/managed-by") == "Helm" or "helm.sh/chart" in found.metadata.labels
        for found in _objects(seen)
    )


def _service_mesh(seen: Observed) -> str:
    annotations = seen.target.metadata.annotations if seen.target else {}
    if "sidecar.istio.io/status" in annotations:
        return "istio"
    return "linkerd" if "linkerd.io/proxy-version" in annotations else ""


async def _is_protected(lists: Lists, seen: Observed, namespace: str) -> bool:
    labels = seen.target.pod_labels if seen.target else {}
    if not labels or not namespace:
        return False
    budgets = await lists.members(BUDGET, namespace)
    return any(budget.spec.selector is not None and budget.spec.selector.matches(labels) for budget in budgets)


async def _is_autoscaled(lists: Lists, seen: Observed, namespace: str) -> bool:
    names = set(_names(seen))
    if not names or not namespace:
        return False
    scaled = [autoscaler.spec.scale_target_ref for autoscaler in await lists.members(AUTOSCALER, namespace)]
    return any((target.kind, target.name) in names for target in scaled)


async def _has_any(lists: Lists, kind: Kind[T], namespace: str) -> bool:
    return bool(namespace) and bool(await lists.members(kind, namespace))
