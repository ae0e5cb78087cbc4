"""Decodes notifications as real senders write them.

A sender does not repeat a notification that was answered with a 4xx, so only a body that is no notification at all is
rejected: one that is not JSON, not an object, or has no list `alerts`. Each alert is judged by itself, and a bad one
leaves its neighbours alone. What is missing, null or of the zero time is unknown; fields that nobody reads may hold
anything. A character that PostgreSQL cannot store becomes U+FFFD.

Alerts are decoded when they are read and not kept, so a notification takes little more memory than its body.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, overload

import msgspec

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
from kubernaut.gateway.text_limits import truncate_labels

FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest time that an alert may name; an earlier one is the fault of a clock."""

MAX_TRUNCATED_ALERTS = 2**31 - 1

_NULL = msgspec.Raw(b"null")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# Any escape is consumed whole, so that an escaped backslash in front of `u0000` stays text.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2}|u0000)|.)",
    re.DOTALL,
)
_STRING_OR_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")


class _Notification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    alerts: msgspec.Raw
    status: msgspec.Raw = _NULL
    group_key: msgspec.Raw = _NULL
    truncated_alerts: msgspec.Raw = _NULL
    receiver: msgspec.Raw = _NULL
    common_labels: msgspec.Raw = _NULL
    common_annotations: msgspec.Raw = _NULL
    external_url: msgspec.Raw = msgspec.field(default=_NULL, name="externalURL")


class _Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: msgspec.Raw = _NULL
    labels: msgspec.Raw = _NULL
    annotations: msgspec.Raw = _NULL
    starts_at: msgspec.Raw = _NULL
    ends_at: msgspec.Raw = _NULL
    generator_url: msgspec.Raw = msgspec.field(default=_NULL, name="generatorURL")
    fingerprint: msgspec.Raw = _NULL


_decode_notification = msgspec.json.Decoder(_Notification).decode
_decode_alert = msgspec.json.Decoder(_Alert).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_decode_texts = msgspec.json.Decoder(dict[str, str] | None).decode
_decode_nullable_texts = msgspec.json.Decoder(dict[str, str | None]).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_decode_any = msgspec.json.Decoder(float_hook=str).decode


def decode(body: bytes) -> Webhook:
    """The notification in a request's body. Raises InvalidWebhook when it is none."""
    body = _storable(body.removeprefix(_BYTE_ORDER_MARK))
    try:
        notification = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidWebhook(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidWebhook(f"the body is not JSON: {error}") from error
    try:
        raws = _decode_raws(notification.alerts) or []
    except msgspec.ValidationError as error:
        raise InvalidWebhook(str(error), "$.alerts") from error
    common_labels = truncate_labels(_texts_or_none(notification.common_labels))
    common_annotations = truncate_labels(_texts_or_none(notification.common_annotations))
    truncated = _value(notification.truncated_alerts)
    status = _text(notification.status).strip().lower()
    alerts = _Alerts(raws, status, common_labels, common_annotations)
    return Webhook(
        alerts=alerts,
        group_key=_text(notification.group_key),
        truncated_alerts=min(max(truncated, 0), MAX_TRUNCATED_ALERTS) if type(truncated) is int else 0,
        status=status,
        receiver=_text(notification.receiver),
        common_labels=common_labels,
        common_annotations=common_annotations,
        external_url=_text(notification.external_url),
    )


def _decode(body: bytes) -> _Notification:
    try:
        return _decode_notification(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        repaired = _repaired(body)
        if repaired == body:
            raise
        return _decode_notification(repaired)


def _storable(body: bytes) -> bytes:
    """The body with U+FFFD in place of NUL, halves of surrogate pairs, and bytes that are not UTF-8."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            body = body.decode(errors="replace").encode()
    if _UNSTORABLE.search(body):
        body = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)
    return body


def _repaired(body: bytes) -> bytes:
    """The body as JSON where a sender's template wrote control characters into strings, or NaN as a number."""

    def repaired(token: re.Match[bytes]) -> bytes:
        if not token[0].startswith(b'"'):
            return b"null"
        return _CONTROL.sub(lambda control: rb"\u%04x" % (control[0][0] or 0xFFFD), token[0])

    return _STRING_OR_WORD.sub(repaired, body)


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
                raise _InvalidField("alert", "is not a JSON object") from None
            labels = _texts("labels", incoming.labels) | self._common_labels
            name = alert_name(truncate_labels(labels))
            status = self._status_of(incoming)
            annotations = _texts("annotations", incoming.annotations) | self._common_annotations
            starts_at, started = _time("startsAt", incoming.starts_at)
            ends_at, ended = _time("endsAt", incoming.ends_at) if status is AlertStatus.RESOLVED else (None, None)
            labels, labels_cut = _truncated("labels", labels)
            annotations, annotations_cut = _truncated("annotations", annotations)
            return Alert(
                status=status,
                labels=labels,
                annotations=annotations,
                starts_at=starts_at,
                ends_at=ends_at,
                generator_url=_text(incoming.generator_url),
                fingerprint=_text(incoming.fingerprint),
                adjustments=tuple(filter(None, (started, ended, labels_cut, annotations_cut))),
            )
        except _InvalidField as error:
            return InvalidAlert(name=name, reason=str(error))

    def _status_of(self, incoming: _Alert) -> AlertStatus:
        """The alert's own status, else the notification's; firing where neither says."""
        value = _value(incoming.status)
        if value is not None and not isinstance(value, str):
            raise _InvalidField("status", "is not a text")
        text = (value or "").strip().lower() or self._status or AlertStatus.FIRING
        if text not in set(AlertStatus):
            raise _InvalidField("status", f"{text[:50]!r} is neither 'firing' nor 'resolved'")
        return AlertStatus(text)


class _InvalidField(Exception):
    """Why an alert is rejected."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field} {fault}")


def _texts(field: str, raw: msgspec.Raw) -> dict[str, str]:
    """A map of texts without those that are null. Raises _InvalidField when it is something else."""
    try:
        return _decode_texts(raw) or {}
    except msgspec.MsgspecError:
        try:
            nullable = _decode_nullable_texts(raw)
        except msgspec.MsgspecError:
            raise _InvalidField(field, "is not a map of texts") from None
        return {name: text for name, text in nullable.items() if text is not None}


def _truncated(field: str, texts: dict[str, str]) -> tuple[dict[str, str], Adjustment | None]:
    cut = truncate_labels(texts)
    return cut, None if cut is texts else Adjustment(field=field, reason=AdjustmentReason.TRUNCATED)


def _texts_or_none(raw: msgspec.Raw) -> dict[str, str]:
    try:
        return _texts("", raw)
    except _InvalidField:
        return {}


def _text(raw: msgspec.Raw) -> str:
    """A text; empty where there is something else."""
    try:
        return _decode_text(raw) or ""
    except msgspec.MsgspecError:
        return ""


def _value(raw: msgspec.Raw) -> Any:
    try:
        return _decode_any(raw)
    except (msgspec.MsgspecError, RecursionError):
        return ()


def _time(field: str, raw: msgspec.Raw) -> tuple[datetime | None, Adjustment | None]:
    """A time in UTC, from 1970 on; None where it is not set."""
    value = _value(raw)
    if value is None or value == "":
        return None, None
    if not isinstance(value, str):
        raise _InvalidField(field, "is not a text with a time")
    try:
        time = msgspec.convert(value.strip(), datetime)
        if time.year <= 1:
            return None, None
        # A time without a zone is taken as UTC, which most senders mean.
        has_zone = time.tzinfo is not None
        time = time.astimezone(UTC) if has_zone else time.replace(tzinfo=UTC)
    except (msgspec.ValidationError, OverflowError):
        return None, Adjustment(field=field, reason=AdjustmentReason.INVALID_TIME)
    if time < FIRST_TIME:
        return FIRST_TIME, Adjustment(field=field, reason=AdjustmentReason.CLAMPED)
    return time, None if has_zone else Adjustment(field=field, reason=AdjustmentReason.NO_ZONE)
