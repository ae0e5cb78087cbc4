"""The kinds that are cached, each decoded to the fields somebody reads."""

from dataclasses import replace
from typing import Any

import msgspec

from kubernaut.api.meta import ObjectMeta, Wire
from kubernaut.api.remediation import REMEDIATION_KIND, REMEDIATION_PLURAL, RemediationRequest
from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalProcessing
from kubernaut.kube.objects import Kind
from kubernaut.ops import redaction


class MetadataOnly(Wire, frozen=True, gc=False):
    """An object of which only the metadata is read."""

    metadata: ObjectMeta = ObjectMeta()

    def __post_init__(self) -> None:
        # Copies of whole objects in annotations would make the largest part of the cache.
        for key in redaction.DROPPED_ANNOTATIONS & self.metadata.annotations.keys():
            del self.metadata.annotations[key]


class _TemplateMeta(Wire, frozen=True, gc=False):
    labels: dict[str, str] = {}


class _Template(Wire, frozen=True, gc=False):
    metadata: _TemplateMeta = _TemplateMeta()


class _WorkloadSpec(Wire, frozen=True, gc=False):
    template: _Template = _Template()


class Workload(MetadataOnly, frozen=True, gc=False):
    """A controller of pods; the template's labels are those of its pods."""

    spec: _WorkloadSpec = _WorkloadSpec()


class LabelSelectorRequirement(Wire, frozen=True, gc=False):
    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(Wire, frozen=True, gc=False):
    """A label selector."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelSelectorRequirement] | None = None

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels is selected; an empty selector selects every object."""
        if any(labels.get(key) != value for key, value in (self.match_labels or {}).items()):
            return False
        return all(_is_met(each, labels) for each in self.match_expressions or [])


def _is_met(requirement: LabelSelectorRequirement, labels: dict[str, str]) -> bool:
    values = requirement.values or []
    match requirement.operator:
        case "In":
            return labels.get(requirement.key) in values
        case "NotIn":
            return requirement.key not in labels or labels[requirement.key] not in values
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels
    return False


class _BudgetSpec(Wire, frozen=True, gc=False):
    selector: LabelSelector | None = None


class PodDisruptionBudget(Wire, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: _BudgetSpec = _BudgetSpec()


class PodDisruptionBudgetV1Beta1(PodDisruptionBudget, frozen=True, gc=False):
    """In policy/v1beta1 an empty selector selects no pod; in policy/v1, every pod."""

    def __post_init__(self) -> None:
        selector = self.spec.selector
        if selector is not None and not selector.match_labels and not selector.match_expressions:
            msgspec.structs.force_setattr(self.spec, "selector", None)


class ScaleTargetRef(Wire, frozen=True, gc=False):
    kind: str = ""
    name: str = ""


class _AutoscalerSpec(Wire, frozen=True, gc=False):
    scale_target_ref: ScaleTargetRef = ScaleTargetRef()


class HorizontalPodAutoscaler(MetadataOnly, frozen=True, gc=False):
    spec: _AutoscalerSpec = _AutoscalerSpec()


class ConfigMap(Wire, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None


SIGNAL = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)
REMEDIATION = Kind(
    group=GROUP, version=VERSION, kind=REMEDIATION_KIND, plural=REMEDIATION_PLURAL, type=RemediationRequest
)
CONFIG_MAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=ConfigMap)

NAMESPACE = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=MetadataOnly)
NODE = Kind(version="v1", kind="Node", plural="nodes", namespaced=False, type=MetadataOnly)
POD = Kind(version="v1", kind="Pod", plural="pods", type=MetadataOnly)
SERVICE = Kind(version="v1", kind="Service", plural="services", type=MetadataOnly)
PERSISTENT_VOLUME_CLAIM = Kind(
    version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims", type=MetadataOnly
)
RESOURCE_QUOTA = Kind(version="v1", kind="ResourceQuota", plural="resourcequotas", type=MetadataOnly)
REPLICA_SET = Kind(group="apps", version="v1", kind="ReplicaSet", plural="replicasets", type=MetadataOnly)
DEPLOYMENT = Kind(group="apps", version="v1", kind="Deployment", plural="deployments", type=Workload)
STATEFUL_SET = Kind(group="apps", version="v1", kind="StatefulSet", plural="statefulsets", type=Workload)
DAEMON_SET = Kind(group="apps", version="v1", kind="DaemonSet", plural="daemonsets", type=Workload)
JOB = Kind(group="batch", version="v1", kind="Job", plural="jobs", type=MetadataOnly)
CRON_JOB = Kind(group="batch", version="v1", kind="CronJob", plural="cronjobs", type=MetadataOnly)
HORIZONTAL_POD_AUTOSCALER = Kind(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    type=HorizontalPodAutoscaler,
)
POD_DISRUPTION_BUDGET = Kind(
    group="policy", version="v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets", type=PodDisruptionBudget
)
INGRESS = Kind(group="networking.k8s.io", version="v1", kind="Ingress", plural="ingresses", type=MetadataOnly)
NETWORK_POLICY = Kind(
    group="networking.k8s.io", version="v1", kind="NetworkPolicy", plural="networkpolicies", type=MetadataOnly
)

CACHED: tuple[Kind[Any], ...] = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    PERSISTENT_VOLUME_CLAIM,
    RESOURCE_QUOTA,
    REPLICA_SET,
    DEPLOYMENT,
    STATEFUL_SET,
    DAEMON_SET,
    JOB,
    CRON_JOB,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    INGRESS,
    NETWORK_POLICY,
)
"""Kinds of the whole cluster that are cached, so that reading them costs no request."""

OLDER_VERSIONS: dict[Kind[Any], Kind[Any]] = {
    CRON_JOB: replace(CRON_JOB, version="v1beta1"),
    HORIZONTAL_POD_AUTOSCALER: replace(HORIZONTAL_POD_AUTOSCALER, version="v2beta2"),
    POD_DISRUPTION_BUDGET: replace(POD_DISRUPTION_BUDGET, version="v1beta1", type=PodDisruptionBudgetV1Beta1),
}
"""What a server before Kubernetes 1.23 has instead, read to the same fields."""

NAMESPACE_INDEXED: tuple[Kind[Any], ...] = (
    RESOURCE_QUOTA,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
)
"""Kinds that are listed by namespace."""


def decode(kind: Kind[Any], manifest: dict[str, Any]) -> Any:
    """A manifest as an object of its kind. Raises msgspec.ValidationError."""
    return msgspec.convert(manifest, type=kind.type, strict=False)
