"""What the labels of an alert name. Pure.

A metric has labels of its subject, and Prometheus adds labels of the scraper: `pod` may be the pod that crashes, or the
pod of kube-state-metrics that told of it. What is told apart here, in this order:

1. A label with the prefix `exported_` is the subject's, and the label without it is the scraper's.
2. `intake.labels` says which label names which kind; labels that stand first in it come first.
3. Other labels may be called like a kind (`role`, `event`, `service`); they count where the object exists.
4. A node is the subject where nothing else is: most alerts about a pod name its node as well.
5. An application, such as `app`, is the subject where nothing else is and a workload or a service is called like it.
6. A namespace is the subject where nothing else is.

How a kind is written does not matter: `scaledObject` and `stateful_set` are `scaledobject` and `statefulset`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

DEFAULT_LABELS: dict[str, str] = {
    "deployment": "Deployment.v1.apps",
    "statefulset": "StatefulSet.v1.apps",
    "daemonset": "DaemonSet.v1.apps",
    "rollout": "Rollout.v1alpha1.argoproj.io",
    "deploymentconfig": "DeploymentConfig.v1.apps.openshift.io",
    "cronjob": "CronJob.v1.batch",
    "job_name": "Job.v1.batch",
    "horizontalpodautoscaler": "HorizontalPodAutoscaler.v2.autoscaling",
    "hpa": "HorizontalPodAutoscaler.v2.autoscaling",
    "scaledobject": "ScaledObject.v1alpha1.keda.sh",
    "poddisruptionbudget": "PodDisruptionBudget.v1.policy",
    "pdb": "PodDisruptionBudget.v1.policy",
    "persistentvolumeclaim": "PersistentVolumeClaim.v1",
    "pvc": "PersistentVolumeClaim.v1",
    "persistentvolume": "PersistentVolume.v1",
    "ingress": "Ingress.v1.networking.k8s.io",
    "configuration_name": "Configuration.v1.serving.knative.dev",
    "revision_name": "Revision.v1.serving.knative.dev",
    "replicaset": "ReplicaSet.v1.apps",
    "replicationcontroller": "ReplicationController.v1",
    "pod": "Pod.v1",
    "node": "Node.v1",
    "nodename": "Node.v1?",
    "host": "Node.v1?",
    "hostname": "Node.v1?",
    "service": "",
    "job": "",
    "endpoint": "",
    "container": "",
    "instance": "",
}
"""Label to kind, as `Kind.version.group`; with a `?` behind it, the label counts only where the object exists.

A label with an empty kind, and one that is not here, counts where it is called like a kind and the object exists.
"""

WORKLOAD_KINDS = (
    "Deployment.v1.apps",
    "StatefulSet.v1.apps",
    "DaemonSet.v1.apps",
    "Rollout.v1alpha1.argoproj.io",
    "CronJob.v1.batch",
    "Job.v1.batch",
    "ReplicaSet.v1.apps",
)
"""What a `workload` may be whose kind no label says."""

_REFERENCES = ("involved_object", "object", "customresource", "resource", "")
"""Prefixes of `kind` and `name` of the subject itself, which an exporter tells of that is no part of it."""

_OWNERS = ("owner", "created_by", "ownerref", "top_level_controller")
"""Prefixes of `kind` and `name` of what owns the subject."""

_NAMED_BY_JOB = (
    ("cert-manager", "Certificate.v1.cert-manager.io"),
    ("argocd", "Application.v1alpha1.argoproj.io"),
    ("external-secrets", "ExternalSecret.v1.external-secrets.io"),
    ("cluster-version-operator", "ClusterOperator.v1.config.openshift.io"),
)
"""Operators that call a resource of theirs just `name`, and what it is."""

_APPLICATIONS = {
    "kubernetes_name": ("Service.v1", *WORKLOAD_KINDS),
    "service_name": (*WORKLOAD_KINDS, "Service.v1"),
    "app": WORKLOAD_KINDS,
    "app_kubernetes_io": WORKLOAD_KINDS,
    "label_app": WORKLOAD_KINDS,
    "labels_app": WORKLOAD_KINDS,
    "application": WORKLOAD_KINDS,
}
"""Labels that are called like a workload or its service where the sender follows that habit."""

_SERVICE_HOST = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\..*)?")
_PREFIX = re.compile(r"^(?:container_label_)?(?:io_)?(?:kubernetes|k8s|kube)_(?:io_)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAMESPACES = ("namespace", "namespace_name", "pod_namespace", "kubernetes_namespace", "k8s_namespace", "ns")
_SCRAPER_LABELS = {"namespace", "pod", "container", "service", "endpoint", "instance", "job", "node"}
_NO_KINDS = {"alertname", "namespace", "namespace_name", "severity"}
_NO_NAMES = {"", "none", "<none>", "unknown", "null", "n/a"}
_NODE_EXPORTER = re.compile(r"node[-_]?exporter|windows[-_]?exporter|^node$|^nodes$|kubernetes-nodes")
_MAX_NAME_LENGTH = 253


@dataclass(frozen=True, kw_only=True)
class NamedObject:
    """An object that a label names; `kind` is `Kind`, or `Kind.version.group`."""

    label: str
    kind: str
    name: str
    namespace: str = ""
    must_exist: bool = False
    """It counts only where it exists."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the labels of one alert name, in the order of precedence."""

    workloads: tuple[NamedObject, ...] = ()
    kinds: tuple[tuple[str, str], ...] = ()
    """Labels that may be called like a kind, and their values."""
    nodes: tuple[NamedObject, ...] = ()
    address: str = ""
    """The host of `instance`, where it may be a node's name or address."""
    scraper_pod: str = ""
    """The pod of the exporter that told of it."""
    is_node_exporter: bool = False
    applications: tuple[NamedObject, ...] = ()
    """What may be called like the application that the labels name."""
    namespace: str = ""


@dataclass(frozen=True)
class _Label:
    """A label, its plain name, and whether it came with `exported_`."""

    label: str
    name: str
    value: str
    is_exported: bool

    @property
    def joined(self) -> str:
        """The name as a kind is written."""
        return self.name.replace("_", "")


def with_defaults(labels: Mapping[str, str]) -> dict[str, str]:
    """The operator's map, before the built-in one."""
    return {**labels, **{label: kind for label, kind in DEFAULT_LABELS.items() if label not in labels}}


def subject_of(labels: Mapping[str, str], kinds: Mapping[str, str], ignored: str = "") -> Subject:
    """What the labels name by the map `kinds`; `ignored` is a label that means something else."""
    own = [each for each in _own(labels) if each.label != ignored]
    mesh = _mesh(labels)
    namespace = mesh.namespace if mesh else _namespace(own)
    plain = {each.name: each.value for each in reversed(own)}
    job = plain.get("job", "")
    is_node_exporter = bool(_NODE_EXPORTER.search(job)) and "exported_pod" not in labels
    scraper_pod = _scraper_pod(plain, job)
    if mesh or is_node_exporter or scraper_pod:
        dropped = {"pod", "service", "container", "endpoint"} | ({"node"} if mesh else set())
        own = [each for each in own if each.is_exported or each.name not in dropped]
    values = {each.name: each.value for each in reversed(own)}
    # The exporter's labels are not the subject's, but its job tells what it calls a name.
    references = [
        *_workload(values, namespace),
        *_references(_REFERENCES, values, namespace, must_exist=True),
        *_named_by_job(labels.get("job", ""), plain.get("name", ""), namespace),
    ]
    mapped = [*_mapped(own, kinds, values, namespace), *_references(_OWNERS, values, namespace)]
    return Subject(
        workloads=(*([mesh] if mesh else []), *references, *(each for each in mapped if not _is_node(each))),
        kinds=tuple(
            (each.joined, each.value)
            for each in own
            if not kinds.get(each.name) and not kinds.get(each.joined) and each.name not in _NO_KINDS
        ),
        nodes=tuple(each for each in mapped if _is_node(each)),
        address=_host(plain.get("instance", "")) if is_node_exporter or not namespace or job == "kubelet" else "",
        scraper_pod=scraper_pod or (plain.get("pod", "") if is_node_exporter else ""),
        is_node_exporter=is_node_exporter,
        applications=tuple(_applications(own, namespace)),
        namespace=namespace,
    )


def _own(labels: Mapping[str, str]) -> list[_Label]:
    """The labels of the subject: what was exported, and what nothing exported stands beside."""
    exported = {label.removeprefix("exported_") for label in labels if label.startswith("exported_")}
    if "namespace" in exported:
        exported |= _SCRAPER_LABELS
    found = []
    for label, value in labels.items():
        is_exported = label.startswith("exported_")
        if (is_exported or label not in exported) and value.strip().lower() not in _NO_NAMES:
            plain = _plain(label.removeprefix("exported_"))
            found.append(_Label(label, plain, value.strip(), is_exported))
    # A label as Kubernetes' own exporters write it comes before another spelling of it.
    return sorted(found, key=lambda each: (not each.is_exported, each.label != each.name, each.label))


def _plain(label: str) -> str:
    """`kubernetes_pod_name`, `k8s.pod.name` and `podName` are `pod`; `job_name` is not `job`, which is a scraper's."""
    name = _CAMEL.sub("_", label).replace(".", "_").replace("-", "_").replace("/", "_").lower()
    if name in _APPLICATIONS:
        return name
    name = _PREFIX.sub("", name)
    short = name.removesuffix("_name")
    return name if short in ("job", "service", "configuration", "revision", "namespace") else short


def _namespace(own: list[_Label]) -> str:
    by_label = {each.label.removeprefix("exported_").lower(): each.value for each in reversed(own)}
    exported = next((each.value for each in own if each.is_exported and each.name == "namespace"), "")
    named = next((by_label[name] for name in _NAMESPACES if name in by_label), "")
    return exported or named or next((each.value for each in own if each.name in ("namespace", "namespace_name")), "")


def _mesh(labels: Mapping[str, str]) -> NamedObject | None:
    """The destination of Istio's metrics, which `reporter="source"` tells of from another pod; else their source."""

    def of(side: str) -> NamedObject | None:
        namespace = _named(labels, f"{side}_workload_namespace")
        if namespace and (name := _named(labels, f"{side}_workload")):
            return NamedObject(label=f"{side}_workload", kind="", name=name, namespace=namespace)
        if namespace and (name := _named(labels, f"{side}_canonical_service")):
            return NamedObject(label=f"{side}_canonical_service", kind="Service.v1", name=name, namespace=namespace)
        return None

    return of("destination") or _destination_service(labels) or of("source")


def _destination_service(labels: Mapping[str, str]) -> NamedObject | None:
    label, name = "destination_service_name", _named(labels, "destination_service_name")
    namespace = _named(labels, "destination_service_namespace")
    if not (name and namespace) and (host := _SERVICE_HOST.fullmatch(labels.get("destination_service", ""))):
        label, (name, namespace) = "destination_service", host.groups()
    return NamedObject(label=label, kind="Service.v1", name=name, namespace=namespace) if name and namespace else None


def _named(labels: Mapping[str, str], label: str) -> str:
    """The value of a label; empty where it says that there is none."""
    value = labels.get(label, "")
    return "" if value.lower() in _NO_NAMES else value


def _workload(values: Mapping[str, str], namespace: str) -> Iterator[NamedObject]:
    """The workload of the Kubernetes mixin's rules."""
    if "workload" in values:
        kind = values.get("workload_type") or values.get("workload_kind") or ""
        yield NamedObject(label="workload", kind=kind, name=values["workload"], namespace=namespace)


def _mapped(
    own: list[_Label], kinds: Mapping[str, str], values: Mapping[str, str], namespace: str
) -> Iterator[NamedObject]:
    by_name: dict[str, list[_Label]] = {}
    for each in own:
        for name in {each.name, each.joined}:
            by_name.setdefault(name, []).append(each)
    for name, spec in kinds.items():
        if spec:
            for each in by_name.get(name, ()):
                yield NamedObject(
                    label=each.label,
                    kind=spec.removesuffix("?"),
                    name=each.value,
                    namespace=values.get(f"{each.name}_namespace") or namespace,
                    must_exist=spec.endswith("?"),
                )


def _references(
    prefixes: Iterable[str], values: Mapping[str, str], namespace: str, *, must_exist: bool = False
) -> Iterator[NamedObject]:
    """Objects that two labels name, their kind and their name."""
    for prefix in prefixes:
        before = f"{prefix}_" if prefix else ""
        kind = values.get(f"{before}kind") or (values.get(f"{before}type", "") if prefix else "")
        # `_plain` has taken the suffix of `owner_name` and `involved_object_name`.
        name = values.get(prefix or "name") or (values.get("name", "") if prefix == "customresource" else "")
        if kind and name:
            group, version = values.get(f"{before}group", ""), values.get(f"{before}version", "")
            yield NamedObject(
                label=f"{before}name" if prefix in values else "name",
                kind=f"{kind}.{version}.{group}" if prefix and group and version else kind,
                name=name,
                namespace=values.get(f"{before}namespace") or namespace,
                must_exist=must_exist,
            )


def _named_by_job(job: str, name: str, namespace: str) -> Iterator[NamedObject]:
    for part, kind in _NAMED_BY_JOB if name else ():
        if part in job:
            yield NamedObject(label="name", kind=kind, name=name, namespace=namespace, must_exist=True)


def _applications(own: list[_Label], namespace: str) -> Iterator[NamedObject]:
    named = {each.name: each for each in reversed(own) if each.name in _APPLICATIONS}
    for name, kinds in _APPLICATIONS.items() if named else ():
        if (each := named.get(name)) is not None:
            for kind in kinds:
                yield NamedObject(label=each.label, kind=kind, name=each.value, namespace=namespace, must_exist=True)


def _is_node(named: NamedObject) -> bool:
    return named.kind.partition(".")[0].lower() == "node"


def _scraper_pod(plain: Mapping[str, str], job: str) -> str:
    """The pod label, where it names the pod of kube-state-metrics that the job scrapes."""
    pod = plain.get("pod", "")
    return pod if "kube-state-metrics" in pod and "kube-state-metrics" in job.replace("_", "-") else ""


def _host(instance: str) -> str:
    """The host of `10.0.0.1:9100`, `[::1]:9100` or `worker-1`."""
    host = instance.removeprefix("http://").removeprefix("https://").partition("/")[0]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
