"""Which object the labels of an alert mean, one row per convention of a sender."""

import re
from pathlib import Path

import pytest

from kubernaut.gateway.labels import DEFAULT_LABELS, subject_of, with_defaults
from kubernaut.gateway.targets import rejection_of, resolve, resolve_elsewhere
from support.gateway import a_cluster, an_object

KSM = {"job": "kube-state-metrics", "container": "kube-state-metrics", "service": "ksm", "instance": "10.42.8.74:8080"}
EXPORTER = {"job": "node-exporter", "namespace": "monitoring", "pod": "node-exporter-x", "container": "node-exporter"}


def on(node: str, pod: dict) -> dict:
    return pod | {"spec": {"nodeName": node}}


CLUSTER = [
    an_object("Deployment", "api"),
    an_object("ReplicaSet", "api-7d4b", owner=("Deployment", "api")),
    an_object("Pod", "api-1", owner=("ReplicaSet", "api-7d4b")),
    an_object("StatefulSet", "db"),
    an_object("Pod", "db-0", owner=("StatefulSet", "db")),
    an_object("PersistentVolumeClaim", "data-db-0"),
    an_object("CronJob", "nightly"),
    an_object("Job", "nightly-1", owner=("CronJob", "nightly")),
    an_object("Service", "web"),
    an_object("Cluster", "orders"),
    an_object("Pod", "ksm-kube-state-metrics-1", "monitoring"),
    on("worker-1", an_object("Pod", "node-exporter-x", "monitoring", owner=("DaemonSet", "node-exporter"))),
    an_object("Node", "worker-1") | {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}},
    an_object("Node", "worker-2"),
]


async def target_of(labels: dict[str, str], kinds: dict[str, str] = DEFAULT_LABELS, cluster: str = "cluster") -> str:
    resolved = await resolve(
        subject_of({"alertname": "A", "severity": "x"} | labels, kinds, cluster), a_cluster(*CLUSTER)
    )
    if resolved is None:
        return ""
    target = resolved.target
    return f"{target.namespace}/{target.kind}/{target.name}"


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        # Plain labels; what exists comes before what does not.
        ({"namespace": "shop", "pod": "api-1"}, "shop/Pod/api-1"),
        ({"namespace": "shop", "pod": "api-1", "deployment": "api"}, "shop/Deployment/api"),
        ({"namespace": "shop", "pod": "api-1", "deployment": "gone"}, "shop/Pod/api-1"),
        ({"namespace": "shop", "pod": "gone-1", "deployment": "gone"}, "shop/Deployment/gone"),
        (
            {"namespace": "shop", "pod": "gone-1", "persistentvolumeclaim": "data-db-0"},
            "shop/PersistentVolumeClaim/data-db-0",
        ),
        # A node, or an object of a kind that happens to be called like a label, beside a pod.
        ({"namespace": "shop", "pod": "api-1", "node": "worker-1"}, "shop/Pod/api-1"),
        ({"namespace": "shop", "pod": "gone-1", "node": "worker-1"}, "shop/Pod/gone-1"),
        ({"namespace": "shop", "persistentvolumeclaim": "gone", "node": "worker-1"}, "shop/PersistentVolumeClaim/gone"),
        ({"namespace": "shop", "pod": "gone-1", "role": "master", "event": "lag"}, "shop/Pod/gone-1"),
        ({"namespace": "shop", "role": "master"}, "/Namespace/shop"),
        ({"namespace": "shop", "service": "web", "job": "web"}, "shop/Service/web"),
        ({"namespace": "shop", "service": "api", "job": "api"}, "/Namespace/shop"),
        ({"namespace": "shop", "service": "web", "pod": "api-1"}, "shop/Pod/api-1"),
        # kube-state-metrics: `job` is the scraper's, `job_name` is not.
        (
            {"namespace": "shop", "job_name": "nightly-1", "pod": "ksm-kube-state-metrics-1", **KSM},
            "shop/Job/nightly-1",
        ),
        ({"namespace": "shop", "job_name": "gone-1", "pod": "ksm-kube-state-metrics-1", **KSM}, "shop/Job/gone-1"),
        ({"namespace": "shop", "pod": "ksm-kube-state-metrics-1", **KSM}, "/Namespace/shop"),
        (
            {"namespace": "monitoring", "pod": "ksm-kube-state-metrics-1", **KSM},
            "monitoring/Pod/ksm-kube-state-metrics-1",
        ),
        ({"namespace": "shop", "pod": "node-exporter-x", "job": "cert-manager"}, "/Namespace/shop"),
        (
            {
                "exported_namespace": "shop",
                "exported_pod": "api-1",
                "namespace": "monitoring",
                "pod": "ksm-kube-state-metrics-1",
            },
            "shop/Pod/api-1",
        ),
        (
            {"exported_namespace": "shop", "exported_pod": "gone", "namespace": "monitoring", "pod": "node-exporter-x"},
            "shop/Pod/gone",
        ),
        ({"exported_namespace": "shop", "namespace": "monitoring", "pod": "node-exporter-x"}, "/Namespace/shop"),
        ({"exported_namespace": "shop", "deployment": "api", "namespace": "monitoring"}, "shop/Deployment/api"),
        (
            {"namespace": "shop", "created_by_kind": "ReplicaSet", "created_by_name": "api-7d4b"},
            "shop/ReplicaSet/api-7d4b",
        ),
        ({"namespace": "shop", "owner_kind": "StatefulSet", "owner_name": "db"}, "shop/StatefulSet/db"),
        (
            {"namespace": "shop", "created_by_kind": "<none>", "created_by_name": "<none>", "pod": "gone"},
            "shop/Pod/gone",
        ),
        # ingress-nginx, Istio, the mixin's rules.
        (
            {
                "namespace": "ingress",
                "exported_namespace": "shop",
                "exported_service": "api",
                "ingress": "api",
                "pod": "n-1",
            },
            "shop/Ingress/api",
        ),
        (
            {"destination_workload": "db", "destination_workload_namespace": "shop", "namespace": "istio-system"},
            "shop/StatefulSet/db",
        ),
        (
            {
                "destination_workload": "api",
                "destination_workload_namespace": "shop",
                "namespace": "shop",
                "pod": "db-0",
            },
            "shop/Deployment/api",
        ),
        ({"destination_workload": "unknown", "namespace": "shop", "pod": "db-0"}, "shop/Pod/db-0"),
        (
            {"destination_service_name": "web", "destination_service_namespace": "shop", "namespace": "istio-system"},
            "shop/Service/web",
        ),
        ({"namespace": "shop", "workload": "db", "workload_type": "statefulset"}, "shop/StatefulSet/db"),
        ({"namespace": "shop", "workload": "db"}, "shop/StatefulSet/db"),
        ({"namespace": "shop", "workload": "gone"}, "shop/Deployment/gone"),
        # Other spellings.
        ({"kubernetes_namespace": "shop", "kubernetes_pod_name": "api-1"}, "shop/Pod/api-1"),
        ({"namespace": "shop", "pod_name": "api-1", "container_name": "main"}, "shop/Pod/api-1"),
        ({"k8s_namespace_name": "shop", "k8s_deployment_name": "api"}, "shop/Deployment/api"),
        ({"k8s.namespace.name": "shop", "k8s.pod.name": "api-1"}, "shop/Pod/api-1"),
        ({"kube_namespace": "shop", "kube_deployment": "api"}, "shop/Deployment/api"),
        ({"namespace": "shop", "podName": "api-1"}, "shop/Pod/api-1"),
        ({"container_label_io_kubernetes_pod_name": "api-1", "namespace": "shop"}, "shop/Pod/api-1"),
        ({"namespace": "shop", "hpa": "api"}, "shop/HorizontalPodAutoscaler/api"),
        ({"namespace": "shop", "pdb": "api"}, "shop/PodDisruptionBudget/api"),
        ({"namespace": "shop", "pvc": "data-db-0"}, "shop/PersistentVolumeClaim/data-db-0"),
        ({"namespace": "shop", "k8s_job_name": "nightly-1", "job": "x"}, "shop/Job/nightly-1"),
        # Nodes.
        ({"node": "worker-1"}, "/Node/worker-1"),
        ({"node": "gone"}, "/Node/gone"),
        ({"kubernetes_node": "worker-1"}, "/Node/worker-1"),
        ({"nodename": "worker-2", **EXPORTER}, "/Node/worker-2"),
        ({"host": "shop.example.com", "namespace": "shop"}, "/Namespace/shop"),
        ({"instance": "10.0.0.1:9100", **EXPORTER}, "/Node/worker-1"),
        ({"instance": "worker-2:9100", **EXPORTER}, "/Node/worker-2"),
        ({"instance": "10.9.9.9:9100", **EXPORTER}, "/Node/worker-1"),
        ({"instance": "worker-2"}, "/Node/worker-2"),
        ({"namespace": "shop", "instance": "10.0.0.1:8080"}, "/Namespace/shop"),
        ({"instance": "172.29.254.30", "job": "blackbox-icmp"}, ""),
        # A pod of node-exporter that kube-state-metrics tells of.
        (
            {"namespace": "monitoring", "pod": "node-exporter-x", "job": "kube-state-metrics"},
            "monitoring/Pod/node-exporter-x",
        ),
        # Without a namespace, an object counts when exactly one has the name.
        ({"pod": "api-1"}, "shop/Pod/api-1"),
        ({"pod": "gone"}, "/Pod/gone"),
        ({"cluster": "orders", "namespace": "shop"}, "/Namespace/shop"),
        ({}, ""),
    ],
)
async def test_labels_name_the_object_that_their_sender_means(labels, target):
    assert await target_of(labels) == target


async def test_a_label_that_is_not_the_clusters_may_name_a_database_cluster():
    assert await target_of({"cluster": "orders", "namespace": "shop"}, cluster="") == "shop/Cluster/orders"


async def test_the_operator_says_what_a_label_names():
    kinds = with_defaults({"app": "Deployment.v1.apps", "pod": ""})

    assert await target_of({"namespace": "shop", "app": "api"}, kinds) == "shop/Deployment/api"
    assert await target_of({"namespace": "shop", "pod": "gone"}, kinds) == "/Namespace/shop"


@pytest.mark.parametrize(
    ("labels", "labels_named"),
    [
        ({}, []),
        ({"namespace": "Shop", "deployment": "Api"}, ["deployment", "namespace"]),
        ({"pod": "{{ $labels.pod }}", "node": "worker 1"}, ["pod", "node"]),
    ],
)
async def test_a_rejection_says_which_labels_have_no_valid_name(labels, labels_named):
    subject = subject_of({"alertname": "A"} | labels, DEFAULT_LABELS)

    assert await resolve(subject, a_cluster(*CLUSTER)) is None
    assert re.findall(r"label (\w+) has", rejection_of(subject)) == labels_named


async def test_a_value_that_cannot_be_a_name_is_noted():
    labels = {"namespace": "shop", "deployment": "api,cart", "pod": "Api_1"}

    resolved = await resolve(subject_of(labels, DEFAULT_LABELS), a_cluster(*CLUSTER))

    assert resolved.target.kind == "Namespace"
    assert resolved.notes == (
        "label deployment has no valid name of an object: 'api,cart'",
        "label pod has no valid name of an object: 'Api_1'",
    )


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        ({"namespace": "shop", "deployment": "api", "pod": "api-1"}, "shop/Deployment/api"),
        ({"namespace": "shop", "pod": "other-1", "node": "n"}, "shop/Pod/other-1"),
        ({"namespace": "shop", "service": "web"}, "/Namespace/shop"),
        ({"node": "n"}, "/Node/n"),
        ({"namespace": "shop", "kind": "Deployment", "name": "api", "node": "n"}, "shop/Deployment/api"),
        ({"involved_object_kind": "po", "involved_object_name": "p", "namespace": "shop"}, "shop/Pod/p"),
        ({"namespace": "shop", "kind": "Widget", "name": "w"}, "/Namespace/shop"),
    ],
)
def test_objects_of_another_cluster_are_named_without_looking(labels, target):
    about = resolve_elsewhere(subject_of(labels, DEFAULT_LABELS)).target

    assert f"{about.namespace}/{about.kind}/{about.name}" == target


def test_the_howto_names_every_label_in_order():
    text = (Path(__file__).resolve().parents[3] / "docs/howto-alertmanager.md").read_text()

    assert ", ".join(f"`{label}`" for label, kind in DEFAULT_LABELS.items() if kind) in text
