"""What each service can do with its permissions, as checks with names: one permission less, and a check fails.

The checks look at what a user sees: decided signals, their context, the answers of the webhook. A watch that is refused
shows late, because the list is repeated; so one more check is that the log of a service names no forbidden request.
"""

import asyncio
import contextlib
import copy
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import msgspec

from kubernaut.api.signals import Phase, SignalProcessing
from kubernaut.api.vocabulary import Label
from kubernaut.embedded.errors import ProcessFailed
from kubernaut.kube.client import ListOptions
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.objects import Key, Kind, Unstructured
from kubernaut.signalprocessing.kinds import REMEDIATION, SIGNAL
from support.alerts import a_webhook, an_alert, over
from support.eventually import eventually
from support.kinds import CONFIGMAP, EVENT
from support.release import Release, Services
from support.signals import a_namespace, a_signal, as_manifest

WEBHOOK = "/api/v1/signals/prometheus"
RBAC = "rbac.authorization.k8s.io"
ROLE = Kind(group=RBAC, version="v1", kind="Role", plural="roles", type=Unstructured)
CLUSTER_ROLE = replace(ROLE, kind="ClusterRole", plural="clusterroles", namespaced=False)
ACCOUNTS = {"controller": "signalprocessing-controller", "gateway": "gateway", "datastorage": "data-storage"}
CHECK_TIMEOUT = 8.0  # seconds
READY_TIMEOUT = 25.0  # seconds
NO_FORBIDDEN_REQUEST = "the log names no forbidden request"

_SELECTOR = {"matchLabels": {"app": "x"}}
_POD = {"containers": [{"name": "main", "image": "registry.example.com/shop/api:1"}]}
_TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": _POD}
_WORKLOAD = {"selector": _SELECTOR, "template": _TEMPLATE}
_BACKEND = {"service": {"name": "api", "port": {"number": 80}}}
_CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
_SCALED = {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}
_JOB = {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}
_CRON = {"schedule": "0 0 * * *", "jobTemplate": {"spec": _JOB}}
_VOLUME = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/none"}}

OBJECTS: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "Pod": ("v1", "pods", _POD),
    "Service": ("v1", "services", {"ports": [{"port": 80, "protocol": "TCP"}]}),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims", _CLAIM),
    "ReplicationController": ("v1", "replicationcontrollers", {"selector": {"app": "x"}, "template": _TEMPLATE}),
    "Deployment": ("apps/v1", "deployments", _WORKLOAD),
    "ReplicaSet": ("apps/v1", "replicasets", _WORKLOAD),
    "StatefulSet": ("apps/v1", "statefulsets", {**_WORKLOAD, "serviceName": "x"}),
    "DaemonSet": ("apps/v1", "daemonsets", _WORKLOAD),
    "Job": ("batch/v1", "jobs", _JOB),
    "CronJob": ("batch/v1beta1", "cronjobs", _CRON),
    "HorizontalPodAutoscaler": ("autoscaling/v1", "horizontalpodautoscalers", _SCALED),
    "PodDisruptionBudget": ("policy/v1beta1", "poddisruptionbudgets", {"selector": _SELECTOR, "minAvailable": 1}),
    "Ingress": ("networking.k8s.io/v1", "ingresses", {"defaultBackend": _BACKEND}),
    "Rollout": ("argoproj.io/v1alpha1", "rollouts", {}),
    "ScaledObject": ("keda.sh/v1alpha1", "scaledobjects", {}),
    "DeploymentConfig": ("apps.openshift.io/v1", "deploymentconfigs", {}),
    "Configuration": ("serving.knative.dev/v1", "configurations", {}),
    "Revision": ("serving.knative.dev/v1", "revisions", {}),
}
"""Targets of signals: API version, plural, spec. The versions are those of Kubernetes 1.20."""
CLUSTER_OBJECTS = {"Node": ("v1", "nodes", {}), "PersistentVolume": ("v1", "persistentvolumes", _VOLUME)}


@dataclass(frozen=True, order=True)
class Permission:
    """One verb on one resource, of a service's account."""

    service: str
    scope: str
    """`cluster` or `namespace`."""
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.service}: {self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


def role_of(release: Release, service: str, scope: str) -> tuple[Kind[Any], Key]:
    account = ACCOUNTS[service]
    if scope == "namespace":
        return ROLE, Key(release.namespace, account)
    return CLUSTER_ROLE, Key("", f"kubernaut-{release.namespace}-{account}")


async def permissions_of(release: Release, service: str) -> list[Permission]:
    """Every permission that the chart gives the service, one by one."""
    found = []
    for scope in ("cluster", "namespace") if service != "datastorage" else ("cluster",):
        kind, key = role_of(release, service, scope)
        for rule in (await release.client.get(kind, key))["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    found += [Permission(service, scope, group, resource, verb) for verb in rule["verbs"]]
    return sorted(set(found))


@asynccontextmanager
async def without(release: Release, permission: Permission) -> AsyncIterator[None]:
    """The permission is taken away while the block runs."""
    kind, key = role_of(release, permission.service, permission.scope)
    role = await release.client.get(kind, key)
    reduced = copy.deepcopy(role)
    reduced["rules"] = [part for rule in role["rules"] for part in _parts(rule, permission)]
    await release.client.replace(kind, reduced)
    try:
        await eventually(lambda: _is_denied(release, permission), timeout=5, interval=0.05)
        yield
    finally:
        current = await release.client.get(kind, key)
        await release.client.replace(kind, {**current, "rules": role["rules"]})
        await eventually(lambda: _is_allowed(release, permission), timeout=5, interval=0.05)


def _parts(rule: Mapping[str, Any], permission: Permission) -> Iterable[Mapping[str, Any]]:
    if permission.group not in rule["apiGroups"] or permission.resource not in rule["resources"]:
        yield rule
        return
    if others := [each for each in rule["resources"] if each != permission.resource]:
        yield {**rule, "resources": others}
    if verbs := [each for each in rule["verbs"] if each != permission.verb]:
        yield {**rule, "resources": [permission.resource], "verbs": verbs}


async def _is_allowed(release: Release, permission: Permission) -> bool:
    resource, _, subresource = permission.resource.partition("/")
    attributes = {"verb": permission.verb, "group": permission.group, "resource": resource, "subresource": subresource}
    if permission.scope == "namespace":
        attributes["namespace"] = release.namespace
        if resource == "configmaps":
            attributes["name"] = "kubernaut-environment-config"
    user = f"system:serviceaccount:{release.namespace}:{ACCOUNTS[permission.service]}"
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = await release.client.post_raw("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(msgspec.json.decode(answer)["status"]["allowed"])


async def _is_denied(release: Release, permission: Permission) -> bool:
    return not await _is_allowed(release, permission)


async def install_kinds(release: Release) -> None:
    """CRDs of the kinds from outside of Kubernetes that a label can name."""
    definitions = []
    for kind, (api_version, plural, _) in OBJECTS.items():
        group, _, version = api_version.rpartition("/")
        if "." not in group or group.endswith("k8s.io"):
            continue
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
        versions = [{"name": version, "served": True, "storage": True, "schema": schema}]
        definitions.append(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{group}"},
                "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
            }
        )
    await ensure_crds(release.client, definitions)


def _kind(name: str) -> Kind[Any]:
    api_version, plural, _ = {**OBJECTS, **CLUSTER_OBJECTS}[name]
    group, _, version = api_version.rpartition("/")
    return Kind(group=group, version=version, kind=name, plural=plural, namespaced=name in OBJECTS, type=Unstructured)


def _address(name: str) -> str:
    """An address that no other node has."""
    first, second, third = hashlib.sha256(name.encode()).digest()[:3]
    return f"10.{first}.{second}.{third}"


async def _create_objects(release: Release, name: str) -> None:
    """A namespace of that name with an object of each kind in it, and cluster-scoped ones of that name."""
    await release.client.create(_NAMESPACE, a_namespace(name, "production"))
    for kind, (api_version, _, spec) in {**OBJECTS, **CLUSTER_OBJECTS}.items():
        metadata = {"name": name} | ({"namespace": name} if kind in OBJECTS else {})
        manifest: Unstructured = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": dict(spec)}
        if kind == "Node":
            manifest["status"] = {"addresses": [{"type": "InternalIP", "address": _address(name)}]}
        await release.client.create(_kind(kind), manifest)
    policy = {"metadata": {"name": name, "namespace": name}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    await release.client.create(_NETWORK_POLICY, policy)
    quota = {"metadata": {"name": name, "namespace": name}, "spec": {"hard": {"pods": "100"}}}
    await release.client.create(_QUOTA, quota)


_NAMESPACE = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=Unstructured)
_NETWORK_POLICY = Kind(
    group="networking.k8s.io", version="v1", kind="NetworkPolicy", plural="networkpolicies", type=Unstructured
)
_QUOTA = Kind(version="v1", kind="ResourceQuota", plural="resourcequotas", type=Unstructured)


async def failed_checks(services: Services, service: str, sender: str, auditor: str) -> set[str]:
    """Start the service anew and give the names of the checks that fail."""
    services.ready_timeout = READY_TIMEOUT
    async with AsyncExitStack() as stack:
        try:
            await getattr(services, f"open_{service}")(stack)
        except ProcessFailed:
            return {"it becomes ready"}
        process = services.processes[service]
        checks = {"controller": _controller_checks, "gateway": _gateway_checks, "datastorage": _datastorage_checks}
        failed = await checks[service](services, sender, auditor)
        text = process.log_tail().lower()
        if "forbidden" in text or "access denied" in _without_unknown_kinds(text):
            failed.add(NO_FORBIDDEN_REQUEST)
        return failed


def _without_unknown_kinds(text: str) -> str:
    """The lines that name another kind than those that this server has in no version that we list."""
    unknown = '"cronjobs.batch","horizontalpodautoscalers.autoscaling","poddisruptionbudgets.policy"'
    return "\n".join(line for line in text.splitlines() if f'"kinds":[{unknown}]' not in line.replace(", ", ","))


async def _controller_checks(services: Services, sender: str, auditor: str) -> set[str]:
    release = services.release
    shop, mapped = f"shop-{uuid4().hex[:6]}", f"mapped-{uuid4().hex[:6]}"
    await _create_objects(release, shop)
    await release.client.create(_NAMESPACE, a_namespace(mapped))
    mapping = {"data": {"mapping": f"{mapped}: staging\n"}}
    await release.client.patch(CONFIGMAP, Key(release.namespace, "kubernaut-environment-config"), mapping)
    signals = {f"a {kind} is found": _signal(release, shop, kind) for kind in {**OBJECTS, **CLUSTER_OBJECTS}}
    older = "an Ingress of an older version is found"
    signals[older] = _signal(release, shop, "Ingress", api_version="networking.k8s.io/v1beta1")
    signals["the environment mapping counts"] = _signal(release, mapped, "Namespace")
    signals["earlier attempts are known"] = await _retried(release, shop)
    disturbed = [_signal(release, shop, "Pod") for _ in range(6)]
    async with asyncio.TaskGroup() as tasks:
        for signal in disturbed:
            tasks.create_task(_create_and_disturb(release, signal))
        for signal in signals.values():
            await release.client.create(SIGNAL, as_manifest(signal))
    found = await _decided(release, [signal.metadata.name for signal in signals.values()])

    failed = set()
    for check, signal in signals.items():
        decided = found.get(signal.metadata.name)
        context = decided.status.kubernetes_context if decided else None
        if context is None or context.degraded_mode:
            failed.add(check)
    pod = found.get(signals["a Pod is found"].metadata.name)
    labels = pod.status.kubernetes_context.detected_labels if pod and pod.status.kubernetes_context else None
    environment = pod.status.environment_classification if pod else None
    mapped_signal = found.get(signals["the environment mapping counts"].metadata.name)
    classified = mapped_signal.status.environment_classification if mapped_signal else None
    retried = found.get(signals["earlier attempts are known"].metadata.name)
    facts = {
        "a NetworkPolicy is detected": bool(labels and labels.network_isolated),
        "a ResourceQuota is detected": bool(labels and labels.resource_quota_constrained),
        "the namespace says the environment": bool(environment and environment.environment == "Production"),
        "the environment mapping counts": bool(classified and classified.environment == "Staging"),
        "earlier attempts are known": bool(retried and retried.status.recovery_context),
        "the outcome is a Kubernetes Event": await _has_event(release, signals["a Pod is found"].metadata.name),
    }
    return failed | {check for check, is_true in facts.items() if not is_true}


def _signal(release: Release, name: str, kind: str, *, api_version: str = "") -> SignalProcessing:
    namespace = name if kind in OBJECTS else ""
    parent = f"rr-{uuid4().hex[:8]}"
    signal = a_signal(kind=kind, target=name, at=namespace, namespace=release.namespace, parent=parent)
    if kind == "Namespace":
        return signal
    version = api_version or _kind(kind).api_version
    target = msgspec.structs.replace(signal.spec.signal.target_resource, api_version=version)
    inner = msgspec.structs.replace(signal.spec.signal, target_resource=target)
    return msgspec.structs.replace(signal, spec=msgspec.structs.replace(signal.spec, signal=inner))


async def _retried(release: Release, shop: str) -> SignalProcessing:
    """A signal whose remediation has been tried before."""
    signal = _signal(release, shop, "Pod")
    name = signal.spec.remediation_request_ref.name
    manifest = {"metadata": {"name": name, "namespace": release.namespace}, "spec": {"signalName": "X"}}
    request = await release.client.create(REMEDIATION, manifest)
    await release.client.patch_status(REMEDIATION, request, {"recoveryAttempts": 2, "failureReason": "no"})
    return signal


async def _create_and_disturb(release: Release, signal: SignalProcessing) -> None:
    """Write to the object while it is decided, so that the controller has to read it again."""
    await release.client.create(SIGNAL, as_manifest(signal))
    for number in range(40):
        body = {"metadata": {"annotations": {"example.com/number": str(number)}}}
        await release.client.patch(SIGNAL, Key(release.namespace, signal.metadata.name), body)


async def _decided(release: Release, names: Iterable[str]) -> dict[str, SignalProcessing]:
    wanted = set(names)
    found: dict[str, SignalProcessing] = {}

    async def all_final() -> bool:
        listed = (await release.client.list(SIGNAL, ListOptions(namespace=release.namespace))).items
        found.update({each.metadata.name: each for each in listed if each.status.phase is Phase.COMPLETED})
        return wanted <= found.keys()

    with contextlib.suppress(AssertionError):
        await eventually(all_final, timeout=CHECK_TIMEOUT, interval=0.1)
    return found


async def _has_event(release: Release, name: str) -> bool:
    async def found() -> bool:
        events = (await release.client.list(EVENT, ListOptions(namespace=release.namespace))).items
        return any(event["involvedObject"]["name"] == name for event in events)

    with contextlib.suppress(AssertionError):
        return await eventually(found, timeout=3, interval=0.1)
    return False


BY_LABEL = {
    "Pod": "pod",
    "ReplicaSet": "replicaset",
    "Deployment": "deployment",
    "StatefulSet": "statefulset",
    "DaemonSet": "daemonset",
    "Job": "job_name",
    "CronJob": "cronjob",
    "PersistentVolumeClaim": "persistentvolumeclaim",
    "PersistentVolume": "persistentvolume",
    "ReplicationController": "replicationcontroller",
    "HorizontalPodAutoscaler": "horizontalpodautoscaler",
    "PodDisruptionBudget": "poddisruptionbudget",
    "Ingress": "ingress",
    "Rollout": "rollout",
    "ScaledObject": "scaledobject",
    "DeploymentConfig": "deploymentconfig",
    "Configuration": "configuration_name",
    "Revision": "revision_name",
    "Service": "service",
    "Node": "node",
}


async def _gateway_checks(services: Services, sender: str, auditor: str) -> set[str]:
    release = services.release
    shop = f"shop-{uuid4().hex[:6]}"
    await _create_objects(release, shop)
    alerts = {f"an alert names a {kind}": (kind, {label: shop, "namespace": shop}) for kind, label in BY_LABEL.items()}
    for kind in ("Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job"):
        alerts[f"a {kind} is found by its name alone"] = (kind, {BY_LABEL[kind]: shop})
        alerts[f"a {kind} that is gone is known to be gone"] = (
            kind,
            {BY_LABEL[kind]: f"{shop}-gone", "namespace": shop},
        )
    alerts["a Node that is gone is known to be gone"] = ("Node", {"node": f"{shop}-gone"})
    alerts["a Node is found by its address"] = ("Node", {"instance": f"{_address(shop)}:9100", "job": "node-exporter"})
    alerts["an alert names only a namespace"] = ("Namespace", {"namespace": shop})
    run = uuid4().hex[:6]
    names = {check: f"{check.title().replace(' ', '')}{run}" for check in alerts}
    sent = {check: an_alert(names[check], **labels) for check, (_, labels) in alerts.items()}
    async with services.http("gateway", sender) as http:

        async def post(*some: dict[str, Any]) -> int:
            return (await http.post(WEBHOOK, json=a_webhook(*some))).status_code

        failed = set()
        if await post(*sent.values()) not in (200, 201, 207):
            failed.add("alerts are stored")
        first = sent["an alert names a Pod"]
        if await post(first | {"startsAt": "2026-01-01T00:00:00Z"}) != 202:
            failed.add("a repeated alert is counted")
        if await post(over(first)) not in (200, 202):
            failed.add("a resolved alert is taken")
    signals = (await release.client.list(SIGNAL, ListOptions(namespace=release.namespace))).items
    by_name = {signal.spec.signal.name: signal for signal in signals}
    for check, (kind, _) in alerts.items():
        signal = by_name.get(names[check])
        target = signal.spec.signal.target_resource if signal else None
        note = signal.metadata.annotations.get(Label.TARGET_NOTE, "") if signal else ""
        wants_namespace = kind in OBJECTS
        if (
            target is None
            or target.kind != kind
            or "could not be" in note
            or (wants_namespace and target.namespace != shop)
        ):
            failed.add(check)
    return failed | await _resolved(release, names["an alert names a Pod"])


async def _resolved(release: Release, alert: str) -> set[str]:
    """The request and its signal say that the alert is over, and how often it came."""
    requests = (await release.client.list(REMEDIATION, ListOptions(namespace=release.namespace))).items
    request = next((each for each in requests if each.spec.signal_name == alert), None)
    signals = (await release.client.list(SIGNAL, ListOptions(namespace=release.namespace))).items
    signal = next((each for each in signals if each.spec.signal.name == alert), None)
    facts = {
        "a request is counted": bool(request and request.status.deduplication),
        "a request is marked as resolved": bool(request and Label.RESOLVED_AT in request.metadata.annotations),
        "a signal is marked as resolved": bool(signal and Label.RESOLVED_AT in signal.metadata.annotations),
    }
    return {check for check, is_true in facts.items() if not is_true}


async def _datastorage_checks(services: Services, sender: str, auditor: str) -> set[str]:
    async with services.http("datastorage", auditor) as http:
        answer = await http.get("/api/v1/audit/events?limit=1")
    return set() if answer.status_code == 200 else {"an auditor may read"}
