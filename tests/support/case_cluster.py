"""The cluster that the notifications of `tests/cases/webhook` speak of.

Nodes, `kube-system`, `monitoring` and `openshift-monitoring` are there once. `shop` and `fn` are made for each case,
under names of its own, so that no case sees the alerts of another.
"""

import itertools
import os
from dataclasses import dataclass, field, replace
from typing import Any

from kubernaut.kube.client import Client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.errors import AlreadyExists, NotFound
from kubernaut.kube.objects import Key, Kind, Unstructured

PRODUCTION = {"kubernaut.ai/environment": "production", "kubernaut.ai/team": "checkout"}
DEVELOPMENT = {"kubernaut.ai/environment": "development"}

CUSTOM = (
    ("argoproj.io", "v1alpha1", "Rollout", "rollouts"),
    ("serving.knative.dev", "v1", "Service", "services"),
    ("serving.knative.dev", "v1", "Configuration", "configurations"),
    ("serving.knative.dev", "v1", "Revision", "revisions"),
    ("serving.knative.dev", "v1", "Route", "routes"),
    ("postgresql.cnpg.io", "v1", "Cluster", "clusters"),
    ("training.example", "v1", "Session", "sessions"),
)

_BUILTIN = (
    ("", "v1", "Namespace", "namespaces"),
    ("", "v1", "Node", "nodes"),
    ("", "v1", "Pod", "pods"),
    ("", "v1", "Service", "services"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("batch", "v1", "CronJob", "cronjobs"),
    ("batch", "v1", "Job", "jobs"),
)

KINDS: dict[str, Kind[Unstructured]] = {
    (f"{kind}.{group}" if (group, kind) == ("serving.knative.dev", "Service") else kind): Kind(
        group=group, version=version, kind=kind, plural=plural, namespaced=kind not in ("Namespace", "Node"), type=dict
    )
    for group, version, kind, plural in (*_BUILTIN, *CUSTOM)
}
KNATIVE_SERVICE = "Service.serving.knative.dev"

OLDER = {"CronJob": replace(KINDS["CronJob"], version="v1beta1")}
"""Kinds as a Kubernetes before 1.21 serves them."""

_numbers = itertools.count(1)


@dataclass
class CaseCluster:
    """Builds objects in one cluster."""

    client: Client
    made: dict[tuple[str, str, str], Unstructured] = field(default_factory=dict)
    kinds: dict[str, Kind[Unstructured]] = field(default_factory=lambda: dict(KINDS))

    async def add(
        self,
        kind: str,
        name: str,
        namespace: str = "",
        *,
        owner: str = "",
        controller: bool | None = True,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        spec: Unstructured | None = None,
    ) -> None:
        """Create an object; `owner` is `Kind/name`, an object of the same namespace or a node."""
        metadata: dict[str, Any] = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
        if namespace:
            metadata["namespace"] = namespace
        if owner:
            metadata["ownerReferences"] = [self._reference(owner, namespace, controller)]
        body: Unstructured = {"metadata": metadata} | ({"spec": spec} if spec else {})
        try:
            obj = await self._create(kind, body)
        except AlreadyExists:
            obj = await self.client.patch(
                self.kinds[kind], Key(namespace, name), {"metadata": {"labels": labels or {}}}
            )
        self.made[kind, namespace, name] = obj

    async def _create(self, kind: str, body: Unstructured) -> Unstructured:
        try:
            return await self.client.create(self.kinds[kind], body)
        except NotFound:
            if self.kinds[kind] is OLDER.get(kind, self.kinds[kind]):
                raise
            self.kinds[kind] = OLDER[kind]
            return await self.client.create(OLDER[kind], body)

    async def _define_kinds(self, definitions: list[Unstructured]) -> None:
        await ensure_crds(self.client, definitions)

    def _reference(self, owner: str, namespace: str, controller: bool | None) -> Unstructured:
        kind, _, name = owner.partition("/")
        obj = self.made.get((kind, namespace, name)) or self.made["Node", "", name]
        reference = {"apiVersion": self.kinds[kind].api_version, "kind": self.kinds[kind].kind, "name": name}
        more = {} if controller is None else {"controller": controller}
        return reference | more | {"uid": obj["metadata"]["uid"]}

    async def workload(self, kind: str, name: str, namespace: str, owner: str = "", **more: Any) -> None:
        labels = {"app": name}
        spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": _pod_spec()}}
        await self.add(kind, name, namespace, owner=owner, labels=labels, spec=spec, **more)

    async def pod(self, name: str, namespace: str, owner: str = "", node: str = "worker-1", **more: Any) -> None:
        await self.add("Pod", name, namespace, owner=owner, spec={"nodeName": node} | _pod_spec(), **more)

    async def delete(self, kind: str, name: str, namespace: str) -> None:
        await self.client.delete(self.kinds[kind], Key(namespace, name))

    async def add_common(self) -> None:
        """The kinds, the nodes and the namespaces that all cases share."""
        await self._define_kinds([_crd(*custom) for custom in CUSTOM])
        for name in ("worker-1", "worker-2", "cp-1"):
            await self.add("Node", name, labels={"kubernetes.io/hostname": name})
        await self.add("Namespace", "kube-system", labels=PRODUCTION)
        await self.add("Namespace", "monitoring", labels=DEVELOPMENT)
        await self.add("Namespace", "openshift-monitoring")
        await self.workload("Deployment", "kps-kube-state-metrics", "monitoring")
        replicas = "kps-kube-state-metrics-567d49447b"
        await self.workload("ReplicaSet", replicas, "monitoring", "Deployment/kps-kube-state-metrics")
        await self.pod(f"{replicas}-r8h7k", "monitoring", f"ReplicaSet/{replicas}")
        await self.workload("DaemonSet", "node-exporter", "monitoring")
        for name, node in (("kpfcc", "worker-1"), ("w7bb7", "worker-2")):
            await self.pod(f"node-exporter-{name}", "monitoring", "DaemonSet/node-exporter", node)
        mirror = {"kubernetes.io/config.mirror": "x", "kubernetes.io/config.source": "file"}
        for name in ("etcd", "kube-apiserver"):
            await self.pod(f"{name}-cp-1", "kube-system", "Node/cp-1", "cp-1", annotations=mirror)

    async def add_shop(self) -> tuple[str, str]:
        """A shop and its functions; returns their namespaces."""
        number = f"{os.getpid()}-{next(_numbers)}"
        shop, functions = f"case-shop-{number}", f"case-fn-{number}"
        for namespace in (shop, functions):
            await self.add("Namespace", namespace, labels=PRODUCTION)
        await self._add_workloads(shop)
        await self._add_functions(functions)
        return shop, functions

    async def _add_workloads(self, shop: str) -> None:
        for name in ("api", "cart2", "growing", "twice", "odd", "longname"):
            await self.workload("Deployment", name, shop)
        await self.workload("ReplicaSet", "api-7d4b", shop, "Deployment/api")
        await self.pod("api-7d4b-x2x9p", shop, "ReplicaSet/api-7d4b")
        template = {"spec": _pod_spec() | {"restartPolicy": "Never"}}
        await self.add(
            "CronJob",
            "nightly-report",
            shop,
            spec={"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}},
        )
        await self.add(
            "Job", "nightly-report-29586120", shop, owner="CronJob/nightly-report", spec={"template": template}
        )
        await self.add("Cluster", "orders-db", shop, spec={"instances": 1})
        await self.pod("orders-db-1", shop, "Cluster/orders-db")
        await self.add("Rollout", "checkout", shop, spec={"replicas": 1})
        await self.workload("ReplicaSet", "checkout-6c9", shop, "Rollout/checkout")
        await self.pod("checkout-6c9-zzzzz", shop, "ReplicaSet/checkout-6c9")
        await self.add("Session", "s1", shop)
        await self.pod("session-1", shop, "Session/s1", controller=None)

    async def _add_functions(self, functions: str) -> None:
        revision = "hello-00001"
        await self.add(KNATIVE_SERVICE, "hello", functions, labels={"kubernaut.ai/team": "fn-team"})
        await self.add("Configuration", "hello", functions, owner=f"{KNATIVE_SERVICE}/hello")
        await self.add("Route", "hello", functions, owner=f"{KNATIVE_SERVICE}/hello")
        await self.add("Revision", revision, functions, owner="Configuration/hello")
        await self.workload("Deployment", f"{revision}-deployment", functions, f"Revision/{revision}")
        replicas = f"{revision}-deployment-5d8"
        await self.workload("ReplicaSet", replicas, functions, f"Deployment/{revision}-deployment")
        await self.pod(f"{replicas}-abcde", functions, f"ReplicaSet/{replicas}")
        external = {"type": "ExternalName", "externalName": "gateway.example.com"}
        await self.add(
            "Service", "hello", functions, owner="Route/hello", labels={"core": "placeholder"}, spec=external
        )


class CaseFolder(CaseCluster):
    """The same cluster as a list of manifests, as somebody keeps them in a repository: no server has seen them."""

    def __init__(self) -> None:
        super().__init__(client=None)  # type: ignore[arg-type]  # nothing is asked of a server
        self.manifests: list[Unstructured] = []

    async def _create(self, kind: str, body: Unstructured) -> Unstructured:
        served = self.kinds[kind]
        obj: Unstructured = {"apiVersion": served.api_version, "kind": served.kind, **body}
        obj["metadata"]["uid"] = str(len(self.manifests) + 1)
        self.manifests.append(obj)
        return obj

    async def _define_kinds(self, definitions: list[Unstructured]) -> None:
        self.manifests += definitions


def _pod_spec() -> Unstructured:
    return {"containers": [{"name": "main", "image": "registry.example.com/shop:1"}]}


def _crd(group: str, version: str, kind: str, plural: str) -> Unstructured:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }
