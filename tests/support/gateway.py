"""Kinds and cluster contents for tests of the gateway's mapping."""

from typing import Any

from kubernaut.gateway.cluster import CACHED, ManifestReader
from kubernaut.kube.objects import Kind, PartialObjectMetadata

NODE = Kind(version="v1", kind="Node", plural="nodes", namespaced=False, type=PartialObjectMetadata)
NAMESPACE = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=PartialObjectMetadata)
CLAIM = Kind(version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims", type=PartialObjectMetadata)
SERVICE = Kind(version="v1", kind="Service", plural="services", type=PartialObjectMetadata)
CRON_JOB = Kind(group="batch", version="v1", kind="CronJob", plural="cronjobs", type=PartialObjectMetadata)
INGRESS = Kind(group="networking.k8s.io", version="v1", kind="Ingress", plural="ingresses", type=PartialObjectMetadata)
ROLE = Kind(group="rbac.authorization.k8s.io", version="v1", kind="Role", plural="roles", type=PartialObjectMetadata)
CLUSTER = Kind(group="postgresql.cnpg.io", version="v1", kind="Cluster", plural="clusters", type=PartialObjectMetadata)
KINDS = {
    kind.kind.lower(): kind for kind in (*CACHED, CRON_JOB, NODE, NAMESPACE, CLAIM, SERVICE, INGRESS, ROLE, CLUSTER)
}


def an_object(kind: str, name: str, namespace: str = "shop", owner: tuple[str, str] | None = None) -> dict[str, Any]:
    """A manifest; `owner` is the kind and name of its controller."""
    kind_ = KINDS[kind.lower()]
    metadata: dict[str, Any] = {"name": name, "uid": f"{kind}-{name}"}
    if kind_.namespaced:
        metadata["namespace"] = namespace
    if owner is not None:
        above = KINDS[owner[0].lower()]
        reference = {"apiVersion": above.api_version, "kind": above.kind, "name": owner[1], "controller": True}
        metadata["ownerReferences"] = [reference | {"uid": f"{owner[0]}-{owner[1]}"}]
    return {"apiVersion": kind_.api_version, "kind": kind_.kind, "metadata": metadata}


def a_cluster(*manifests: dict[str, Any]) -> ManifestReader:
    return ManifestReader(KINDS.values(), manifests)
