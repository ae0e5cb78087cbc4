"""Alerts of an Alertmanager-compatible sender, and the signals of its alerts. Pure."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from kubernaut.api.signals import Signal, Target
from kubernaut.api.vocabulary import TargetType
from kubernaut.gateway.targets import ResolvedObject
from kubernaut.gateway.text_limits import truncate_labels
from kubernaut.ops.redaction import redact, redact_labels

SOURCE = "prometheus"
TYPE = "alert"
UNNAMED = "unknown"
UNKNOWN_SEVERITY = "unknown"

MAX_NAME_LENGTH = 253
_NAME_LABELS = ("alertname", "rulename", "alertrule", "rule")
_SEVERITY_LABELS = ("severity", "alertseverity", "severitylevel")
_PRIORITY = re.compile(r"[pP][0-5]")
"""As Opsgenie writes it; other labels called `priority` are those of queues and classes."""
_MAX_PROVIDER_DATA = 4096  # bytes


class InvalidWebhook(ValueError):
    """The body is no notification; `path` is the JSON path of the fault."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class AlertStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


class AdjustmentReason(StrEnum):
    """Why an alert is not stored exactly as it came."""

    INVALID_TIME = "invalid-time"
    NO_ZONE = "no-zone"
    CLAMPED = "clamped"
    FUTURE = "future"
    TRUNCATED = "truncated"

    @property
    def description(self) -> str:
        return _ADJUSTMENTS[self]


_ADJUSTMENTS = {
    AdjustmentReason.INVALID_TIME: "is no time and counts as unknown",
    AdjustmentReason.NO_ZONE: "has no time zone and counts as UTC",
    AdjustmentReason.CLAMPED: "is out of range and was clamped",
    AdjustmentReason.FUTURE: "is in the future and counts as the time of receipt",
    AdjustmentReason.TRUNCATED: "exceeds a limit and was truncated",
}


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """A field of an alert that is stored in another form than it came in."""

    field: str
    reason: AdjustmentReason

    def __str__(self) -> str:
        return f"{self.field} {self.reason.description}"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of a notification, with the labels and annotations that all alerts of the notification have."""

    status: AlertStatus
    labels: dict[str, str]
    starts_at: datetime | None = None
    """None where the sender does not know it; in UTC."""

    ends_at: datetime | None = None
    """None where it fires, or the sender does not know it; in UTC."""

    annotations: dict[str, str] = {}
    generator_url: str = ""
    fingerprint: str = ""
    adjustments: tuple[Adjustment, ...] = ()

    @property
    def id(self) -> str:
        """Identifies the alert by its labels, as long as it fires and when it is resolved."""
        return hashlib.sha256(msgspec.json.encode(sorted(self.labels.items()))).hexdigest()[:16]

    def adjustments_at(self, received_at: datetime) -> tuple[Adjustment, ...]:
        """What is stored in another form than it came in, when the alert is received at that time."""
        times = {"startsAt": self.starts_at, "endsAt": self.ends_at}
        ahead = (name for name, time in times.items() if time and time > received_at)
        future = (Adjustment(field=name, reason=AdjustmentReason.FUTURE) for name in ahead)
        return (*self.adjustments, *future)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; its start where the sender says no later time, because each delivery has the same start."""
        if self.ends_at is None or self.starts_at is None:
            return self.ends_at or self.starts_at
        return max(self.ends_at, self.starts_at)

    @property
    def name(self) -> str:
        return alert_name(self.labels)

    def ended_before(self, began: datetime | None) -> bool:
        """Whether it ended before it began anew at that time; false when either is not known."""
        return began is not None and self.ended_at is not None and self.ended_at < began

    @property
    def is_firing(self) -> bool:
        return self.status is AlertStatus.FIRING


class InvalidAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that cannot be stored, and why."""

    name: str
    reason: str


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One notification: the firing and the resolved alerts of a group."""

    alerts: Sequence[Alert | InvalidAlert]
    group_key: str = ""
    truncated_alerts: int = 0
    """Alerts of the group that the sender has left out."""

    status: str = ""
    receiver: str = ""
    common_labels: dict[str, str] = {}
    common_annotations: dict[str, str] = {}
    external_url: str = ""


def alert_name(labels: Mapping[str, str]) -> str:
    """The label `alertname`, else one by which other senders name their rules; alerts without a name would all fold."""
    name = labels.get("alertname", "")
    return redact(name if name.strip() else _of_another_spelling(labels, _NAME_LABELS))[:MAX_NAME_LENGTH] or UNNAMED


def _of_another_spelling(labels: Mapping[str, str], names: Iterable[str]) -> str:
    """The first of the labels that has a value, whatever its case and its underscores."""
    found = {label.replace("_", "").lower(): value.strip() for label, value in labels.items()}
    return next((found[name] for name in names if found.get(name)), "")


def severity_of(labels: Mapping[str, str]) -> str:
    """The label `severity`, else one of another spelling, else a priority such as `P1`; empty when there is none."""
    if severity := labels.get("severity", "").strip():
        return severity
    found = _of_another_spelling(labels, _SEVERITY_LABELS)
    if not found and _PRIORITY.fullmatch(priority := _of_another_spelling(labels, ("priority",))):
        found = priority
    return truncate_labels({"severity": found})["severity"]


def fingerprint_of(owner: Target, cluster: str = "") -> str:
    """Identifies the workload, whatever the alert: two alerts about one workload are one signal."""
    text = f"{owner.namespace}:{owner.kind}:{owner.name}"
    return hashlib.sha256((f"{cluster}:{text}" if cluster else text).encode()).hexdigest()


def signal_of(
    alert: Alert, webhook: Webhook, resolved: ResolvedObject, received_at: datetime, cluster: str = ""
) -> Signal:
    """The alert as the `SignalProcessing` object carries it, without secrets.

    `cluster` is the id of the cluster that it is from.
    """
    return Signal(
        fingerprint=fingerprint_of(resolved.owner, cluster),
        name=alert.name,
        severity=redact(severity_of(alert.labels)) or UNKNOWN_SEVERITY,
        type=TYPE,
        source=SOURCE,
        target_type=TargetType.KUBERNETES,
        target_resource=resolved.target,
        cluster_id=cluster,
        labels=redact_labels(_without_empty(alert.labels)),
        annotations=redact_labels(_without_empty(alert.annotations)),
        firing_time=min(alert.starts_at, received_at) if alert.starts_at else None,
        received_time=received_at,
        provider_data=_provider_data(alert, webhook, received_at),
    )


def _without_empty(pairs: Mapping[str, str]) -> dict[str, str]:
    """Without what means nothing: in Prometheus, a label with an empty value is one that is not there.

    A kube-apiserver before 1.21 also rejects an object with an empty text in such a map.
    """
    return {name: value for name, value in pairs.items() if name and value}


def _provider_data(alert: Alert, webhook: Webhook, received_at: datetime) -> str:
    """Where the alert came from, as JSON; the longest values are left out when it would exceed the limit."""
    data = {
        "alertFingerprint": redact(alert.fingerprint),
        "externalURL": redact(webhook.external_url),
        "generatorURL": redact(alert.generator_url),
        "groupKey": redact(webhook.group_key),
        "receiver": redact(webhook.receiver),
        "truncatedAlerts": webhook.truncated_alerts,
        "adjustments": [str(adjustment) for adjustment in alert.adjustments_at(received_at)],
    }
    while True:
        text = msgspec.json.encode({name: value for name, value in data.items() if value}).decode()
        if len(text.encode()) <= _MAX_PROVIDER_DATA:
            return text
        del data[max(data, key=lambda name: len(str(data[name])))]
