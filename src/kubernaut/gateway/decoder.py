"""Decodes notifications as real senders write them.

A sender does not repeat a notification that was answered with a 4xx, so only a body that is no notification at all is
rejected: one that is not JSON, not an object, or has no list `alerts`. Each alert is judged by itself, and a bad one
leaves its neighbours alone. What is missing, null or of the zero time is unknown; fields that nobody reads may hold
anything. A character that PostgreSQL cannot store becomes U+FFFD.

Alerts are decoded when they are read and not kept, so a notification takes little more memory than its body.
"""

from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from kubernaut.gateway import json_fields
from kubernaut.gateway.alertmanager import (
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


class _Notification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    alerts: msgspec.Raw
    status: msgspec.Raw = NULL
    group_key: msgspec.Raw = NULL
    truncated_alerts: msgspec.Raw = NULL
    receiver: msgspec.Raw = NULL
    common_labels: msgspec.Raw = NULL
    common_annotations: msgspec.Raw = NULL
    external_url: msgspec.Raw = msgspec.field(default=NULL, name="externalURL")


class _Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: msgspec.Raw = NULL
    labels: msgspec.Raw = NULL
    annotations: msgspec.Raw = NULL
    starts_at: msgspec.Raw = NULL
    ends_at: msgspec.Raw = NULL
    generator_url: msgspec.Raw = msgspec.field(default=NULL, name="generatorURL")
    fingerprint: msgspec.Raw = NULL


_decode_notification = msgspec.json.Decoder(_Notification).decode
_decode_alert = msgspec.json.Decoder(_Alert).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw] | None).decode


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
    common_annotations = truncate_labels(json_fields.texts_or_none(notification.common_annotations))
    truncated = json_fields.value(notification.truncated_alerts)
    status = json_fields.text(notification.status).strip().lower()
    alerts = _Alerts(raws, status, common_labels, common_annotations)
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
        common_labels: dict[str, str],
        common_annotations: dict[str, str],
    ) -> None:
        self._raws = raws
        self._status = status
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
        name = alert_name(self._common_labels)
        try:
            try:
                incoming = _decode_alert(raw)
            except msgspec.MsgspecError:
                raise InvalidField("alert", "is not a JSON object") from None
            labels = json_fields.texts("labels", incoming.labels) | self._common_labels
            name = alert_name(truncate_labels(labels))
            status = self._status_of(incoming)
            annotations = json_fields.texts("annotations", incoming.annotations) | self._common_annotations
            starts_at, started = json_fields.time("startsAt", incoming.starts_at)
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
        """The alert's own status, else the notification's; firing where neither says."""
        value = json_fields.value(incoming.status)
        if value is not None and not isinstance(value, str):
            raise InvalidField("status", "is not a text")
        text = (value or "").strip().lower() or self._status or AlertStatus.FIRING
        if text not in set(AlertStatus):
            raise InvalidField("status", f"{text[:50]!r} is neither 'firing' nor 'resolved'")
        return AlertStatus(text)


def _truncated(field: str, texts: dict[str, str]) -> tuple[dict[str, str], Adjustment | None]:
    cut = truncate_labels(texts)
    return cut, None if cut is texts else Adjustment(field=field, reason=AdjustmentReason.TRUNCATED)
