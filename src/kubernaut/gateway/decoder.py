"""Decodes notifications as real senders write them.

A sender does not repeat a notification that was answered with a 4xx, so only a body that is no notification at all is
rejected: one that is not JSON, not an object, or has no list `alerts`. Each alert is judged by itself, and a bad one
leaves its neighbours alone. What is missing, null or of the zero time is unknown; fields that nobody reads may hold
anything. A character that PostgreSQL cannot store becomes U+FFFD.

A body may also have several notifications, alerts alone, or these in the envelopes of forwarders.

Alerts are decoded when they are read and not kept, so a notification takes little more memory than its body.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, overload

import msgspec
from msgspec.structs import replace

from kubernaut.gateway import json_fields
from kubernaut.gateway.alertmanager import (
    UNNAMED,
    Adjustment,
    AdjustmentReason,
    Alert,
    AlertStatus,
    InvalidAlert,
    InvalidWebhook,
    Webhook,
    alert_name,
)
from kubernaut.gateway.json_fields import NULL, InvalidField
from kubernaut.gateway.text_limits import truncate_labels
from kubernaut.ops.json_faults import json_fault

MAX_TRUNCATED_ALERTS = 2**31 - 1

MAX_ENVELOPES = 5
"""How many envelopes and lists may be around a notification."""

_NEITHER = "is neither a notification nor an alert"
MAX_WRAPPED = 1000
"""Documents of a body that are looked for in envelopes; a forwarder's batches are smaller."""

MAX_DOCUMENTS = 100_000
"""Documents in a list, or lines; a list of alerts with so many is nobody's."""

_UNRESOLVED = {"active", "suppressed", "unprocessed", "success"}
"""The states of an alert in an Alertmanager's API, and its answers'; when an alert ends is what `endsAt` says."""

_STATUSES = {
    **dict.fromkeys(_UNRESOLVED, ""),
    **dict.fromkeys(("alerting", "fired", "triggered", "trigger", "open", "acknowledged", "problem"), "firing"),
    **dict.fromkeys(("nodata", "no_data", "no data"), "firing"),
    **dict.fromkeys(("ok", "normal", "inactive", "closed", "recovered", "recovery", "cleared"), "resolved"),
}
"""What Grafana, Azure, PagerDuty, Opsgenie, Zabbix and others call the two states; empty where they say neither."""


class _Notification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    alerts: msgspec.Raw
    status: msgspec.Raw = NULL
    group_key: msgspec.Raw = NULL
    truncated_alerts: msgspec.Raw = NULL
    receiver: msgspec.Raw = NULL
    common_labels: msgspec.Raw = NULL
    common_annotations: msgspec.Raw = NULL
    external_url: msgspec.Raw = msgspec.field(default=NULL, name="externalURL")
    group_labels: msgspec.Raw = NULL


class _Element(msgspec.Struct, frozen=True, kw_only=True):
    """One of several documents."""

    alerts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    labels: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _AlertGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What Grafana OnCall knows of the notification that it passes on."""

    state: msgspec.Raw = NULL


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A document of a forwarder, with a notification as an object or as a text."""

    message: msgspec.Raw = msgspec.field(default=NULL, name="Message")
    """Of Amazon SNS."""
    alert_payload: msgspec.Raw = NULL
    """Of an outgoing webhook of Grafana OnCall: the first one of its group."""
    alert_group: msgspec.Raw = NULL
    data: msgspec.Raw = NULL
    """Of a CloudEvent, and of the API of an Alertmanager or a Prometheus."""
    data_base64: msgspec.Raw = NULL
    detail: msgspec.Raw = NULL
    """Of Amazon EventBridge."""
    body: msgspec.Raw = NULL
    """Of a message of Amazon SQS."""
    sns: msgspec.Raw = msgspec.field(default=NULL, name="Sns")
    records: msgspec.Raw = msgspec.field(default=NULL, name="Records")
    """Of what Amazon gives to a function."""
    pubsub: msgspec.Raw = msgspec.field(default=NULL, name="message")
    """Of a push of Google Pub/Sub, with `data` in base64."""


class _PubSub(msgspec.Struct, frozen=True, kw_only=True):
    data: bytes = b""


class _AzureEssentials(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    alert_rule: msgspec.Raw = NULL
    severity: msgspec.Raw = NULL
    monitor_condition: msgspec.Raw = NULL
    fired_date_time: msgspec.Raw = NULL
    resolved_date_time: msgspec.Raw = NULL
    investigation_link: msgspec.Raw = NULL


class _AzureContext(msgspec.Struct, frozen=True, kw_only=True):
    labels: dict[str, msgspec.Raw]
    annotations: msgspec.Raw = NULL


class _AzureData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    essentials: _AzureEssentials
    alert_context: _AzureContext


class _Azure(msgspec.Struct, frozen=True, kw_only=True):
    """An alert of Azure Monitor's Prometheus rules, in its common alert schema."""

    data: _AzureData


_AZURE_SEVERITIES = {"sev0": "critical", "sev1": "error", "sev2": "warning", "sev3": "informational", "sev4": "verbose"}
"""Azure counts from 0 and calls its severities so; for others, `sev1` is the worst or next to it."""


class _Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: msgspec.Raw = NULL
    labels: msgspec.Raw = NULL
    annotations: msgspec.Raw = NULL
    starts_at: msgspec.Raw = NULL
    ends_at: msgspec.Raw = NULL
    generator_url: msgspec.Raw = msgspec.field(default=NULL, name="generatorURL")
    fingerprint: msgspec.Raw = NULL
    state: msgspec.Raw = NULL
    active_at: msgspec.Raw = NULL
    """The state and the start in the API of a Prometheus."""


_decode_notification = msgspec.json.Decoder(_Notification).decode
_decode_alert = msgspec.json.Decoder(_Alert).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_alert_group = msgspec.json.Decoder(_AlertGroup | None).decode
_decode_element = msgspec.json.Decoder(_Element).decode
_decode_string = msgspec.json.Decoder(str).decode
_decode_pubsub = msgspec.json.Decoder(_PubSub | None).decode
_decode_base64 = msgspec.json.Decoder(bytes | None).decode
_decode_azure = msgspec.json.Decoder(_Azure).decode


def decode_all(body: bytes) -> list[Webhook]:
    """The notifications in a request's body, one at least. Raises InvalidWebhook when there is none.

    Several stand in a list, or one on each line, as forwarders send them. There may also be alerts alone, as Prometheus
    sends them to an Alertmanager.
    """
    return _Unwrapping().decode_all(body, MAX_ENVELOPES)


@dataclass
class _Unwrapping:
    """The search for notifications in one body, which ends however the body was made."""

    left: int = MAX_WRAPPED
    """Documents in envelopes that may still be looked into."""

    def decode_all(self, body: bytes, envelopes: int) -> list[Webhook]:
        try:
            return [decode(body)]
        except InvalidWebhook:
            body = json_fields.readable(body)
            with suppress(msgspec.MsgspecError, RecursionError):
                if webhooks := self._unwrapped(_decode_envelope(body), envelopes):
                    return webhooks
            with suppress(msgspec.MsgspecError, RecursionError):
                return [decode(_of_azure(_decode_azure(body)))]
            with suppress(msgspec.MsgspecError, RecursionError):
                if text := _decode_string(body):
                    return self._inner(text.encode(), envelopes)
            for split in (_decode_list, _decode_lines):
                with suppress(msgspec.MsgspecError, RecursionError):
                    raws = split(body)
                    # A single line is what was tried already.
                    depth = 0 if split is _decode_lines and len(raws) == 1 else envelopes
                    if len(raws) <= MAX_DOCUMENTS and (webhooks := self._webhooks(raws, depth)):
                        return webhooks
            raise

    def _inner(self, body: bytes, envelopes: int) -> list[Webhook]:
        """As `decode_all`, for what one more envelope is around."""
        if not envelopes or not self.left:
            raise InvalidWebhook(_NEITHER)
        self.left -= 1
        return self.decode_all(body, envelopes - 1)

    def _unwrapped(self, envelope: _Envelope, envelopes: int) -> list[Webhook]:
        """The notifications in an envelope."""
        for content in _contents(envelope):
            try:
                webhooks = self._inner(content, envelopes)
            except InvalidWebhook:
                continue
            group = json_fields.part(envelope.alert_group, _decode_alert_group)
            if group is None or json_fields.text(group.state) != AlertStatus.RESOLVED:
                return webhooks
            # The alerts are as they were when the group began.
            return [
                replace(
                    webhook,
                    alerts=[
                        replace(alert, status=AlertStatus.RESOLVED) if isinstance(alert, Alert) else alert
                        for alert in webhook.alerts
                    ],
                )
                for webhook in webhooks
            ]
        return []

    def _webhooks(self, raws: Sequence[msgspec.Raw], envelopes: int) -> list[Webhook]:
        """The notifications among some documents, and one of the alerts among them; none where there is neither."""
        webhooks: list[Webhook] = []
        alone: list[bytes] = []
        invalid: list[InvalidAlert] = []
        for raw in raws:
            element = json_fields.part(raw, _decode_element) or _Element()
            try:
                if element.alerts is not msgspec.UNSET:
                    webhooks.append(decode(bytes(raw)))
                elif element.labels is not msgspec.UNSET:
                    alone.append(bytes(raw))
                else:
                    webhooks += self._inner(bytes(raw), envelopes)
            except InvalidWebhook as error:
                reason = _NEITHER if element.alerts is msgspec.UNSET else f"{error.path}: {error}"
                invalid.append(InvalidAlert(name=UNNAMED, reason=reason))
        if alone:
            webhooks.append(decode(b'{"alerts":[' + b",".join(alone) + b"]}"))
        return [*webhooks, Webhook(alerts=invalid)] if webhooks and invalid else webhooks


def _contents(envelope: _Envelope) -> Iterator[bytes]:
    """What an envelope may have in it; what is a text has the document as its text."""
    for raw in (
        *(envelope.message, envelope.alert_payload, envelope.data, envelope.detail),
        *(envelope.body, envelope.sns, envelope.records),
    ):
        content = json_fields.text(raw).encode() or bytes(raw)
        if content.lstrip()[:1] in (b"{", b"["):
            yield content
    if encoded := json_fields.part(envelope.data_base64, _decode_base64):
        yield encoded
    if (pushed := json_fields.part(envelope.pubsub, _decode_pubsub)) is not None:
        yield pushed.data


def _of_azure(azure: _Azure) -> bytes:
    """The alert of Azure Monitor as a notification. Its rule's own labels come before what Azure adds."""
    essentials, context = azure.data.essentials, azure.data.alert_context
    severity = json_fields.text(essentials.severity)
    added = {
        "alertname": json_fields.text(essentials.alert_rule),
        "severity": _AZURE_SEVERITIES.get(severity.strip().lower(), severity),
    }
    alert: dict[str, Any] = {
        "status": essentials.monitor_condition,
        "labels": {**{name: value for name, value in added.items() if value}, **context.labels},
        "annotations": context.annotations,
        "startsAt": essentials.fired_date_time,
        "endsAt": essentials.resolved_date_time,
        "generatorURL": essentials.investigation_link,
    }
    return msgspec.json.encode({"alerts": [alert]})


def decode(body: bytes) -> Webhook:
    """The notification in a request's body. Raises InvalidWebhook when it is none."""
    try:
        notification = json_fields.decode(body, _decode_notification)
    except msgspec.ValidationError as error:
        raise InvalidWebhook(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidWebhook(f"the body is not JSON: {json_fault(error)}") from error
    try:
        raws = _decode_raws(notification.alerts) or []
    except msgspec.ValidationError as error:
        raise InvalidWebhook(str(error), "$.alerts") from error
    common_labels = truncate_labels(json_fields.texts_or_none(notification.common_labels))
    # Alertmanager repeats these among the common ones, and others may not.
    group_labels = truncate_labels(json_fields.texts_or_none(notification.group_labels))
    common_annotations = truncate_labels(json_fields.texts_or_none(notification.common_annotations))
    truncated = json_fields.value(notification.truncated_alerts)
    status = json_fields.text(notification.status).strip().lower()
    alerts = _Alerts(raws, status, group_labels, common_labels, common_annotations)
    return Webhook(
        alerts=alerts,
        group_key=json_fields.text(notification.group_key),
        truncated_alerts=min(max(truncated, 0), MAX_TRUNCATED_ALERTS) if type(truncated) is int else 0,
        status=status,
        receiver=json_fields.text(notification.receiver),
        common_labels=common_labels,
        common_annotations=common_annotations,
        external_url=json_fields.text(notification.external_url),
    )


class _Alerts(Sequence[Alert | InvalidAlert]):
    """The alerts of a notification, each decoded when it is read."""

    def __init__(
        self,
        raws: Sequence[msgspec.Raw],
        status: str,
        group_labels: dict[str, str],
        common_labels: dict[str, str],
        common_annotations: dict[str, str],
    ) -> None:
        self._raws = raws
        self._status = status
        self._group_labels = group_labels
        self._common_labels = common_labels
        self._common_annotations = common_annotations

    def __len__(self) -> int:
        return len(self._raws)

    def __iter__(self) -> Iterator[Alert | InvalidAlert]:
        return map(self._alert, self._raws)

    @overload
    def __getitem__(self, index: int) -> Alert | InvalidAlert: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[Alert | InvalidAlert]": ...
    def __getitem__(self, index: int | slice) -> "Alert | InvalidAlert | Sequence[Alert | InvalidAlert]":
        if isinstance(index, slice):
            return [self._alert(raw) for raw in self._raws[index]]
        return self._alert(self._raws[index])

    def _alert(self, raw: msgspec.Raw) -> Alert | InvalidAlert:
        """What is wrong with a field that the gateway needs rejects the alert."""
        name = alert_name(self._group_labels | self._common_labels)
        try:
            try:
                incoming = _decode_alert(raw)
            except msgspec.MsgspecError:
                raise InvalidField("alert", "is not a JSON object") from None
            labels = self._group_labels | json_fields.texts("labels", incoming.labels) | self._common_labels
            name = alert_name(truncate_labels(labels))
            status = self._status_of(incoming)
            annotations = json_fields.texts_or_none(incoming.annotations) | self._common_annotations
            starts_at, started = json_fields.time("startsAt", _first(incoming.starts_at, incoming.active_at))
            ends_at, ended = (
                json_fields.time("endsAt", incoming.ends_at) if status is AlertStatus.RESOLVED else (None, None)
            )
            labels, labels_cut = _truncated("labels", labels)
            annotations, annotations_cut = _truncated("annotations", annotations)
            return Alert(
                status=status,
                labels=labels,
                annotations=annotations,
                starts_at=starts_at,
                ends_at=ends_at,
                generator_url=json_fields.text(incoming.generator_url),
                fingerprint=json_fields.text(incoming.fingerprint),
                adjustments=tuple(filter(None, (started, ended, labels_cut, annotations_cut))),
            )
        except InvalidField as error:
            return InvalidAlert(name=name, reason=str(error))

    def _status_of(self, incoming: _Alert) -> AlertStatus:
        """The alert's own status, else the notification's; where neither says, it fires until its end."""
        value = json_fields.value(_first(incoming.status, incoming.state))
        if isinstance(value, dict):
            value = value.get("state")  # as the API of an Alertmanager tells it
        own = value.strip().lower() if isinstance(value, str) else ""
        text = _STATUSES.get(own, own) or _STATUSES.get(self._status, self._status)
        if not text:
            ends_at, _ = json_fields.time("endsAt", incoming.ends_at)
            return AlertStatus.RESOLVED if ends_at and ends_at <= datetime.now(UTC) else AlertStatus.FIRING
        if text not in set(AlertStatus):
            raise InvalidField("status", f"{text[:50]!r} is neither 'firing' nor 'resolved'")
        return AlertStatus(text)


def _first(*raws: msgspec.Raw) -> msgspec.Raw:
    """The first that is not null."""
    return next((raw for raw in raws if bytes(raw) != b"null"), NULL)


def _truncated(field: str, texts: dict[str, str]) -> tuple[dict[str, str], Adjustment | None]:
    cut = truncate_labels(texts)
    return cut, None if cut is texts else Adjustment(field=field, reason=AdjustmentReason.TRUNCATED)
