"""The built-in kinds."""

from pocketkube.resources.registry import Resource

_POD_FIELDS = (
    "spec.host",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
)
_EVENT_FIELDS = (
    "involvedObject.apiVersion",
    "involvedObject.fieldPath",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.resourceVersion",
    "involvedObject.uid",
    "reason",
    "reportingComponent",
    "source",
    "type",
)

# plural, kind, short names, namespaced, status subresource, generation
_Row = tuple[str, str, str, bool, bool, bool]
_KINDS: dict[tuple[str, str], tuple[_Row, ...]] = {
    ("", "v1"): (
        ("configmaps", "ConfigMap", "cm", True, False, False),
        ("endpoints", "Endpoints", "ep", True, False, False),
        ("events", "Event", "ev", True, False, False),
        ("limitranges", "LimitRange", "limits", True, False, False),
        ("namespaces", "Namespace", "ns", False, True, False),
        ("nodes", "Node", "no", False, True, False),
        ("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", True, True, False),
        ("persistentvolumes", "PersistentVolume", "pv", False, True, False),
        ("pods", "Pod", "po", True, True, True),
        ("replicationcontrollers", "ReplicationController", "rc", True, True, True),
        ("resourcequotas", "ResourceQuota", "quota", True, True, False),
        ("secrets", "Secret", "", True, False, False),
        ("serviceaccounts", "ServiceAccount", "sa", True, False, False),
        ("services", "Service", "svc", True, True, False),
    ),
    ("apps", "v1"): (
        ("daemonsets", "DaemonSet", "ds", True, True, True),
        ("deployments", "Deployment", "deploy", True, True, True),
        ("replicasets", "ReplicaSet", "rs", True, True, True),
        ("statefulsets", "StatefulSet", "sts", True, True, True),
    ),
    ("batch", "v1"): (
        ("cronjobs", "CronJob", "cj", True, True, True),
        ("jobs", "Job", "", True, True, True),
    ),
    ("autoscaling", "v2"): (("horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", True, True, False),),
    ("policy", "v1"): (("poddisruptionbudgets", "PodDisruptionBudget", "pdb", True, True, True),),
    ("networking.k8s.io", "v1"): (
        ("ingressclasses", "IngressClass", "", False, False, True),
        ("ingresses", "Ingress", "ing", True, True, True),
        ("networkpolicies", "NetworkPolicy", "netpol", True, False, True),
    ),
    ("rbac.authorization.k8s.io", "v1"): (
        ("clusterrolebindings", "ClusterRoleBinding", "", False, False, False),
        ("clusterroles", "ClusterRole", "", False, False, False),
        ("rolebindings", "RoleBinding", "", True, False, False),
        ("roles", "Role", "", True, False, False),
    ),
    ("scheduling.k8s.io", "v1"): (("priorityclasses", "PriorityClass", "pc", False, False, True),),
    ("storage.k8s.io", "v1"): (("storageclasses", "StorageClass", "sc", False, False, False),),
    ("coordination.k8s.io", "v1"): (("leases", "Lease", "", True, False, False),),
    ("events.k8s.io", "v1"): (("events", "Event", "ev", True, False, False),),
    ("apiextensions.k8s.io", "v1"): (
        ("customresourcedefinitions", "CustomResourceDefinition", "crd,crds", False, True, True),
    ),
}
_SELECTABLE = {
    "pods": _POD_FIELDS,
    "events": _EVENT_FIELDS,
    "namespaces": ("name", "status.phase"),
    "nodes": ("spec.unschedulable",),
    "secrets": ("type",),
    "replicasets": ("status.replicas",),
    "replicationcontrollers": ("status.replicas",),
    "jobs": ("status.successful",),
    "services": ("spec.clusterIP", "spec.type"),
}
_IN_ALL = frozenset(
    {
        "pods", "replicationcontrollers", "services", "daemonsets", "deployments", "replicasets",
        "statefulsets", "horizontalpodautoscalers", "cronjobs", "jobs",
    }
)  # fmt: skip


def builtin_resources() -> list[Resource]:
    """Return every built-in resource."""
    return [_resource(group, version, row) for (group, version), rows in _KINDS.items() for row in rows]


def _resource(group: str, version: str, row: _Row) -> Resource:
    plural, kind, short_names, namespaced, has_status, has_generation = row
    categories: tuple[str, ...] = ("all",) if plural in _IN_ALL else ()
    if plural == "customresourcedefinitions":
        categories = ("api-extensions",)
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        singular=kind.lower(),
        namespaced=namespaced,
        short_names=tuple(short_names.split(",")) if short_names else (),
        categories=categories,
        has_status=has_status,
        has_generation=has_generation,
        selectable=_SELECTABLE.get(plural, ()),
        # Both event APIs show the same objects.
        storage="events" if plural == "events" else "",
        stored_version="v1" if plural == "events" else "",
    )
