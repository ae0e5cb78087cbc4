"""Alertmanager's webhook, version 4, in our words. Pure: what the cluster knows is handed in.

An alert says what it is about by its labels: `deployment="cart"` names a Deployment because discovery knows a kind
whose singular name is `deployment`. Several labels may do so (an alert about a pod often names its node as well), hence
candidates in an order, of which the first that exists wins.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, field

from kubernaut.api.meta import Time
from kubernaut.api.signals import Signal, Target
from kubernaut.api.vocabulary import TargetType
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata

VERSION = "4"
SOURCE = "prometheus"
TYPE = "alert"
UNNAMED = "unknown"
UNKNOWN_SEVERITY = "unknown"

_RESERVED = {"job", "service", "instance", "endpoint", "container", "namespace"}
_CONTROLLERS = {"deployment", "statefulset", "daemonset", "cronjob", "deploymentconfig"}
_LAST = {"pod", "node"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LONGEST_NAME = 253
_LONGEST_DATA = 4096

Kinds = Mapping[str, Kind[PartialObjectMetadata]]
"""Kinds of the cluster by their singular lower-case names."""


class Malformed(ValueError):
    """The body is no webhook of version 4; `path` says where, as JSON path."""

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
        return self.labels.get("alertname", "")[:_LONGEST_NAME] or UNNAMED

    @property
    def is_firing(self) -> bool:
        return self.status is AlertStatus.FIRING


class Webhook(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One notification: the alerts of a group that fire, and those that ceased to."""

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


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An object that an alert may be about; `namespace` is empty when it is cluster-scoped, or when nobody said."""

    kind: Kind[PartialObjectMetadata]
    name: str
    namespace: str = ""

    @property
    def lacks_namespace(self) -> bool:
        return self.kind.namespaced and not self.namespace

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def target(self) -> Target:
        return Target(kind=self.kind.kind, name=self.name, namespace=self.namespace)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an alert is about, and what is at the top of its owners: itself, when nobody owns it."""

    target: Target
    owner: Target


_decoder = msgspec.json.Decoder(Webhook)
_AT_PATH = re.compile(r" - at `(\$[^`]*)`$")


def decode(body: bytes) -> Webhook:
    """The notification in a request's body. Raises Malformed."""
    # PostgreSQL cannot keep this character, and an alert must not lose its place in the trail over it.
    body = body.replace(rb"\u0000", rb"\ufffd")
    try:
        webhook = _decoder.decode(body)
    except msgspec.ValidationError as error:
        at = _AT_PATH.search(str(error))
        raise Malformed(_AT_PATH.sub("", str(error)), at[1] if at else "$") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    if webhook.version != VERSION:
        raise Malformed(f"version {webhook.version!r} is not understood; version {VERSION!r} is", "$.version")
    if not webhook.alerts:
        raise Malformed("there is no alert in it", "$.alerts")
    return webhook


def candidates(alert: Alert, webhook: Webhook, kinds: Kinds) -> list[Candidate]:
    """What the alert may be about: controllers first, then anything else, then pods and nodes.

    An alert that names nothing but a namespace is about that namespace. Empty when it names nothing at all.
    """
    labels = {**alert.labels, **webhook.common_labels}
    namespace = labels.get("exported_namespace") or labels.get("namespace", "")
    if not _NAME.fullmatch(namespace):
        namespace = ""
    named = [
        Candidate(kind=kind, name=labels[label], namespace=namespace if kind.namespaced else "")
        for label in sorted(labels.keys() & kinds.keys(), key=lambda label: (_tier(label), label))
        if label not in _RESERVED and _NAME.fullmatch(labels[label])
        for kind in [kinds[label]]
    ]
    if not named and namespace and "namespace" in kinds:
        return [Candidate(kind=kinds["namespace"], name=namespace)]
    return named


def _tier(label: str) -> int:
    return 0 if label in _CONTROLLERS else 2 if label in _LAST else 1


def fingerprint_of(owner: Target, cluster: str = "") -> str:
    """Identifies the workload, whatever the alert: two alerts about one workload are one signal."""
    text = f"{owner.namespace}:{owner.kind}:{owner.name}"
    return hashlib.sha256((f"{cluster}:{text}" if cluster else text).encode()).hexdigest()


def cluster_of(webhook: Webhook) -> str:
    return webhook.common_labels.get("cluster", "")[:_LONGEST_NAME]


def signal_of(alert: Alert, webhook: Webhook, found: Found, received_at: datetime) -> Signal:
    """The alert as the `SignalProcessing` object carries it."""
    cluster = cluster_of(webhook)
    return Signal(
        fingerprint=fingerprint_of(found.owner, cluster),
        name=alert.name,
        severity=alert.labels.get("severity") or webhook.common_labels.get("severity") or UNKNOWN_SEVERITY,
        type=TYPE,
        source=SOURCE,
        target_type=TargetType.KUBERNETES,
        target_resource=found.target,
        cluster_id=cluster,
        labels=_named(alert.labels | webhook.common_labels),
        annotations=_named(alert.annotations | webhook.common_annotations),
        firing_time=alert.starts_at,
        received_time=received_at,
        provider_data=_provider_data(alert, webhook),
    )


def _named(texts: dict[str, str]) -> dict[str, str]:
    """Without the empty name, which says nothing; kube-apiserver 1.20 refuses a whole object for it."""
    return {name: text for name, text in texts.items() if name}


def _provider_data(alert: Alert, webhook: Webhook) -> str:
    """Where the alert came from, as JSON; the longest texts are left out when it would be too long."""
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
        if len(text.encode()) <= _LONGEST_DATA:
            return text
        del data[max(data, key=lambda name: len(str(data[name])))]
