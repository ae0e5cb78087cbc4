"""What the labels of an alert name. Pure.

A metric has labels of its subject, and Prometheus adds labels of the scraper: `pod` may be the pod that crashes, or the
pod of kube-state-metrics that told of it. What is told apart here, in this order:

1. A label with the prefix `exported_` is the subject's, and the label without it is the scraper's. So is a label of an
   agent that names the namespace (`k8s_namespace_name`), where `namespace` says another one.
2. `intake.labels` says which label names which kind; labels that stand first in it come first.
3. Other labels may be called like a kind (`role`, `event`, `service`); they count where the object exists.
4. A node is the subject where nothing else is: most alerts about a pod name its node as well.
5. An application, such as `app`, is the subject where nothing else is and a workload or a service is called like it.
6. A namespace is the subject where nothing else is.

How a kind is written does not matter: `scaledObject` and `stateful_set` are `scaledobject` and `statefulset`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

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
    "deploy": "Deployment.v1.apps?",
    "sts": "StatefulSet.v1.apps?",
    "ds": "DaemonSet.v1.apps?",
    "argo_rollout": "Rollout.v1alpha1.argoproj.io?",
    "ksvc": "Service.v1.serving.knative.dev?",
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

_OWNERS = ("owner", "created_by", "ownerref", "top_level_controller", "controller")
"""Prefixes of `kind` and `name` of what owns the subject."""

_NAMED_BY_JOB = (
    ("cert-manager", "Certificate.v1.cert-manager.io"),
    ("argocd", "Application.v1alpha1.argoproj.io"),
    ("external-secrets", "ExternalSecret.v1.external-secrets.io"),
    ("cluster-version-operator", "ClusterOperator.v1.config.openshift.io"),
    ("argo-rollouts", "Rollout.v1alpha1.argoproj.io"),
    ("argo-workflows", "CronWorkflow.v1alpha1.argoproj.io"),
    ("sealed-secrets", "SealedSecret.v1alpha1.bitnami.com"),
)
"""Operators that call a resource of theirs just `name`, and what it is."""

_POD_LABELS = {
    "batch_kubernetes_io_job_name": "Job.v1.batch",
    "label_job_name": "Job.v1.batch",
    "serving_knative_dev_revision": "Revision.v1.serving.knative.dev",
    "serving_knative_dev_configuration": "Configuration.v1.serving.knative.dev",
    "serving_knative_dev_service": "Service.v1.serving.knative.dev",
    "cnpg_io_cluster": "Cluster.v1.postgresql.cnpg.io",
    "strimzi_io_cluster": "Kafka.v1beta2.kafka.strimzi.io",
    "workflows_argoproj_io_workflow": "Workflow.v1alpha1.argoproj.io",
    "ray_io_cluster": "RayCluster.v1.ray.io",
}
"""Labels by which controllers mark their pods, such as `serving.knative.dev/service`: what owns the pod."""

_SHORT_KINDS = {
    "deploy": "Deployment",
    "sts": "StatefulSet",
    "ds": "DaemonSet",
    "rs": "ReplicaSet",
    "cj": "CronJob",
    "po": "Pod",
    "svc": "Service",
    "no": "Node",
    "barepod": "Pod",
    "staticpod": "Pod",
}
"""Kinds as kubectl abbreviates them, and as the Kubernetes mixin calls the workload of a pod that has none."""

_APPLICATIONS = {
    "kubernetes_name": ("Service.v1", *WORKLOAD_KINDS),
    "service_name": (*WORKLOAD_KINDS, "Service.v1"),
    "app": WORKLOAD_KINDS,
    "app_kubernetes_io_name": WORKLOAD_KINDS,
    "label_app": WORKLOAD_KINDS,
    "labels_app": WORKLOAD_KINDS,
    "application": WORKLOAD_KINDS,
    "app_kubernetes_io_instance": WORKLOAD_KINDS,
}
"""Labels that are called like a workload or its service where the sender follows that habit."""

_SERVICE_HOST = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\..*)?")
_MESH_NAMESPACES = ("workload_namespace", "service_namespace", "namespace")
_SERVICE_KINDS = ("Service.v1", *WORKLOAD_KINDS)
"""What a service that a mesh or a probe names may be; workloads count where they exist."""
_TRAEFIK_SERVICE = re.compile(r"([a-z0-9.-]+)-[a-z0-9]+@kubernetes(?:crd)?")
_MAX_SPLITS = 3
"""Places at which a name of two parts is divided; each is two objects that are looked up."""
_PREFIX = re.compile(r"^(?:metadata_system_|(?:container_label_)?(?:io_)?(?:kubernetes|k8s|kube)_(?:io_)?)")
_OF_A_POD = re.compile(r"^(?:pod_)?labels?_")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAMESPACES = ("namespace", "namespace_name", "pod_namespace", "kubernetes_namespace", "k8s_namespace", "ns")
_AGENT_NAMESPACES = {"k8s_namespace_name", "k8s_namespace", "k8s_ns_name", "kube_namespace", "namespace_name"}
"""As OpenTelemetry, Falco, Datadog and Knative name the namespace of the subject, and no scraper does."""
_SCRAPER_LABELS = {"namespace", "pod", "container", "service", "endpoint", "instance", "job", "node"}
_NO_KINDS = {"alertname", "namespace", "namespace_name", "severity"}
_NO_NAMES = {"", "none", "<none>", "unknown", "null", "n/a"}
_NODE_EXPORTER = re.compile(r"node[-_]?exporter|windows[-_]?exporter|^node$|^nodes$")
_EXPORTERS = ("kube-state-metrics", "longhorn", "dcgm")
"""Exporters that tell of other objects: in the names of their job and of their pod."""
_ANNOTATED_JOBS = ("kubernetes-pods", "kubernetes-service-endpoints")
"""Jobs of Prometheus' own example, which scrape all kinds of exporters."""
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
    is_anywhere: bool = False
    """It may be in another namespace, where it is the only one of its name."""


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
    own_namespace = _namespace(own)
    mesh = _mesh({label.replace(".", "_"): value for label, value in labels.items()}, own_namespace)
    namespace = mesh[0].namespace if mesh else own_namespace
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
        *_probed(plain, is_url=True),
        *_traefik_service(values.get("service", "")),
    ]
    mapped = [
        *_mapped(own, kinds, values, namespace),
        *_references(_OWNERS, values, namespace),
        *_controllers(values, namespace),
    ]
    return Subject(
        workloads=(*mesh, *references, *(each for each in mapped if not _is_node(each))),
        kinds=tuple(
            (each.joined, each.value)
            for each in own
            if not kinds.get(each.name) and not kinds.get(each.joined) and each.name not in _NO_KINDS
        ),
        nodes=tuple(each for each in mapped if _is_node(each)),
        address=_host(plain.get("instance", "")) if is_node_exporter or not namespace or job == "kubelet" else "",
        scraper_pod=scraper_pod or (plain.get("pod", "") if is_node_exporter else ""),
        is_node_exporter=is_node_exporter,
        applications=(*_applications(own, namespace), *_probed(plain, is_url=False)),
        namespace=namespace,
    )


def _own(labels: Mapping[str, str]) -> list[_Label]:
    """The labels of the subject: what was exported, and what nothing exported stands beside."""
    exported = {label.removeprefix("exported_") for label in labels if label.startswith("exported_")}
    if "namespace" in exported or _names_another_namespace(labels):
        exported |= _SCRAPER_LABELS
    found = []
    for label, value in labels.items():
        is_exported = label.startswith("exported_")
        if (is_exported or label not in exported) and value.strip().lower() not in _NO_NAMES:
            plain = _plain(label.removeprefix("exported_"))
            found.append(_Label(label, plain, value.strip(), is_exported))
    # A label as Kubernetes' own exporters write it comes before another spelling of it.
    return sorted(found, key=lambda each: (not each.is_exported, each.label != each.name, each.label))


def _names_another_namespace(labels: Mapping[str, str]) -> bool:
    """Whether an agent names the subject's namespace beside the one of its scraper.

    What scrapes an exporter through OpenTelemetry names the exporter in that way.
    """
    scraped = labels.get("namespace", "").strip()
    if not scraped or any(part in labels.get("job", "") for part in _EXPORTERS):
        return False
    return any(
        value.strip().lower() not in {scraped, *_NO_NAMES} and _lower(label) in _AGENT_NAMESPACES
        for label, value in labels.items()
    )


def _lower(label: str) -> str:
    """`k8s.pod.name`, `podName` and `pod-name` as Prometheus writes a label."""
    return _CAMEL.sub("_", label).replace(".", "_").replace("-", "_").replace("/", "_").lower()


def _plain(label: str) -> str:
    """`kubernetes_pod_name`, `k8s.pod.name` and `podName` are `pod`; `job_name` is not `job`, which is a scraper's."""
    name = _lower(label)
    of_a_pod = _OF_A_POD.sub("", name)
    for known in (name, of_a_pod):
        if known in _APPLICATIONS or known in _POD_LABELS:
            return known
    name = _PREFIX.sub("", name)
    short = name.removesuffix("_name")
    return name if short in ("job", "service", "configuration", "revision", "namespace") else short


def _namespace(own: list[_Label]) -> str:
    by_label = {each.label.removeprefix("exported_").lower(): each.value for each in reversed(own)}
    exported = next((each.value for each in own if each.is_exported and each.name == "namespace"), "")
    named = next((by_label[name] for name in _NAMESPACES if name in by_label), "")
    return (
        exported
        or named
        or next((each.value for each in own if each.name in ("namespace", "namespace_name", "ns")), "")
    )


def _mesh(labels: Mapping[str, str], namespace: str) -> list[NamedObject]:
    """The destination of a mesh's metrics, of which `reporter="source"` tells from another pod; else their source."""

    def of(side: str) -> list[NamedObject]:
        named = next((found for name in _MESH_NAMESPACES if (found := _named(labels, f"{side}_{name}"))), "")
        workload = _named(labels, f"{side}_workload")
        if named and workload:
            return [NamedObject(label=f"{side}_workload", kind="", name=workload, namespace=named)]
        if named and (name := _named(labels, f"{side}_canonical_service")):
            return _service(f"{side}_canonical_service", name, named)
        return []

    # The namespace of an aggregated metric may be that of either side.
    name = _named(labels, "destination_workload")
    nearby = [
        NamedObject(label="destination_workload", kind=kind, name=name, namespace=namespace, must_exist=True)
        for kind in (WORKLOAD_KINDS if name and namespace else ())
    ]
    return of("destination") or _destination_service(labels) or nearby or of("source")


def _destination_service(labels: Mapping[str, str]) -> list[NamedObject]:
    label, name = "destination_service_name", _named(labels, "destination_service_name")
    namespace = _named(labels, "destination_service_namespace")
    if not (name and namespace) and (host := _SERVICE_HOST.fullmatch(labels.get("destination_service", ""))):
        label, (name, namespace) = "destination_service", host.groups()
    return _service(label, name, namespace) if name and namespace else []


def _service(label: str, name: str, namespace: str, *, must_exist: bool = False) -> list[NamedObject]:
    """A service, or the workload behind it where there is no such service."""
    service, *workloads = (
        NamedObject(label=label, kind=kind, name=name, namespace=namespace, must_exist=True) for kind in _SERVICE_KINDS
    )
    return [replace(service, must_exist=must_exist), *workloads]


def _probed(plain: Mapping[str, str], *, is_url: bool) -> Iterator[NamedObject]:
    """The service that was probed, by its host name within the cluster.

    Where the probe was no URL, `instance` may be the exporter.
    """
    for label in ("target", "instance"):
        address = plain.get(label, "")
        host = _SERVICE_HOST.fullmatch(_host(address))
        if host and ("://" in address) == is_url:
            name, namespace = host.groups()
            if is_url or plain.get("namespace", namespace) == namespace:
                yield from _service(label, name, namespace, must_exist=True)


def _traefik_service(value: str) -> Iterator[NamedObject]:
    """`web-shop-api-80@kubernetes` is the service `api` of `web-shop`, or `shop-api` of `web`."""
    if (found := _TRAEFIK_SERVICE.fullmatch(value)) is not None:
        parts = found[1].split("-")
        for end in range(1, min(len(parts), 1 + _MAX_SPLITS)):
            namespace, name = "-".join(parts[:end]), "-".join(parts[end:])
            for kind in _SERVICE_KINDS[:2]:
                yield NamedObject(label="service", kind=kind, name=name, namespace=namespace, must_exist=True)


def _named(labels: Mapping[str, str], label: str) -> str:
    """The value of a label; empty where it says that there is none."""
    value = labels.get(label, "")
    return "" if value.lower() in _NO_NAMES else value


def _workload(values: Mapping[str, str], namespace: str) -> Iterator[NamedObject]:
    """The workload of the Kubernetes mixin's rules; KubeSphere writes `Deployment:api`."""
    if "workload" in values:
        before, colon, name = values["workload"].rpartition(":")
        kind = before if colon else values.get("workload_type") or values.get("workload_kind") or ""
        yield NamedObject(label="workload", kind=_full_kind(kind), name=name, namespace=namespace)


def _full_kind(kind: str) -> str:
    return _SHORT_KINDS.get(kind.lower(), kind)


def _mapped(
    own: list[_Label], kinds: Mapping[str, str], values: Mapping[str, str], namespace: str
) -> Iterator[NamedObject]:
    by_name: dict[str, list[_Label]] = {}
    for each in own:
        for name in {each.name, each.joined}:
            by_name.setdefault(name, []).append(each)
    has_own_namespace = any(each.is_exported and each.name == "namespace" for each in own)
    for label, spec in kinds.items():
        if spec:
            for each in by_name.get(label, by_name.get(label.replace("_", ""), [])):
                where, name = _split(each.value, spec.partition(".")[0])
                yield NamedObject(
                    label=each.label,
                    kind=spec.removesuffix("?"),
                    name=name,
                    namespace=where or values.get(f"{each.name}_namespace") or namespace,
                    must_exist=spec.endswith("?"),
                    is_anywhere=each.is_exported and not has_own_namespace,
                )


def _split(value: str, kind: str) -> tuple[str, str]:
    """Namespace and name of `shop/api`; only the name of `deployment/api` and of anything else."""
    before, slash, name = value.partition("/")
    if not slash or "/" in name:
        return "", value
    return "" if _full_kind(before).lower() == kind.lower() else before, name


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
            where, name = _split(name, kind)
            yield NamedObject(
                label=f"{before}name" if prefix in values else "name",
                kind=f"{kind}.{version}.{group}" if prefix and group and version else _full_kind(kind),
                name=name,
                namespace=where or values.get(f"{before}namespace") or namespace,
                must_exist=must_exist,
            )


def _controllers(values: Mapping[str, str], namespace: str) -> Iterator[NamedObject]:
    for label, kind in _POD_LABELS.items():
        if label in values:
            yield NamedObject(label=label, kind=kind, name=values[label], namespace=namespace, must_exist=True)


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
    """The pod label, where it names the pod of an exporter that the job scrapes."""
    pod, job = plain.get("pod", ""), job.replace("_", "-")
    return pod if any(part in pod and (part in job or job in _ANNOTATED_JOBS) for part in _EXPORTERS) else ""


def _host(instance: str) -> str:
    """The host of `10.0.0.1:9100`, `[::1]:9100` or `worker-1`."""
    host = instance.removeprefix("http://").removeprefix("https://").partition("/")[0]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
