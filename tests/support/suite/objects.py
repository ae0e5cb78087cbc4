"""Manifests of what signals are about."""

from typing import Any

from support.signals import an_object, owned_by

Manifest = dict[str, Any]


def pod(name: str, namespace: str, *, owner: Manifest | None = None, controller: bool = True, **more: Any) -> Manifest:
    spec = {"containers": [{"name": "test-container", "image": "nginx:latest", **more.pop("container", {})}]}
    reference = owned_by(owner, controller=controller) if owner else None
    return an_object("Pod", name, namespace, owner=reference, spec=spec, **more)


def deployment(name: str, namespace: str, **more: Any) -> Manifest:
    return an_object("Deployment", name, namespace, spec=_pods(name, replicas=1), **more)


def replica_set(
    name: str, namespace: str, *, owner: Manifest | None = None, controller: bool = True, **more: Any
) -> Manifest:
    reference = owned_by(owner, controller=controller) if owner else None
    return an_object("ReplicaSet", name, namespace, owner=reference, spec=_pods(name, replicas=1), **more)


def stateful_set(name: str, namespace: str, **more: Any) -> Manifest:
    return an_object("StatefulSet", name, namespace, spec=_pods(name, serviceName=name), **more)


def service(name: str, namespace: str, **more: Any) -> Manifest:
    return an_object("Service", name, namespace, spec={"ports": [{"port": 80}]}, **more)


def disruption_budget(name: str, namespace: str, **labels: str) -> Manifest:
    """Protects the pods with these labels."""
    spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    return an_object("PodDisruptionBudget", name, namespace, spec=spec)


def autoscaler(name: str, namespace: str, target: str) -> Manifest:
    """Scales a Deployment."""
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    spec = {"minReplicas": 1, "maxReplicas": 10, "scaleTargetRef": scaled}
    return an_object("HorizontalPodAutoscaler", name, namespace, spec=spec)


def network_policy(name: str, namespace: str) -> Manifest:
    """Selects all pods."""
    return an_object("NetworkPolicy", name, namespace, spec={"podSelector": {}, "policyTypes": ["Ingress"]})


def _pods(app: str, **more: Any) -> Manifest:
    template = {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "test-container", "image": "nginx:latest"}]},
    }
    return {"selector": {"matchLabels": {"app": app}}, "template": template, **more}
