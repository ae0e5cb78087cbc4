"""The shop, its alerts, and the expected decisions.

The objects and the payload are files beside this one, so that a user of the demo can read and change them.
Everything is labelled `app.kubernetes.io/part-of: kubernaut-demo`; on a cluster that has such a namespace of its own
without the label, the demo stops before it touches anything.
"""

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import httpx2
import yaml

from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalProcessing
from kubernaut.api.vocabulary import Environment, Priority, Severity, SignalMode
from kubernaut.embedded.errors import EmbeddedError
from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import AlreadyExists, NotFound
from kubernaut.kube.objects import Key, Kind, Unstructured
from kubernaut.kube.watch import list_and_watch

SIGNALS = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)

PART_OF = ("app.kubernetes.io/part-of", "kubernaut-demo")
SYSTEM_NAMESPACE = "kubernaut-system"


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The decision that one alert must get."""

    environment: Environment
    severity: Severity
    priority: Priority
    degraded: bool = False
    mode: SignalMode = SignalMode.REACTIVE


EXPECTED: Mapping[str, Expectation] = {
    # The namespace is labelled production.
    "KubePodCrashLooping": Expectation(
        environment=Environment.PRODUCTION,
        severity=Severity.CRITICAL,
        priority=Priority.P0,
    ),
    # The policy maps Sev3 to warning.
    "HighRequestLatency": Expectation(
        environment=Environment.STAGING,
        severity=Severity.WARNING,
        priority=Priority.P2,
    ),
    # A warning in development is P3.
    "KubeStatefulSetReplicasMismatch": Expectation(
        environment=Environment.DEVELOPMENT,
        severity=Severity.WARNING,
        priority=Priority.P3,
    ),
    # No label; the ConfigMap maps prod-* to production.
    "PaymentErrors": Expectation(
        environment=Environment.PRODUCTION,
        severity=Severity.HIGH,
        priority=Priority.P1,
    ),
    # The pod no longer exists; enriched from its namespace.
    "KubePodOOMKilled": Expectation(
        environment=Environment.PRODUCTION,
        severity=Severity.CRITICAL,
        priority=Priority.P0,
        degraded=True,
    ),
    # A predictive alert about a node, which has no namespace.
    "PredictedDiskPressure": Expectation(
        environment=Environment.UNKNOWN,
        severity=Severity.WARNING,
        priority=Priority.P2,
        mode=SignalMode.PROACTIVE,
    ),
}
"""By alert name. The seventh alert of the payload is resolved and must not create a signal."""


CHANGED_RULE_ALERT = "SlowCheckout"
"""The alert that is sent after a rule was changed, and the one that the old rule decided on the same facts."""
CHANGED_RULE_ALERT_FILE = "later-alert.json"
COMPARED_ALERT = "HighRequestLatency"


def payload(now: datetime, name: str = "alerts.json") -> bytes:
    """Alertmanager's webhook body, version 4, with `now` as the time at which the alerts began to fire."""
    body = json.loads(_read(name))
    for alert in body["alerts"]:
        alert["startsAt"] = now.astimezone(UTC).isoformat()
    return json.dumps(body).encode()


def shop() -> list[Unstructured]:
    """The shop's objects, owners before what they own."""
    return [*yaml.load_all(_read("cluster/shop.yaml"), Loader=yaml.CSafeLoader)]


def environments(namespace: str) -> Unstructured:
    """The ConfigMap that maps unlabelled namespaces to environments."""
    manifest: Unstructured = yaml.load(_read("cluster/environments.yaml"), Loader=yaml.CSafeLoader)
    manifest["metadata"]["namespace"] = namespace
    return manifest


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text()


async def create_objects(client: Client, namespace: str) -> list[str]:
    """Create the shop and the mapping; returns the objects whose kind this API server does not have."""
    discovery, skipped = Discovery(client), []
    uids: dict[tuple[str, str], str] = {}
    await _require_ours(client)
    for manifest in [namespace_manifest(namespace), environments(namespace), *shop()]:
        kind = await discovery.kind(manifest["apiVersion"], manifest["kind"])
        if kind is None:
            skipped.append(f"{manifest['apiVersion']} {manifest['kind']}")
            continue
        for owner in manifest["metadata"].get("ownerReferences", ()):
            owner["uid"] = uids[owner["kind"], owner["name"]]
        uids[manifest["kind"], manifest["metadata"]["name"]] = await _create(
            client, kind.with_type(Unstructured), manifest
        )
    return skipped


def namespace_manifest(name: str) -> Unstructured:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


async def _require_ours(client: Client) -> None:
    namespaces: Kind[Unstructured] = Kind(
        group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=dict
    )
    for manifest in shop():
        if manifest["kind"] != "Namespace":
            continue
        name = manifest["metadata"]["name"]
        try:
            found = await client.get(namespaces, Key("", name))
        except NotFound:
            continue
        if found["metadata"].get("labels", {}).get(PART_OF[0]) != PART_OF[1]:
            raise EmbeddedError(
                f"namespace {name!r} exists in this cluster and does not belong to the demo"
                f" (no label {'='.join(PART_OF)}): choose another cluster, or run the demo without --kubeconfig"
            )


async def _create(client: Client, kind: Kind[Unstructured], manifest: Unstructured) -> str:
    try:
        created = await client.create(kind, manifest)
    except AlreadyExists:
        created = await client.get(kind, Key(manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]))
    return str(created["metadata"]["uid"])


async def send(webhook: str, body: bytes) -> dict[str, Any]:
    """Send the payload as Alertmanager does; returns the gateway's response."""
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        response = await http.post(webhook, content=body, headers={"content-type": "application/json"})
    if not response.is_success:
        raise EmbeddedError(f"gateway answered {response.status_code}: {response.text[:500]}")
    answer: dict[str, Any] = json.loads(response.content)
    return answer


async def watch_signals(client: Client, namespace: str, alerts: Collection[str]) -> AsyncIterator[SignalProcessing]:
    """Every state of every signal of these alerts, as a watch sees it, until all of them are final."""
    pending = set(alerts)
    async with aclosing(list_and_watch(client, SIGNALS, ListOptions(namespace=namespace))) as following:
        async for change in following:
            signal = change.object
            if signal is None or signal.spec.signal.name not in alerts:
                continue
            yield signal
            if signal.status.phase is not None and signal.status.phase.is_final:
                pending.discard(signal.spec.signal.name)
            if not pending:
                return


def differences(signal: SignalProcessing) -> list[str]:
    """How a signal's decision differs from the expected one; empty when it does not."""
    expected, status = EXPECTED[signal.spec.signal.name], signal.status
    environment, severity = status.environment_classification, status.signal_classification
    compared: Sequence[tuple[str, object, object]] = (
        ("phase", status.phase, "Completed"),
        ("environment", environment and environment.environment, expected.environment),
        ("severity", severity and severity.severity, expected.severity),
        ("priority", status.priority_assignment and status.priority_assignment.priority, expected.priority),
        ("mode", severity and severity.signal_mode, expected.mode),
        ("degraded", bool(status.kubernetes_context and status.kubernetes_context.degraded_mode), expected.degraded),
    )
    return [f"{name} is {actual}, expected {wanted}" for name, actual, wanted in compared if actual != wanted]
