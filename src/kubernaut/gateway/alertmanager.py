"""Alertmanager's webhook, version 4, and the signals of its alerts. Pure: the cluster's kinds are parameters.

The labels of an alert name its target: `deployment="cart"` names a Deployment because discovery knows a kind whose
singular name is `deployment`. Several labels may do so (an alert about a pod often names its node as well), hence
candidates in an order, of which the first that exists wins.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, field

from kubernaut.api.meta import Time
from kubernaut.api.signals import Signal, Target
from kubernaut.api.vocabulary import TargetType
from kubernaut.gateway.targets import Candidate, ResolvedObject
from kubernaut.kube.objects import Kind, PartialObjectMetadata

VERSION = "4"
SOURCE = "prometheus"
TYPE = "alert"
UNNAMED = "unknown"
UNKNOWN_SEVERITY = "unknown"

_RESERVED_LABELS = {"job", "service", "instance", "endpoint", "container", "namespace"}
_CONTROLLER_LABELS = {"deployment", "statefulset", "daemonset", "cronjob", "deploymentconfig"}
_INFRASTRUCTURE_LABELS = {"pod", "node"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_MAX_NAME_LENGTH = 253
_MAX_PROVIDER_DATA = 4096  # bytes

Kinds = Mapping[str, Kind[PartialObjectMetadata]]
"""Kinds of the cluster by their singular lower-case names."""


class InvalidWebhook(ValueError):
    """The body is no webhook of version 4; `path` is the JSON path of the fault."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class AlertStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert of a notification."""

    status: AlertStatus
    labels: dict[str, str]
    starts_at: Time
    ends_at: Time | None = None
    annotations: dict[str, str] = {}
    generator_url: str = field(default="", name="generatorURL")
    fingerprint: str = ""

    @property
    def id(self) -> str:
        """Identifies the alert by its labels, as long as it fires and when it is resolved."""
        return hashlib.sha256(msgspec.json.encode(sorted(self.labels.items()))).hexdigest()[:16]

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")[:_MAX_NAME_LENGTH] or UNNAMED

    @property
    def is_firing(self) -> bool:
        return self.status is AlertStatus.FIRING


class Webhook(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One notification: the firing and the resolved alerts of a group."""

    version: Annotated[str, Meta(min_length=1)]
    alerts: list[Alert]
    group_key: str = ""
    truncated_alerts: int = 0
    status: str = ""
    receiver: str = ""
    group_labels: dict[str, str] = {}
    common_labels: dict[str, str] = {}
    common_annotations: dict[str, str] = {}
    external_url: str = field(default="", name="externalURL")


_decoder = msgspec.json.Decoder(Webhook)
# msgspec has the path of a fault in its message only; tests pin the format.
_AT_PATH = re.compile(r" - at `(\$[^`]*)`$")


def decode(body: bytes) -> Webhook:
    """The notification in a request's body. Raises InvalidWebhook."""
    # PostgreSQL cannot store this character, and an alert must reach the audit trail all the same.
    body = body.replace(rb"\u0000", rb"\ufffd")
    try:
        webhook = _decoder.decode(body)
    except msgspec.ValidationError as error:
        at = _AT_PATH.search(str(error))
        raise InvalidWebhook(_AT_PATH.sub("", str(error)), at[1] if at else "$") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidWebhook(f"the body is not JSON: {error}") from error
    if webhook.version != VERSION:
        raise InvalidWebhook(f"version {webhook.version!r} is not supported; send version {VERSION!r}", "$.version")
    if not webhook.alerts:
        raise InvalidWebhook("alerts is empty", "$.alerts")
    return webhook


def candidates(alert: Alert, webhook: Webhook, kinds: Kinds) -> list[Candidate]:
    """The objects that the alert may be about: controllers first, then anything else, then pods and nodes.

    An alert that names nothing but a namespace is about that namespace. Empty when it names nothing at all.
    """
    labels = {**alert.labels, **webhook.common_labels}
    namespace = labels.get("exported_namespace") or labels.get("namespace", "")
    if not _NAME.fullmatch(namespace):
        namespace = ""
    named = [
        Candidate(kind=kind, name=labels[label], namespace=namespace if kind.namespaced else "")
        for label in sorted(labels.keys() & kinds.keys(), key=lambda label: (_tier(label), label))
        if label not in _RESERVED_LABELS and _NAME.fullmatch(labels[label])
        for kind in [kinds[label]]
    ]
    if not named and namespace and "namespace" in kinds:
        return [Candidate(kind=kinds["namespace"], name=namespace)]
    return named


def _tier(label: str) -> int:
    return 0 if label in _CONTROLLER_LABELS else 2 if label in _INFRASTRUCTURE_LABELS else 1


def fingerprint_of(owner: Target, cluster: str = "") -> str:
    """Identifies the workload, whatever the alert: two alerts about one workload are one signal."""
    text = f"{owner.namespace}:{owner.kind}:{owner.name}"
    return hashlib.sha256((f"{cluster}:{text}" if cluster else text).encode()).hexdigest()


def cluster_of(webhook: Webhook) -> str:
    return webhook.common_labels.get("cluster", "")[:_MAX_NAME_LENGTH]


def signal_of(alert: Alert, webhook: Webhook, resolved: ResolvedObject, received_at: datetime) -> Signal:
    """The alert as the `SignalProcessing` object carries it."""
    cluster = cluster_of(webhook)
    return Signal(
        fingerprint=fingerprint_of(resolved.owner, cluster),
        name=alert.name,
        severity=alert.labels.get("severity") or webhook.common_labels.get("severity") or UNKNOWN_SEVERITY,
        type=TYPE,
        source=SOURCE,
        target_type=TargetType.KUBERNETES,
        target_resource=resolved.target,
        cluster_id=cluster,
        labels=_without_empty_names(alert.labels | webhook.common_labels),
        annotations=_without_empty_names(alert.annotations | webhook.common_annotations),
        firing_time=alert.starts_at,
        received_time=received_at,
        provider_data=_provider_data(alert, webhook),
    )


def _without_empty_names(labels: dict[str, str]) -> dict[str, str]:
    """kube-apiserver 1.20 rejects an object with an empty name in these."""
    return {name: text for name, text in labels.items() if name}


def _provider_data(alert: Alert, webhook: Webhook) -> str:
    """Where the alert came from, as JSON; the longest values are left out when it would exceed the limit."""
    data = {
        "alertFingerprint": alert.fingerprint,
        "externalURL": webhook.external_url,
        "generatorURL": alert.generator_url,
        "groupKey": webhook.group_key,
        "receiver": webhook.receiver,
        "truncatedAlerts": webhook.truncated_alerts,
    }
    while True:
        text = msgspec.json.encode({name: value for name, value in data.items() if value}).decode()
        if len(text.encode()) <= _MAX_PROVIDER_DATA:
            return text
        del data[max(data, key=lambda name: len(str(data[name])))]
