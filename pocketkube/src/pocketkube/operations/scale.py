"""The scale subresource: the replicas of a workload, or of a custom resource that declares where its replicas stand."""

import copy
from dataclasses import dataclass
from typing import Any

from pocketkube.patch.patches import Change
from pocketkube.resources.registry import Object, Resource
from pocketkube.status import invalid, invalid_value, required

_WORKLOADS = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"})
SCALE = Resource(
    group="autoscaling", version="v1", plural="scale", kind="Scale", singular="scale", namespaced=True, has_status=True
)
"""The resource whose objects are patched; it is served as a subresource only."""

_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


@dataclass(frozen=True, kw_only=True)
class _Paths:
    spec: str
    status: str
    selector: str


def is_scalable(resource: Resource) -> bool:
    """Tell whether the resource has a scale subresource."""
    return _paths_of(resource) is not None


def _paths_of(resource: Resource) -> _Paths | None:
    if resource.custom is None:
        if resource.kind not in _WORKLOADS:
            return None
        return _Paths(spec=".spec.replicas", status=".status.replicas", selector=".spec.selector")
    declared = resource.custom.scale
    if declared is None:
        return None
    return _Paths(
        spec=declared["specReplicasPath"],
        status=declared["statusReplicasPath"],
        selector=declared.get("labelSelectorPath", ""),
    )


def scale_of(resource: Resource, value: Object) -> Object:
    """Return the Scale of an object."""
    paths = _paths_of(resource)
    assert paths is not None  # noqa: S101 - asked for scalable resources only
    metadata = {name: value["metadata"][name] for name in _METADATA if name in value["metadata"]}
    status: dict[str, Any] = {"replicas": _read(value, paths.status) or 0}
    if selector := _selector_text(_read(value, paths.selector)):
        status["selector"] = selector
    spec = {"replicas": replicas} if (replicas := _read(value, paths.spec)) else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def scaling(resource: Resource, change: Change) -> Change:
    """Return the change of an object that a change of its Scale means; it raises a 422 for a bad number."""
    paths = _paths_of(resource)
    assert paths is not None  # noqa: S101 - asked for scalable resources only

    def apply(value: Object) -> Object:
        scale = change(scale_of(resource, value))
        spec = scale.get("spec") or {}
        replicas = spec.get("replicas", 0) if isinstance(spec, dict) else None
        name = value["metadata"].get("name", "")
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            raise invalid(name, "autoscaling", "Scale", [required("spec.replicas")])
        if replicas < 0:
            cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise invalid(name, "autoscaling", "Scale", [cause])
        result = copy.deepcopy(value)
        _write(result, paths.spec, replicas)
        result["metadata"].pop("resourceVersion", None)
        version = (scale.get("metadata") or {}).get("resourceVersion")
        if version:
            result["metadata"]["resourceVersion"] = version
        return result

    return apply


def _read(value: Any, path: str) -> Any:
    for step in path.strip(".").split(".") if path else ():
        value = value.get(step) if isinstance(value, dict) else None
    return value if path else None


def _write(value: Object, path: str, replicas: int) -> None:
    *parents, last = path.strip(".").split(".")
    for step in parents:
        found = value.get(step)
        if not isinstance(found, dict):
            found = value[step] = {}
        value = found
    value[last] = replicas


def _selector_text(selector: Any) -> str:
    """Return a label selector as text; a ReplicationController's is a plain map."""
    if isinstance(selector, str) or not isinstance(selector, dict):
        return selector or ""
    labels = selector.get("matchLabels", {}) if {"matchLabels", "matchExpressions"} & selector.keys() else selector
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
