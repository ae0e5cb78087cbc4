"""Kinds that tests read and write, and builders of their objects."""

from typing import Any

from kubernaut.api.meta import ObjectMeta, Wire
from kubernaut.kube.objects import Kind, PartialObjectMetadata, Unstructured


class ConfigMap(Wire, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] = {}


NAMESPACE = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=PartialObjectMetadata)
CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=ConfigMap)
EVENT = Kind(version="v1", kind="Event", plural="events", type=Unstructured)
POD = Kind(version="v1", kind="Pod", plural="pods", type=Unstructured)
WIDGET = Kind(group="kube.example.com", version="v1", kind="Widget", plural="widgets", type=PartialObjectMetadata)


def a_configmap(namespace: str, name: str, labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels or {}), data=data)


def a_pod(namespace: str, name: str) -> Unstructured:
    spec = {"containers": [{"name": "main", "image": "registry.example.com/shop/api:1"}]}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def a_definition(group: str = WIDGET.group) -> dict[str, Any]:
    """A CustomResourceDefinition of widgets with a size."""
    spec = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}}
    status = {"type": "object", "properties": {"phase": {"type": "string"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
