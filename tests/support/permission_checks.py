"""What each service can do with its permissions, as checks with names: one permission less, and a check fails.

The checks look at what a user sees: decided signals, their context, the answers of the webhook. A watch that is refused
shows late, because the list is repeated; so one more check is that the log of a service names no forbidden request.
"""

import asyncio
import contextlib
import functools
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec

from kubernaut.api.signals import FINALIZER, Phase, SignalProcessing
from kubernaut.api.vocabulary import EventReason, Label
from kubernaut.embedded.errors import ProcessFailed
from kubernaut.gateway.event_watch import CHECKPOINT, CONFIG_MAPS
from kubernaut.kube.client import ListOptions
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.election import LEASE
from kubernaut.kube.errors import NotFound
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.objects import Key, Kind, Unstructured, key_of
from kubernaut.signalprocessing.config import ControllerConfig
from kubernaut.signalprocessing.kinds import REMEDIATION, SIGNAL
from kubernaut.signalprocessing.retention import GATEWAY, MANAGED_BY
from support.alerts import a_webhook, an_alert, over
from support.eventually import eventually
from support.kinds import CONFIGMAP, EVENT
from support.ledger_events import a_wire_event
from support.permissions import ACCESS, LEDGER_KEYS
from support.release import SECRET, Release, Services, run_ledger_keys_job
from support.signals import a_namespace, a_signal, as_manifest

WEBHOOK = "/api/v1/signals/prometheus"
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


Tokens = Mapping[str, str]
"""A token of each account in `ACCESS`, by the role."""


async def failed_checks(services: Services, service: str, tokens: Tokens) -> set[str]:
    """Start the service, or the one that asks for the role, anew and give the names of the checks that fail."""
    if service == LEDGER_KEYS:
        return await _ledger_keys_checks(services.release)
    service = {**dict.fromkeys(ACCESS, "datastorage"), "alert-senders": "gateway"}.get(service, service)
    failed = await _failed_checks(services, service, tokens)
    if service == "controller" and (await _lease(services.release)).get("holderIdentity"):
        failed.add("the lease is released at the end")
    return failed


async def _failed_checks(services: Services, service: str, tokens: Tokens) -> set[str]:
    services.ready_timeout = READY_TIMEOUT
    if service == "controller":
        await _delete(services.release, LEASE, ControllerConfig().leader_election_id)
        for event in (
            await services.release.client.list(EVENT, ListOptions(namespace=services.release.namespace))
        ).items:
            await _delete(services.release, EVENT, event["metadata"]["name"])
    if service == "gateway":
        await _delete(services.release, CONFIG_MAPS, CHECKPOINT)
    async with AsyncExitStack() as stack:
        try:
            await getattr(services, f"open_{service}")(stack)
        except ProcessFailed:
            return {"it becomes ready"}
        process = services.processes[service]
        checks = {"controller": _controller_checks, "gateway": _gateway_checks, "datastorage": _datastorage_checks}
        failed = await checks[service](services, tokens)
        text = process.log_tail().lower()
        if "forbidden" in text or "access denied" in text:
            failed.add(NO_FORBIDDEN_REQUEST)
        return failed


async def _delete(release: Release, kind: Kind[Any], name: str) -> None:
    with contextlib.suppress(NotFound):
        await release.client.delete(kind, Key(release.namespace, name))


async def _lease(release: Release) -> Mapping[str, Any]:
    kind = LEASE.with_type(Unstructured)
    try:
        lease = await release.client.get(kind, Key(release.namespace, ControllerConfig().leader_election_id))
    except NotFound:
        return {}
    spec: Mapping[str, Any] = lease["spec"]
    return spec


async def _ledger_keys_checks(release: Release) -> set[str]:
    await _delete(release, SECRET, LEDGER_KEYS)
    failure = await run_ledger_keys_job(release)
    return {f"the ledger's key is made: {failure}"} if failure else set()


async def _controller_checks(services: Services, tokens: Tokens) -> set[str]:
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
    expired = await _create_expired_request(release)
    policy = asyncio.create_task(_reject_policy_twice(release))
    disturbed = [_signal(release, shop, "Pod") for _ in range(6)]
    names = {signal.metadata.name for signal in signals.values()}
    async with _watch_completed(release) as found:
        async with asyncio.TaskGroup() as tasks:
            for signal in disturbed:
                tasks.create_task(_create_and_disturb(release, signal))
            for signal in signals.values():
                await release.client.create(SIGNAL, as_manifest(signal))
        await _within(lambda: names <= found.keys())

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
    ended = Key(release.namespace, signals["a Pod is found"].metadata.name)
    facts["an ended signal is deleted after its retention"] = await _is_gone(release, SIGNAL, ended)
    facts["a request that ended is deleted"] = await _is_gone(release, REMEDIATION, expired)
    facts["a deleted signal is let go"] = await _is_let_go(release, shop)
    facts["a policy that is refused again is counted on its Event"] = await policy
    return failed | {check for check, is_true in facts.items() if not is_true}


async def _create_expired_request(release: Release) -> Key:
    """A request that ended long ago."""
    client, at = release.client, "2026-01-02T03:04:05Z"
    metadata = {"name": f"rr-{uuid4().hex[:8]}", "namespace": release.namespace, "labels": {MANAGED_BY: GATEWAY}}
    request = await client.create(REMEDIATION, {"metadata": metadata, "spec": {"signalName": "X"}})
    seen = {"deduplication": {"firstSeenAt": at, "lastSeenAt": at, "occurrenceCount": 1}}
    return key_of(await client.patch_status(REMEDIATION, request, seen))


async def _is_gone(release: Release, kind: Kind[Any], key: Key) -> bool:
    async def gone() -> bool:
        try:
            await release.client.get(kind, key)
        except NotFound:
            return True
        return False

    return await _within(gone)


async def _is_let_go(release: Release, shop: str) -> bool:
    """Whether a signal with the finalizer ends after it was deleted."""
    signal = _signal(release, shop, "Pod")
    manifest = as_manifest(signal)
    manifest["metadata"]["finalizers"] = [FINALIZER]
    key = key_of(await release.client.create(SIGNAL, manifest))
    await release.client.delete(SIGNAL, key)
    if await _is_gone(release, SIGNAL, key):
        return True
    await release.client.patch(SIGNAL, key, {"metadata": {"finalizers": None}})
    return False


async def _reject_policy_twice(release: Release) -> bool:
    """Whether the Event of a policy that is refused, mended and refused again has a count of two."""
    file = release.folder / "signalprocessing-policy" / "policy.rego"
    good = file.read_text()
    bad = f"{good}\n# {uuid4().hex}\n?"  # an Event has the hash in its message
    for text, reason, count in (
        (bad, EventReason.POLICY_REJECTED, 1),
        (good, EventReason.POLICY_LOADED, 1),
        (bad, EventReason.POLICY_REJECTED, 2),
    ):
        file.write_text(text)
        if not await _within(functools.partial(_has_policy_event, release, reason, count)):
            return False
    return True


async def _has_policy_event(release: Release, reason: EventReason, count: int) -> bool:
    events = (await release.client.list(EVENT, ListOptions(namespace=release.namespace))).items
    wanted = {EventReason.POLICY_LOADED: "again", EventReason.POLICY_REJECTED: "rejected"}[reason]
    found = (event for event in events if event["reason"] == reason and wanted in event["message"])
    return any(event["count"] >= count for event in found)


async def _within(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    with contextlib.suppress(AssertionError):
        return bool(await eventually(condition, timeout=CHECK_TIMEOUT, interval=0.1))
    return False


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
    """Write to the object while it is decided, so that the controller reads it again; until retention deletes it."""
    await release.client.create(SIGNAL, as_manifest(signal))
    for number in range(40):
        body = {"metadata": {"annotations": {"example.com/number": str(number)}}}
        try:
            await release.client.patch(SIGNAL, Key(release.namespace, signal.metadata.name), body)
        except NotFound:
            return


@asynccontextmanager
async def _watch_completed(release: Release) -> AsyncIterator[dict[str, SignalProcessing]]:
    """The signals of the release by name, as they were when they had completed: retention deletes them soon after."""
    completed: dict[str, SignalProcessing] = {}

    def keep(_: SignalProcessing | None, signal: SignalProcessing | None) -> None:
        if signal is not None and signal.status.phase is Phase.COMPLETED:
            completed[signal.metadata.name] = signal

    informer = Informer(release.client, SIGNAL, InformerConfig(options=ListOptions(namespace=release.namespace)))
    informer.add_event_handler(keep)
    async with open_informers(informer):
        await informer.synced.wait()
        yield completed


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


async def _gateway_checks(services: Services, tokens: Tokens) -> set[str]:
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
    async with services.http("gateway", tokens["alert-senders"]) as http:

        async def post(*some: dict[str, Any]) -> int:
            return (await http.post(WEBHOOK, json=a_webhook(*some))).status_code

        failed = set()
        if await post(*sent.values()) not in (200, 201, 207):
            failed.add("alerts are stored")
        first = sent["an alert names a Pod"]
        if await post(first | {"startsAt": "2026-01-01T00:00:00Z"}) != 202:
            failed.add("a repeated alert is counted")
        if not await _counts_while_others_write(release, names["an alert names a Pod"], first, post):
            failed.add("an alert is counted while somebody else writes to its request")
        if await post(over(first)) not in (200, 202):
            failed.add("a resolved alert is taken")
        if not await _takes_event_in(release, shop):
            failed.add("a Kubernetes Event becomes a signal")
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


async def _counts_while_others_write(
    release: Release, name: str, alert: Mapping[str, Any], post: Callable[[dict[str, Any]], Awaitable[int]]
) -> bool:
    """Whether new occurrences of an alert are counted although their writes conflict."""
    requests = (await release.client.list(REMEDIATION, ListOptions(namespace=release.namespace))).items
    request = next((each for each in requests if each.spec.signal_name == name), None)
    if request is None:
        return False

    async def disturb() -> None:
        for number in range(6):  # fewer than the gateway's attempts
            body = {"metadata": {"annotations": {"example.com/number": str(number)}}}
            await release.client.patch(REMEDIATION, key_of(request), body)

    answers = set()
    for second in range(20):
        repeated = {**alert, "startsAt": f"2026-01-02T00:00:{second:02}Z"}
        answer, _ = await asyncio.gather(post(repeated), disturb())
        answers.add(answer)
    return answers == {202}


async def _takes_event_in(release: Release, shop: str) -> bool:
    """Whether an Event about the Pod, created after the watch has begun, becomes a signal."""
    number = itertools.count()

    async def taken_in() -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await release.client.create(
            EVENT,
            {
                "metadata": {"name": f"backoff-{next(number)}", "namespace": shop},
                "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": shop, "name": shop},
                "type": "Warning",
                "reason": "BackOff",
                "message": "Back-off restarting failed container",
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 3,
            },
        )
        signals = (await release.client.list(SIGNAL, ListOptions(namespace=release.namespace))).items
        return any(each.spec.signal.name == "BackOff" and _is_about(each, shop) for each in signals)

    with contextlib.suppress(AssertionError):
        return await eventually(taken_in, timeout=CHECK_TIMEOUT, interval=0.3)
    return False


def _is_about(signal: SignalProcessing, shop: str) -> bool:
    return signal.spec.signal.target_resource.namespace == shop


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


async def _datastorage_checks(services: Services, tokens: Tokens) -> set[str]:
    event = a_wire_event(actor_id="signalprocessing-controller")
    hold = {"correlation_id": event["correlation_id"], "reason": "a check"}
    requests = {
        "a service may write": (
            "audit-writers",
            "POST",
            "/api/v1/audit/events",
            a_wire_event(actor_id="signalprocessing-controller"),
            201,
        ),
        "an auditor may read": ("audit-readers", "GET", "/api/v1/audit/events?limit=1", None, 200),
        "an operator may hold": ("audit-operators", "POST", "/api/v1/audit/legal-hold", hold, 200),
    }
    failed = set()
    for check, (role, method, path, body, expected) in requests.items():
        async with services.http("datastorage", tokens[role]) as http:
            answer = await http.request(method, path, json=body)
            if answer.status_code != expected:
                print(f"{check}: {answer.status_code} {answer.text}")
                failed.add(check)
    return failed
