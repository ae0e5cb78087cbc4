"""What single built-in kinds need beyond the general rules: first states, and a few defaults."""

import base64
from collections.abc import Callable
from typing import Any

from pocketkube.resources.registry import Object, Resource
from pocketkube.status import Cause, required


def prepare_for_create(resource: Resource, value: Object) -> None:
    """Bring a new object of a built-in kind into its first state."""
    if resource.custom is not None:
        return
    if resource.has_status and resource.kind not in _KEEPS_STATUS:
        value["status"] = {}
    prepare = _NEW.get(resource.kind)
    if prepare is not None:
        prepare(value)
    apply_defaults(resource, value)


def apply_defaults(resource: Resource, value: Object) -> None:
    """Fill in what each version of an object of a built-in kind must have."""
    fill = _ANY.get(resource.kind) if resource.custom is None else None
    if fill is not None:
        fill(value)


def _mapping(value: Object, key: str) -> dict[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict):
        found = value[key] = {}
    return found


def _namespace(value: Object) -> None:
    _mapping(value, "spec")["finalizers"] = ["kubernetes"]
    value["status"] = {"phase": "Active"}


def _namespace_label(value: Object) -> None:
    labels = value["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = value["metadata"].get("name", "")


def _pending(value: Object) -> None:
    value["status"] = {"phase": "Pending"}


def _pod(value: Object) -> None:
    spec = _mapping(value, "spec")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for container in spec.get("containers") or ():
        if isinstance(container, dict):
            container.setdefault("imagePullPolicy", _pull_policy(str(container.get("image", ""))))
            container.setdefault("resources", {})
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            container.setdefault("terminationMessagePolicy", "File")


def _pull_policy(image: str) -> str:
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def _secret(value: Object) -> None:
    plain = value.pop("stringData", None)
    if plain:
        data = _mapping(value, "data")
        for key, text in plain.items():
            data[key] = base64.b64encode(str(text).encode()).decode()
    if not value.get("type"):
        value["type"] = "Opaque"


def _service(value: Object) -> None:
    spec = _mapping(value, "spec")
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        if isinstance(port, dict):
            port.setdefault("protocol", "TCP")
            if "port" in port:
                port.setdefault("targetPort", port["port"])


def _replicated(value: Object) -> None:
    _mapping(value, "spec").setdefault("replicas", 1)


def _deployment(value: Object) -> None:
    spec = _mapping(value, "spec")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    default = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    if not spec.get("strategy"):  # client-go states an empty one
        spec["strategy"] = default


def _horizontal_pod_autoscaler(value: Object) -> None:
    _mapping(value, "spec").setdefault("minReplicas", 1)


def _job(value: Object) -> None:
    spec = _mapping(value, "spec")
    spec.setdefault("backoffLimit", 6)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)


def _cron_job(value: Object) -> None:
    spec = _mapping(value, "spec")
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)


_KEEPS_STATUS = frozenset({"Node", "CustomResourceDefinition"})
_NEW: dict[str, Callable[[Object], None]] = {
    "Namespace": _namespace,
    "Pod": _pending,
    "PersistentVolume": _pending,
    "PersistentVolumeClaim": _pending,
}
_ANY: dict[str, Callable[[Object], None]] = {
    "Namespace": _namespace_label,
    "Pod": _pod,
    "Secret": _secret,
    "Service": _service,
    "ReplicaSet": _replicated,
    "ReplicationController": _replicated,
    "StatefulSet": _replicated,
    "Deployment": _deployment,
    "HorizontalPodAutoscaler": _horizontal_pod_autoscaler,
    "Job": _job,
    "CronJob": _cron_job,
}


_REQUIRED: dict[str, tuple[str, ...]] = {
    "Pod": ("spec.containers",),
    "Deployment": ("spec.selector", "spec.template.spec.containers"),
    "StatefulSet": ("spec.selector", "spec.template.spec.containers"),
    "DaemonSet": ("spec.selector", "spec.template.spec.containers"),
    "ReplicaSet": ("spec.selector", "spec.template.spec.containers"),
    "Job": ("spec.template.spec.containers",),
    "CronJob": ("spec.schedule", "spec.jobTemplate.spec.template.spec.containers"),
    "HorizontalPodAutoscaler": ("spec.scaleTargetRef", "spec.maxReplicas"),
    "Event": ("involvedObject",),
}


def violations(resource: Resource, value: Object) -> list[Cause]:
    """Return which required fields of a built-in kind are missing."""
    found: list[Cause] = []
    for path in _REQUIRED.get(resource.kind, ()):
        if path == "involvedObject" and resource.group:
            path = "regarding"
        part: Any = value
        for step in path.split("."):
            part = part.get(step) if isinstance(part, dict) else None
        if not part:
            found.append(required(path))
    return found
