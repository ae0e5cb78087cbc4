"""What exporters, agents and rules of all kinds call an object, and the object that a user means by it.

The labels are those of the exporters' own documentation and of the rules that come with them; names are replaced.
Every row has the scraper's labels beside the subject's, as Prometheus adds them.
"""

from typing import Any

import pytest

from kubernaut.gateway.alertmanager import Alert, AlertStatus, Webhook
from kubernaut.gateway.cluster import ManifestReader
from kubernaut.gateway.config import ClusterConfig, IntakeConfig
from kubernaut.gateway.mapped_alert import MappedAlert
from kubernaut.gateway.signals import SignalMapper

API_VERSIONS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "CronJob": "batch/v1",
    "Job": "batch/v1",
    "Ingress": "networking.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "Application": "argoproj.io/v1alpha1",
    "Certificate": "cert-manager.io/v1",
    "ExternalSecret": "external-secrets.io/v1",
    "Kustomization": "kustomize.toolkit.fluxcd.io/v1",
    "Kafka": "kafka.strimzi.io/v1beta2",
    "ScaledObject": "keda.sh/v1alpha1",
    "ScaledJob": "keda.sh/v1alpha1",
    "ClusterOperator": "config.openshift.io/v1",
    "VerticalPodAutoscaler": "autoscaling.k8s.io/v1",
    "Bucket": "s3.aws.upbound.io/v1beta1",
    "PipelineRun": "tekton.dev/v1",
    "Backup": "velero.io/v1",
    "Schedule": "velero.io/v1",
    "CephCluster": "ceph.rook.io/v1",
    "Rollout": "argoproj.io/v1alpha1",
    "Revision": "serving.knative.dev/v1",
    "KafkaTopic": "kafka.strimzi.io/v1beta2",
}
CLUSTER_SCOPED = {"Namespace", "Node", "PersistentVolume", "ClusterOperator", "Bucket"}


def an_object(named: str, owner: str = "") -> dict[str, Any]:
    """`Kind/name@namespace` as a manifest."""
    kind, _, rest = named.partition("/")
    name, _, namespace = rest.partition("@")
    metadata: dict[str, Any] = {"name": name, "uid": named}
    if kind not in CLUSTER_SCOPED:
        metadata["namespace"] = namespace
    if owner:
        above, _, above_name = owner.partition("/")
        reference = {"apiVersion": API_VERSIONS.get(above, "v1"), "kind": above, "name": above_name, "uid": owner}
        metadata["ownerReferences"] = [reference | {"controller": True}]
    return {"apiVersion": API_VERSIONS.get(kind, "v1"), "kind": kind, "metadata": metadata}


NAMESPACES = ("shop", "monitoring", "kafka", "argocd", "cert-manager", "keda", "velero", "rook-ceph", "flux-system")
MANIFESTS = [
    *(an_object(f"Namespace/{name}") for name in (*NAMESPACES, "longhorn-system", "openshift-cluster-version")),
    *(an_object(f"Node/{name}") for name in ("worker-1", "worker-2")),
    an_object("PersistentVolume/pvc-1234"),
    an_object("ClusterOperator/ingress"),
    an_object("Bucket/shop-images"),
    *(
        an_object(f"{named}@shop")
        for named in (
            *("Deployment/api", "Service/api", "HorizontalPodAutoscaler/api", "PodDisruptionBudget/api"),
            *("StatefulSet/pg", "PersistentVolumeClaim/data-pg-0", "Ingress/web", "CronJob/report", "DaemonSet/agent"),
            *(
                "Certificate/web-tls",
                "ExternalSecret/db",
                "ScaledObject/api",
                "ScaledJob/report",
                "PipelineRun/build-1",
            ),
            *("VerticalPodAutoscaler/api", "Rollout/checkout", "Revision/hello-1", "Deployment/worker"),
        )
    ),
    an_object("ReplicaSet/api-7d4b@shop", "Deployment/api"),
    an_object("Pod/api-7d4b-x@shop", "ReplicaSet/api-7d4b"),
    an_object("Pod/pg-0@shop", "StatefulSet/pg"),
    an_object("Job/report-1@shop", "CronJob/report"),
    an_object("Kafka/events@kafka"),
    an_object("KafkaTopic/orders@kafka"),
    an_object("Pod/events-kafka-0@kafka", "Kafka/events"),
    an_object("Application/web@argocd"),
    an_object("Kustomization/apps@flux-system"),
    an_object("Schedule/daily@velero"),
    an_object("CephCluster/rook-ceph@rook-ceph"),
]
SCRAPERS = {
    "monitoring": (
        *("prom-kube-state-metrics-1", "nvidia-dcgm-exporter-1"),
        *("blackbox-1", "postgres-exporter-1", "event-exporter-1", "prometheus-0", "adapter-1", "otel-1"),
    ),
    "kafka": ("kafka-exporter-1",),
    "argocd": ("argocd-application-controller-0",),
    "cert-manager": ("cert-manager-1",),
    "keda": ("keda-operator-1",),
    "velero": ("velero-1",),
    "rook-ceph": ("rook-ceph-mgr-a-1",),
    "flux-system": ("kustomize-controller-1",),
    "longhorn-system": ("longhorn-manager-1",),
    "openshift-cluster-version": ("cluster-version-operator-1",),
}
MANIFESTS += [an_object(f"Pod/{pod}@{namespace}") for namespace, pods in SCRAPERS.items() for pod in pods]


def scraped(namespace: str, pod: str, job: str) -> dict[str, str]:
    """What the scraper adds of itself."""
    return {"namespace": namespace, "pod": pod, "job": job, "instance": "10.1.2.3:9100", "endpoint": "http"} | {
        "container": "main",
        "service": job,
    }


CERT_MANAGER = scraped("cert-manager", "cert-manager-1", "cert-manager")
ARGOCD = scraped("argocd", "argocd-application-controller-0", "argocd-application-controller-metrics")
KEDA = scraped("keda", "keda-operator-1", "keda-operator")
FLUX = scraped("flux-system", "kustomize-controller-1", "flux-system/kustomize-controller")
LONGHORN = scraped("longhorn-system", "longhorn-manager-1", "longhorn-backend")
KSM = {"job": "kube-state-metrics", "instance": "10.1.2.3:8080"}
OTEL = scraped("monitoring", "otel-1", "otel-collector")
EVENTS = scraped("monitoring", "event-exporter-1", "event-exporter")

ROWS: list[tuple[str, dict[str, str], str]] = [
    # databases and queues
    (
        "postgres sidecar",
        {"namespace": "shop", "pod": "pg-0", "job": "pg", "datname": "orders", "server": "localhost:5432"},
        "Pod/pg-0@shop",
    ),
    (
        "postgres exporter",
        scraped("monitoring", "postgres-exporter-1", "pg") | {"server": "10.0.0.9:5432"},
        "Pod/postgres-exporter-1@monitoring",
    ),
    (
        "strimzi",
        {
            "namespace": "kafka",
            "kubernetes_pod_name": "events-kafka-0",
            "strimzi_io_cluster": "events",
            "strimzi_io_kind": "Kafka",
            "strimzi_io_name": "events-kafka",
            "job": "kafka",
        },
        "Pod/events-kafka-0@kafka",
    ),
    # prometheus' own example configuration
    (
        "annotated service",
        {"job": "kubernetes-service-endpoints", "kubernetes_namespace": "shop", "kubernetes_name": "api", "app": "api"},
        "Service/api@shop",
    ),
    (
        "annotated service, probed",
        {
            "job": "kubernetes-services",
            "instance": "http://api.shop.svc:80/",
            "kubernetes_namespace": "shop",
            "kubernetes_name": "api",
        },
        "Service/api@shop",
    ),
    (
        "annotated pod",
        {
            "job": "kubernetes-pods",
            "kubernetes_namespace": "shop",
            "kubernetes_pod_name": "api-7d4b-x",
            "app": "api",
            "pod_template_hash": "7d4b",
        },
        "Pod/api-7d4b-x@shop",
    ),
    # meshes
    (
        "istio host",
        {
            "destination_service": "api.shop.svc.cluster.local",
            "reporter": "source",
            "response_code": "503",
            "namespace": "monitoring",
            "pod": "prometheus-0",
        },
        "Service/api@shop",
    ),
    (
        "istio unknown destination",
        {
            "destination_workload": "unknown",
            "destination_workload_namespace": "unknown",
            "source_workload": "api",
            "source_workload_namespace": "shop",
            "reporter": "source",
            "namespace": "monitoring",
        },
        "Deployment/api@shop",
    ),
    (
        "istio canonical",
        {
            "destination_canonical_service": "api",
            "destination_workload_namespace": "shop",
            "namespace": "monitoring",
            "pod": "prometheus-0",
        },
        "Service/api@shop",
    ),
    (
        "linkerd",
        {"namespace": "shop", "deployment": "api", "direction": "inbound", "pod": "api-7d4b-x", "job": "linkerd-proxy"},
        "Deployment/api@shop",
    ),
    (
        "linkerd statefulset",
        {
            "namespace": "shop",
            "statefulset": "pg",
            "direction": "outbound",
            "dst_deployment": "api",
            "dst_namespace": "shop",
        },
        "StatefulSet/pg@shop",
    ),
    # ingress
    (
        "ingress-nginx, honored",
        {
            "namespace": "shop",
            "ingress": "web",
            "service": "api",
            "controller_pod": "ingress-nginx-1",
            "controller_namespace": "ingress-nginx",
            "status": "502",
        },
        "Ingress/web@shop",
    ),
    (
        "ingress-nginx, no ingress",
        {"namespace": "shop", "ingress": "gone", "service": "api", "status": "502"},
        "Ingress/gone@shop",
    ),
    # operators that tell of their own resources
    (
        "cert-manager",
        CERT_MANAGER
        | {
            "exported_namespace": "shop",
            "name": "web-tls",
            "issuer_name": "letsencrypt",
            "issuer_kind": "ClusterIssuer",
            "issuer_group": "cert-manager.io",
        },
        "Certificate/web-tls@shop",
    ),
    (
        "cert-manager, honored",
        CERT_MANAGER
        | {"namespace": "shop", "name": "web-tls", "issuer_kind": "ClusterIssuer", "issuer_name": "letsencrypt"},
        "Certificate/web-tls@shop",
    ),
    (
        "argocd",
        ARGOCD
        | {
            "name": "web",
            "dest_namespace": "shop",
            "dest_server": "https://kubernetes.default.svc",
            "project": "default",
            "sync_status": "OutOfSync",
            "health_status": "Degraded",
        },
        "Application/web@argocd",
    ),
    (
        "keda",
        KEDA | {"exported_namespace": "shop", "scaledObject": "api", "scaler": "s0-kafka", "metric": "s0"},
        "ScaledObject/api@shop",
    ),
    ("keda, honored", KEDA | {"namespace": "shop", "scaledObject": "api"}, "ScaledObject/api@shop"),
    ("keda job", KEDA | {"exported_namespace": "shop", "scaledJob": "report"}, "ScaledJob/report@shop"),
    (
        "keda typed",
        KEDA | {"exported_namespace": "shop", "resource_type": "scaledobject", "resource_name": "api"},
        "ScaledObject/api@shop",
    ),
    (
        "flux before 2.1",
        FLUX
        | {
            "exported_namespace": "flux-system",
            "kind": "Kustomization",
            "name": "apps",
            "type": "Ready",
            "status": "False",
        },
        "Kustomization/apps@flux-system",
    ),
    (
        "flux by kube-state-metrics",
        KSM
        | {
            "exported_namespace": "flux-system",
            "customresource_group": "kustomize.toolkit.fluxcd.io",
            "customresource_version": "v1",
            "customresource_kind": "Kustomization",
            "name": "apps",
            "ready": "False",
        },
        "Kustomization/apps@flux-system",
    ),
    (
        "external-secrets",
        scraped("monitoring", "adapter-1", "external-secrets-metrics")
        | {"exported_namespace": "shop", "name": "db", "condition": "Ready", "status": "False"},
        "ExternalSecret/db@shop",
    ),
    (
        "crossplane by kube-state-metrics",
        KSM
        | {
            "namespace": "monitoring",
            "customresource_group": "s3.aws.upbound.io",
            "customresource_version": "v1beta1",
            "customresource_kind": "Bucket",
            "name": "shop-images",
        },
        "Bucket/shop-images",
    ),
    (
        "openshift operator",
        scraped("openshift-cluster-version", "cluster-version-operator-1", "cluster-version-operator")
        | {"name": "ingress", "reason": "Degraded"},
        "ClusterOperator/ingress",
    ),
    ("velero", {"namespace": "velero", "schedule": "daily", "job": "velero"}, "Schedule/daily@velero"),
    (
        "longhorn",
        LONGHORN | {"volume": "pvc-1234", "pvc": "data-pg-0", "pvc_namespace": "shop", "node": "worker-1"},
        "PersistentVolumeClaim/data-pg-0@shop",
    ),
    ("tekton", {"namespace": "shop", "pipelinerun": "build-1", "job": "tekton"}, "PipelineRun/build-1@shop"),
    (
        "gatekeeper",
        scraped("monitoring", "adapter-1", "gatekeeper")
        | {"resource_kind": "Deployment", "resource_name": "api", "resource_namespace": "shop"},
        "Deployment/api@shop",
    ),
    # kube-state-metrics
    (
        "hpa target",
        KSM
        | {
            "namespace": "shop",
            "scaletargetref_kind": "Deployment",
            "scaletargetref_name": "api",
            "horizontalpodautoscaler": "api",
        },
        "HorizontalPodAutoscaler/api@shop",
    ),
    (
        "vpa",
        KSM
        | {
            "namespace": "shop",
            "verticalpodautoscaler": "api",
            "target_kind": "Deployment",
            "target_name": "api",
            "target_api_version": "apps/v1",
            "container": "main",
        },
        "VerticalPodAutoscaler/api@shop",
    ),
    (
        "claim of a volume",
        KSM | {"persistentvolume": "pvc-1234", "name": "data-pg-0", "claim_namespace": "shop"},
        "PersistentVolume/pvc-1234",
    ),
    ("pdb", KSM | {"namespace": "shop", "poddisruptionbudget": "api"}, "PodDisruptionBudget/api@shop"),
    ("node", KSM | {"node": "worker-1", "condition": "Ready", "status": "true"}, "Node/worker-1"),
    # events
    (
        "event exporter",
        EVENTS
        | {
            "involved_object_kind": "Pod",
            "involved_object_name": "api-7d4b-x",
            "involved_object_namespace": "shop",
            "reason": "BackOff",
            "type": "Warning",
        },
        "Pod/api-7d4b-x@shop",
    ),
    (
        "event exporter, old",
        EVENTS | {"involvedObject_kind": "Node", "involvedObject_name": "worker-2", "reason": "Rebooted"},
        "Node/worker-2",
    ),
    (
        "object",
        EVENTS | {"object_kind": "StatefulSet", "object_name": "pg", "object_namespace": "shop"},
        "StatefulSet/pg@shop",
    ),
    # clouds and agents
    (
        "gke",
        {
            "cluster": "gke-1",
            "location": "europe-west1",
            "project_id": "p",
            "namespace": "shop",
            "top_level_controller_name": "api",
            "top_level_controller_type": "Deployment",
            "container": "main",
        },
        "Deployment/api@shop",
    ),
    (
        "otel deployment",
        {"k8s_namespace_name": "shop", "k8s_deployment_name": "api", "job": "otel"},
        "Deployment/api@shop",
    ),
    ("otel dots", {"k8s.namespace.name": "shop", "k8s.statefulset.name": "pg"}, "StatefulSet/pg@shop"),
    ("otel job", {"k8s_namespace_name": "shop", "k8s_job_name": "report-1"}, "Job/report-1@shop"),
    ("otel cronjob", {"k8s_namespace_name": "shop", "k8s_cronjob_name": "report"}, "CronJob/report@shop"),
    ("otel node", {"k8s_node_name": "worker-1", "k8s_cluster_name": "c"}, "Node/worker-1"),
    ("datadog", {"kube_namespace": "shop", "kube_deployment": "api", "kube_cluster_name": "c"}, "Deployment/api@shop"),
    ("datadog statefulset", {"kube_namespace": "shop", "kube_stateful_set": "pg"}, "StatefulSet/pg@shop"),
    ("datadog daemonset", {"kube_namespace": "shop", "kube_daemon_set": "agent"}, "DaemonSet/agent@shop"),
    (
        "datadog owner",
        {"kube_namespace": "shop", "kube_ownerref_kind": "statefulset", "kube_ownerref_name": "pg"},
        "StatefulSet/pg@shop",
    ),
    (
        "sysdig",
        {
            "kube_cluster_name": "c",
            "kube_namespace_name": "shop",
            "kube_workload_type": "deployment",
            "kube_workload_name": "api",
        },
        "Deployment/api@shop",
    ),
    ("new relic", {"clusterName": "c", "namespaceName": "shop", "deploymentName": "api"}, "Deployment/api@shop"),
    ("cloudwatch", {"ClusterName": "c", "Namespace": "shop", "PodName": "api-7d4b-x"}, "Pod/api-7d4b-x@shop"),
    ("cloudwatch service", {"ClusterName": "c", "Namespace": "shop", "Service": "api"}, "Service/api@shop"),
    ("camel case", {"namespace": "shop", "statefulSet": "pg"}, "StatefulSet/pg@shop"),
    (
        "camel case claim",
        {"namespace": "shop", "persistentVolumeClaim": "data-pg-0"},
        "PersistentVolumeClaim/data-pg-0@shop",
    ),
    (
        "fluent bit",
        {
            "kubernetes_namespace_name": "shop",
            "kubernetes_pod_name": "api-7d4b-x",
            "kubernetes_host": "worker-1",
            "kubernetes_container_name": "main",
        },
        "Pod/api-7d4b-x@shop",
    ),
    (
        "cadvisor",
        {
            "container_label_io_kubernetes_pod_namespace": "shop",
            "container_label_io_kubernetes_pod_name": "api-7d4b-x",
            "id": "/kubepods",
            "instance": "worker-1:8080",
        },
        "Pod/api-7d4b-x@shop",
    ),
    (
        "gpu",
        {
            "exported_namespace": "shop",
            "exported_pod": "api-7d4b-x",
            "exported_container": "main",
            "Hostname": "worker-1",
            "gpu": "0",
            "namespace": "monitoring",
            "pod": "adapter-1",
            "job": "nvidia-dcgm-exporter",
        },
        "Pod/api-7d4b-x@shop",
    ),
    # logs
    ("loki", {"namespace": "shop", "app": "api", "container": "main", "level": "error"}, "Deployment/api@shop"),
    ("loki, recommended label", {"namespace": "shop", "app_kubernetes_io_name": "pg"}, "StatefulSet/pg@shop"),
    ("loki, unknown app", {"namespace": "shop", "app": "nobody"}, "Namespace/shop"),
    ("loki on a node", {"namespace": "shop", "app": "api", "node": "worker-1"}, "Node/worker-1"),
    ("otel service", {"namespace": "shop", "service_name": "api"}, "Deployment/api@shop"),
    # an agent's labels beside those of its scraper
    (
        "otel, scraped",
        OTEL | {"k8s_namespace_name": "shop", "k8s_pod_name": "api-7d4b-x", "k8s_node_name": "worker-1"},
        "Pod/api-7d4b-x@shop",
    ),
    ("otel, scraped, its own alert", OTEL | {"exporter": "otlp"}, "Pod/otel-1@monitoring"),
    (
        "otel that scrapes kube-state-metrics",
        {
            "namespace": "shop",
            "pod": "pg-0",
            "k8s_namespace_name": "monitoring",
            "k8s_pod_name": "prom-kube-state-metrics-1",
            "job": "kube-state-metrics",
        },
        "Pod/pg-0@shop",
    ),
    ("datadog, scraped", OTEL | {"kube_namespace": "shop", "pod_name": "pg-0"}, "Pod/pg-0@shop"),
    (
        "falco",
        scraped("monitoring", "adapter-1", "falco") | {"k8s_ns_name": "shop", "k8s_pod_name": "pg-0", "rule": "Shell"},
        "Pod/pg-0@shop",
    ),
    (
        "knative activator",
        scraped("monitoring", "adapter-1", "activator")
        | {"namespace_name": "shop", "configuration_name": "hello", "revision_name": "hello-1"},
        "Revision/hello-1@shop",
    ),
    # jobs of Prometheus' own example that scrape everything
    (
        "kube-state-metrics by annotation",
        {
            "job": "kubernetes-pods",
            "kubernetes_namespace": "monitoring",
            "kubernetes_pod_name": "prom-kube-state-metrics-1",
            "node": "worker-1",
        },
        "Node/worker-1",
    ),
    (
        "cadvisor by node",
        {"job": "kubernetes-nodes-cadvisor", "instance": "worker-1", "namespace": "shop", "pod": "pg-0"},
        "Pod/pg-0@shop",
    ),
    (
        "kubelet by node",
        {"job": "kubernetes-nodes", "instance": "worker-1", "namespace": "shop", "persistentvolumeclaim": "data-pg-0"},
        "PersistentVolumeClaim/data-pg-0@shop",
    ),
    ("node by its full name", {"job": "node", "instance": "worker-1.example.com:9100"}, "Node/worker-1"),
    # exporters whose own pod stands beside what they tell of
    ("longhorn node", LONGHORN | {"node": "worker-1"}, "Node/worker-1"),
    ("longhorn manager", LONGHORN, "Pod/longhorn-manager-1@longhorn-system"),
    (
        "gpu that nobody uses",
        scraped("monitoring", "nvidia-dcgm-exporter-1", "nvidia-dcgm-exporter") | {"Hostname": "worker-2", "gpu": "0"},
        "Node/worker-2",
    ),
    (
        "exported pod, its namespace aggregated away",
        KSM | {"namespace": "monitoring", "exported_pod": "pg-0"},
        "Pod/pg-0@shop",
    ),
    # what controllers write on their pods
    ("label of a job", KSM | {"namespace": "shop", "pod": "gone", "label_job_name": "report-1"}, "Job/report-1@shop"),
    ("label of a job, new", {"namespace": "shop", "batch_kubernetes_io_job_name": "report-1"}, "Job/report-1@shop"),
    ("job in one word", {"namespace": "shop", "jobname": "report-1"}, "Job/report-1@shop"),
    (
        "knative revision",
        KSM | {"namespace": "shop", "pod": "gone", "label_serving_knative_dev_revision": "hello-1"},
        "Revision/hello-1@shop",
    ),
    (
        "recommended label",
        KSM | {"namespace": "shop", "label_app_kubernetes_io_name": "worker"},
        "Deployment/worker@shop",
    ),
    ("release", {"namespace": "shop", "app_kubernetes_io_instance": "worker"}, "Deployment/worker@shop"),
    # probes, ingresses and meshes
    (
        "blackbox, service",
        scraped("monitoring", "blackbox-1", "blackbox") | {"instance": "http://api.shop.svc:8080/healthz"},
        "Service/api@shop",
    ),
    ("blackbox, tcp", {"job": "blackbox", "instance": "api.shop.svc.cluster.local:80"}, "Service/api@shop"),
    (
        "blackbox, elsewhere",
        {"job": "blackbox", "instance": "https://shop.example.com/", "namespace": "monitoring"},
        "Namespace/monitoring",
    ),
    (
        "static kube-state-metrics",
        {"job": "ksm", "instance": "api.shop.svc:8080", "namespace": "monitoring", "resourcequota": "gone"},
        "Namespace/monitoring",
    ),
    (
        "traefik",
        scraped("monitoring", "adapter-1", "traefik") | {"exported_service": "shop-api-80@kubernetes", "code": "502"},
        "Service/api@shop",
    ),
    ("traefik crd", {"job": "traefik", "service": "shop-api-http@kubernetescrd"}, "Service/api@shop"),
    ("traefik, unknown", scraped("shop", "pg-0", "traefik") | {"service": "a-b-c-80@kubernetes"}, "Pod/pg-0@shop"),
    (
        "istio workload without a service",
        {"destination_service_name": "worker", "destination_service_namespace": "shop", "reporter": "source"},
        "Deployment/worker@shop",
    ),
    ("istio, aggregated", {"destination_workload": "api", "namespace": "shop"}, "Deployment/api@shop"),
    (
        "hubble",
        {"destination_namespace": "shop", "destination_workload": "api", "job": "hubble"},
        "Deployment/api@shop",
    ),
    # workloads, as rules, agents and people write them
    (
        "argo rollouts",
        scraped("monitoring", "adapter-1", "argo-rollouts-metrics")
        | {"exported_namespace": "shop", "name": "checkout", "phase": "Degraded"},
        "Rollout/checkout@shop",
    ),
    ("datadog rollout", {"kube_namespace": "shop", "kube_argo_rollout": "checkout"}, "Rollout/checkout@shop"),
    ("mixin, bare pod", {"namespace": "shop", "workload": "pg-0", "workload_type": "barepod"}, "Pod/pg-0@shop"),
    ("mixin, static pod", {"namespace": "shop", "workload": "pg-0", "workload_type": "staticpod"}, "Pod/pg-0@shop"),
    (
        "kubesphere",
        {"namespace": "shop", "owner_kind": "Deployment", "workload": "Deployment:api"},
        "Deployment/api@shop",
    ),
    (
        "gke metadata",
        {
            "namespace": "shop",
            "metadata_system_top_level_controller_name": "api",
            "metadata_system_top_level_controller_type": "Deployment",
        },
        "Deployment/api@shop",
    ),
    (
        "azure container insights",
        {"namespace": "shop", "controllerName": "api-7d4b", "controllerKind": "ReplicaSet"},
        "ReplicaSet/api-7d4b@shop",
    ),
    ("namespace and name", {"pod": "shop/pg-0"}, "Pod/pg-0@shop"),
    ("kind and name", {"namespace": "shop", "deployment": "deployment/api"}, "Deployment/api@shop"),
    ("abbreviated kind", {"namespace": "shop", "kind": "deploy", "name": "api"}, "Deployment/api@shop"),
    ("abbreviated label", {"namespace": "shop", "sts": "pg"}, "StatefulSet/pg@shop"),
    ("abbreviation of something else", {"namespace": "shop", "ds": "dataset-7", "pod": "gone"}, "Pod/gone@shop"),
]


@pytest.mark.parametrize(
    ("labels", "expected"), [pytest.param(labels, target, id=name) for name, labels, target in ROWS]
)
async def test_the_labels_of_an_exporter_lead_to_the_object_that_they_are_about(labels, expected):
    kinds = ManifestReader([], MANIFESTS)

    class NoRequests:
        def cached_by_alert(self, alert_id):
            return []

    mapper = SignalMapper(kinds, NoRequests(), ClusterConfig(), IntakeConfig())
    alert = Alert(status=AlertStatus.FIRING, labels={"alertname": "A", "severity": "critical", **labels})

    mapped = await mapper.map(alert, Webhook(alerts=[alert]))

    assert isinstance(mapped, MappedAlert)
    target = mapped.signal.target_resource
    found = f"{target.kind}/{target.name}"
    assert (f"{found}@{target.namespace}" if target.namespace else found) == expected
