"""What real senders write is read; each alert is judged by itself, and only what is no notification is rejected."""

import base64
import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubernaut.gateway.alertmanager import AdjustmentReason, Alert, AlertStatus, InvalidAlert, InvalidWebhook, Webhook
from kubernaut.gateway.decoder import decode, decode_all
from support.alerts import LONG_AGO, a_webhook, ago, an_alert


def decoded(*alerts: Any, **changes: Any) -> Webhook:
    return decode(json.dumps(a_webhook(*alerts, **changes)).encode())


def alert_of(*alerts: Any, **changes: Any) -> Alert:
    alert = decoded(*alerts, **changes).alerts[0]
    assert isinstance(alert, Alert), alert
    return alert


GRAFANA = {"version": "1", "orgId": 1, "title": "[FIRING:1]", "state": "alerting", "message": "**Firing**"}


@pytest.mark.parametrize("changes", [GRAFANA, {"version": None}, {"version": 4}, {"version": "5", "new": [{}]}, {}])
def test_any_version_and_unknown_fields_are_read(changes):
    alert = an_alert(namespace="shop") | {"values": {"B": 912.4}, "panelURL": None, "orgId": 1}

    assert alert_of(alert, **changes).name == "KubePodCrashLooping"


def test_an_alert_is_enough():
    webhook = decode(b'{"alerts": [{"labels": {"alertname": "Down"}}]}')

    assert webhook.alerts[0] == Alert(status=AlertStatus.FIRING, labels={"alertname": "Down"})
    assert (webhook.group_key, webhook.receiver, webhook.truncated_alerts) == ("", "", 0)


def test_null_is_as_good_as_absent():
    nulls = dict.fromkeys(a_webhook())
    alert = dict.fromkeys(an_alert()) | {"labels": {"alertname": "Down", "pod": None}}

    webhook = decode(json.dumps(nulls | {"alerts": [alert]}).encode())

    assert webhook.alerts[0] == Alert(status=AlertStatus.FIRING, labels={"alertname": "Down"})


@pytest.mark.parametrize("alerts", [None, []])
def test_a_notification_may_be_empty(alerts):
    assert list(decoded(alerts=alerts).alerts) == []


@pytest.mark.parametrize(
    ("own", "group", "status"),
    [
        ("firing", "resolved", AlertStatus.FIRING),
        ("resolved", "firing", AlertStatus.RESOLVED),
        (" Resolved ", None, AlertStatus.RESOLVED),
        ("", "resolved", AlertStatus.RESOLVED),
        (None, "resolved", AlertStatus.RESOLVED),
        (None, None, AlertStatus.FIRING),
        (None, 7, AlertStatus.FIRING),
        ({"state": "active", "silencedBy": []}, None, AlertStatus.FIRING),
        ({"state": "suppressed"}, "firing", AlertStatus.FIRING),
        ({}, "resolved", AlertStatus.RESOLVED),
        (1, "resolved", AlertStatus.RESOLVED),
        ("Alerting", None, AlertStatus.FIRING),
        ("Fired", None, AlertStatus.FIRING),
        ("NoData", "ok", AlertStatus.FIRING),
        ("OK", "alerting", AlertStatus.RESOLVED),
        ("inactive", None, AlertStatus.RESOLVED),
        (None, "closed", AlertStatus.RESOLVED),
        (None, "success", AlertStatus.FIRING),
    ],
)
def test_an_alert_without_a_status_has_that_of_the_notification(own, group, status):
    assert alert_of(an_alert() | {"status": own}, status=group).status is status


def test_common_labels_count_where_the_alert_has_none():
    alert = an_alert() | {"labels": {"instance": "x:9100"}, "annotations": None}

    read = alert_of(alert, commonLabels={"alertname": "HighMemory"}, commonAnnotations={"summary": "s"})

    assert read.name == "HighMemory"
    assert read.labels == {"instance": "x:9100", "alertname": "HighMemory"}
    assert read.annotations == {"summary": "s"}


def test_the_labels_of_the_group_are_common_ones():
    read = alert_of(
        an_alert() | {"labels": {"pod": "x"}},
        groupLabels={"alertname": "Group", "pod": "y"},
        commonLabels={"team": "a"},
    )

    assert read.labels == {"alertname": "Group", "pod": "x", "team": "a"}


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (None, "alert is not a JSON object"),
        (7, "alert is not a JSON object"),
        (an_alert() | {"status": "pending"}, "status 'pending' is neither 'firing' nor 'resolved'"),
        (an_alert() | {"labels": ["alertname"]}, "labels is not a map of texts"),
    ],
)
def test_an_alert_of_a_wrong_shape_is_rejected_alone(alert, reason):
    before, bad, after = decoded(an_alert("Before"), alert, an_alert("After")).alerts

    assert isinstance(bad, InvalidAlert)
    assert bad.reason == reason
    assert (before.name, after.name) == ("Before", "After")


def test_a_rejected_alert_has_its_name():
    (bad,) = decoded(an_alert("Odd") | {"status": "pending"}).alerts

    assert bad.name == "Odd"


@pytest.mark.parametrize("field", ["generatorURL", "fingerprint"])
def test_a_field_that_only_informs_may_hold_anything(field):
    assert alert_of(an_alert() | {field: {"a": [1]}}).name == "KubePodCrashLooping"


@pytest.mark.parametrize("time", [LONG_AGO, None, "", "0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00-08:00"])
def test_a_zero_time_is_unknown(time):
    alert = alert_of(an_alert(resolved=True) | {"startsAt": time, "endsAt": time})

    assert (alert.starts_at, alert.ends_at, alert.adjustments) == (None, None, ())


@pytest.mark.parametrize(
    ("text", "time", "reason"),
    [
        ("yesterday", None, AdjustmentReason.INVALID_TIME),
        ("10000-01-01T00:00:00Z", None, AdjustmentReason.INVALID_TIME),
        ("9999-12-31T23:59:59-12:00", None, AdjustmentReason.INVALID_TIME),
        (True, None, AdjustmentReason.INVALID_TIME),
        ([], None, AdjustmentReason.INVALID_TIME),
        ({"seconds": 1}, None, AdjustmentReason.INVALID_TIME),
        ("1492-10-12T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC), AdjustmentReason.CLAMPED),
        ("2026-11-22T20:00:00", datetime(2026, 11, 22, 20, tzinfo=UTC), AdjustmentReason.NO_ZONE),
    ],
)
def test_an_odd_time_is_marked_and_never_a_reason_to_reject(text, time, reason):
    alert = alert_of(an_alert() | {"startsAt": text})

    assert alert.starts_at == time
    assert [(one.field, one.reason) for one in alert.adjustments] == [("startsAt", reason)]


def test_a_time_is_read_to_the_microsecond_in_utc():
    alert = alert_of(an_alert(starts_at="2026-11-29T17:26:07.123456789+01:00"))

    assert alert.starts_at == datetime(2026, 11, 29, 16, 26, 7, 123457, UTC)
    assert alert.starts_at.tzinfo is UTC


def test_the_end_of_a_firing_alert_is_only_expected():
    assert alert_of(an_alert(ends_at="2099-01-01T00:00:00Z")).ends_at is None


def a_body(summary: bytes) -> bytes:
    return json.dumps(a_webhook(an_alert() | {"annotations": {"summary": "HERE"}})).encode().replace(b"HERE", summary)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"a\u0000b", "a\ufffdb"),
        (rb"a\\u0000b", r"a\u0000b"),
        (rb"a\\\u0000b", "a\\\ufffdb"),
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\udea8 cut", "\ufffd cut"),
        (rb"\ud83d\ud83d\udea8", "\ufffd🚨"),
        (rb"\uD83D\uDEA8", "🚨"),
        (rb"\\ud83d", r"\ud83d"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xed\xa0\xbd", "\ufffd\ufffd\ufffd"),
        ("Spaß 🚨".encode(), "Spaß 🚨"),
        (rb"http:\/\/x", "http://x"),
        (b"two\nlines\tand \x1b[31m", "two\nlines\tand \x1b[31m"),
        (b"a\x00b", "a\ufffdb"),
        (rb"NaN", "NaN"),
        (rb"say \"NaN\"" + b"\n", 'say "NaN"\n'),
        (rb"C:\data, \d+ or \u12: \\ \"x\" \n", 'C:\\data, \\d+ or \\u12: \\ "x" \n'),
        (b",]\n,}", ",]\n,}"),
    ],
)
def test_a_text_is_read_as_far_as_postgresql_can_store_it(written, read):
    assert decode(a_body(written)).alerts[0].annotations["summary"] == read


def test_a_byte_order_mark_and_indentation_by_tabs_are_read():
    body = json.dumps(a_webhook(an_alert()), indent="\t").encode()

    assert len(decode(b"\xef\xbb\xbf" + body + b"\n").alerts) == 1


def test_numbers_that_json_has_not_are_read_where_nobody_needs_them():
    alert = an_alert() | {"values": {"B": float("nan"), "C": float("-inf"), "D": 10**400}, "big": 1e300}

    assert alert_of(alert, orgId=float("inf")).name == "KubePodCrashLooping"


@pytest.mark.parametrize(
    ("given", "read"), [(3, 3), (-1, 0), (None, 0), ("3", 0), (1.5, 0), (True, 0), (10**30, 2**31 - 1)]
)
def test_the_number_of_alerts_left_out_is_read_or_zero(given, read):
    assert decoded(an_alert(), truncatedAlerts=given).truncated_alerts == read


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", "$"),
        (b"no", "$"),
        (b"[]", "$"),
        (b"null", "$"),
        (b"{}", "$"),
        (b"\xff\xfe", "$"),
        (b'{"alerts": [', "$"),
        (b"[" * 100_000, "$"),
        (b'{"alerts": ' + b"[" * 100_000, "$"),
        (b'{"alerts": {}}', "$.alerts"),
        (b'{"alerts": 7}', "$.alerts"),
    ],
)
def test_a_body_that_is_no_notification_is_rejected(body, path):
    with pytest.raises(InvalidWebhook) as caught:
        decode(body)

    assert caught.value.path == path


START = datetime(2026, 11, 22, 20, 0, 0, 500000, tzinfo=UTC)


@pytest.mark.parametrize(
    "given",
    [
        "2026-11-22T20:00:00.5Z",
        "2026-11-22T21:00:00.500+01:00",
        "2026-11-22T20:00:00.5+0000",
        "2026-11-22 20:00:00.5 +0000 UTC",
        "2026-11-22 21:00:00.500000000 +0100 CET m=+12.5",
        1795377600.5,
        1795377600500,
        1795377600500000,
        1795377600500000000,
    ],
)
def test_a_time_is_read_as_senders_and_their_templates_write_it(given):
    alert = alert_of(an_alert() | {"startsAt": given})

    assert alert.starts_at == START
    assert alert.adjustments == ()


@pytest.mark.parametrize("given", ["0001-01-01 00:00:00 +0000 UTC", "0001-01-01T00:00:00Z", None, ""])
def test_the_zero_time_is_unknown_however_it_is_written(given):
    alert = alert_of(an_alert() | {"startsAt": given})

    assert (alert.starts_at, alert.adjustments) == (None, ())


def test_numbers_in_labels_and_annotations_are_texts():
    alert = alert_of(an_alert() | {"labels": {"alertname": "A", "code": 503, "up": False}, "annotations": {"v": 1.5}})

    assert alert.labels == {"alertname": "A", "code": "503", "up": "false"}
    assert alert.annotations == {"v": "1.5"}


def test_what_else_is_in_labels_and_annotations_is_its_json():
    labels = {"alertname": "A", "zones": ["a", "b"], "up": True, "gone": None}

    alert = alert_of(an_alert() | {"labels": labels, "annotations": {"summary": "s", "runbook": {"url": "http://x"}}})

    assert alert.labels == {"alertname": "A", "zones": '["a", "b"]', "up": "true"}
    assert alert.annotations == {"summary": "s", "runbook": '{"url": "http://x"}'}
    assert alert_of(an_alert() | {"annotations": "none"}).annotations == {}


@pytest.mark.parametrize(
    ("ends_at", "status"),
    [
        (lambda: LONG_AGO, AlertStatus.FIRING),
        (lambda: ago(minutes=-4), AlertStatus.FIRING),
        (lambda: ago(minutes=4), AlertStatus.RESOLVED),
        (lambda: None, AlertStatus.FIRING),
    ],
    ids=["zero", "ahead", "over", "none"],
)
def test_an_alert_whose_status_nothing_says_fires_until_its_end(ends_at, status):
    alert = {name: value for name, value in an_alert().items() if name != "status"} | {"endsAt": ends_at()}

    assert alert_of(alert, status=None).status is status
    (posted,) = decode_all(json.dumps([alert]).encode())
    assert posted.alerts[0].status is status


def names_of(body: bytes) -> list[list[str]]:
    return [[alert.name for alert in webhook.alerts] for webhook in decode_all(body)]


def compact(value: object) -> bytes:
    return json.dumps(value).encode()


ONE, TWO = a_webhook(an_alert("A")), a_webhook(an_alert("B"), an_alert("C"))
SNS = {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Signature": "s"}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (compact(ONE) + b"\r\n\n", [["A"]]),
        (compact(ONE) + b"\n" + compact(TWO) + b"\n", [["A"], ["B", "C"]]),
        (compact(ONE) + b"\r\n\r\n" + compact(TWO), [["A"], ["B", "C"]]),
        (compact([ONE, TWO]), [["A"], ["B", "C"]]),
        (compact(TWO["alerts"]), [["B", "C"]]),
        (compact(TWO["alerts"][0]) + b"\n" + compact(TWO["alerts"][1]), [["B", "C"]]),
        (compact(an_alert("A")), [["A"]]),
        (compact([ONE, *TWO["alerts"], 7]), [["A"], ["B", "C"], ["unknown"]]),
        (compact([ONE, {"alerts": 7}]), [["A"], ["unknown"]]),
        (compact(SNS | {"Message": json.dumps(TWO)}), [["B", "C"]]),
        (compact(SNS | {"Message": json.dumps(TWO, indent=1)}), [["B", "C"]]),
        (compact({"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "data": TWO}), [["B", "C"]]),
        (compact([{"specversion": "1.0", "data": ONE}, {"specversion": "1.0", "data": TWO}]), [["A"], ["B", "C"]]),
        (compact({"specversion": "1.0", "data_base64": base64.b64encode(compact(TWO)).decode()}), [["B", "C"]]),
        (
            compact(SNS | {"Message": compact(ONE).decode()}) + b"\n" + compact(SNS | {"Message": "{}"}),
            [["A"], ["unknown"]],
        ),
        (compact(SNS | {"Message": json.dumps(SNS | {"Message": json.dumps(TWO)})}), [["B", "C"]]),
        (compact({"Records": [{"EventSource": "aws:sns", "Sns": SNS | {"Message": json.dumps(TWO)}}]}), [["B", "C"]]),
        (compact({"Records": [{"messageId": "1", "body": json.dumps(ONE)}]}), [["A"]]),
        (compact({"detail-type": "alert", "detail": TWO}), [["B", "C"]]),
        (compact({"message": {"data": base64.b64encode(compact(TWO)).decode()}, "subscription": "s"}), [["B", "C"]]),
        (compact({"status": "success", "data": TWO["alerts"]}), [["B", "C"]]),
        (compact(json.dumps(ONE)), [["A"]]),
        (b'\x1e{"alerts": [{"labels": {"alertname": "A",},},],}\n\0', [["A"]]),
        (
            compact({"event": {"type": "escalation"}, "alert_group": {"state": "firing"}, "alert_payload": TWO}),
            [["B", "C"]],
        ),
    ],
)
def test_several_notifications_alerts_alone_and_wrapped_ones_are_read(body, names):
    assert names_of(body) == names


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no", b"[]", b"{}", b"[{}]", b"7\n8", b"[[]]", b"[" * 100_000, b'{"alerts": [}\n{"alerts": []'),
        compact(SNS | {"Message": "disk is full"}),
        compact({"schemaId": "azureMonitorCommonAlertSchema", "data": {"essentials": {"severity": "Sev1"}}}),
        compact({"alert_payload": {"title": "disk is full", "state": "alerting"}, "alert_group": None}),
        b'{"data": ' * 6 + b'{"alerts": []}' + b"}" * 6,
        b'{"data": ' * 5_000 + b"}" * 5_000,
        compact({"message": {"data": "no base64"}, "data_base64": "bm8="}),
    ],
)
def test_what_holds_no_notification_is_rejected(body):
    with pytest.raises(InvalidWebhook):
        decode_all(body)


def an_azure_alert(severity: str, labels: dict[str, str], condition: str = "Fired") -> bytes:
    essentials = {
        "alertId": "/subscriptions/s/providers/Microsoft.AlertsManagement/alerts/1",
        "alertRule": "KubePodCrashLooping",
        "severity": severity,
        "signalType": "Metric",
        "monitorCondition": condition,
        "monitoringService": "Prometheus",
        "firedDateTime": "2026-11-22T20:00:00.5Z",
        "resolvedDateTime": "2026-11-22T21:00:00Z" if condition == "Resolved" else None,
    }
    context = {"for": "PT15M", "labels": labels, "annotations": {"summary": "s"}, "expressionValue": "1"}
    return compact(
        {"schemaId": "azureMonitorCommonAlertSchema", "data": {"essentials": essentials, "alertContext": context}}
    )


@pytest.mark.parametrize(
    ("given", "severity"),
    [("Sev0", "critical"), ("Sev1", "error"), ("Sev2", "warning"), ("Sev3", "informational"), ("Sev4", "verbose")],
)
def test_an_alert_of_azure_monitor_is_read_with_the_severity_that_azure_means(given, severity):
    ((alert,),) = [webhook.alerts for webhook in decode_all(an_azure_alert(given, {"namespace": "shop", "pod": "p"}))]

    assert alert == Alert(
        status=AlertStatus.FIRING,
        labels={"alertname": "KubePodCrashLooping", "severity": severity, "namespace": "shop", "pod": "p"},
        annotations={"summary": "s"},
        starts_at=START,
    )


def test_the_rules_own_labels_come_before_those_of_azure():
    ((alert,),) = [
        webhook.alerts
        for webhook in decode_all(an_azure_alert("Sev3", {"alertname": "A", "severity": "page"}, "Resolved"))
    ]

    assert (alert.name, alert.labels["severity"], alert.status) == ("A", "page", AlertStatus.RESOLVED)
    assert alert.ends_at == datetime(2026, 11, 22, 21, tzinfo=UTC)


def test_the_alerts_of_a_prometheus_are_read_and_the_pending_ones_rejected():
    labels = {"alertname": "A", "namespace": "shop"}
    alerts = [
        {"labels": labels, "annotations": {}, "state": state, "activeAt": "2026-11-22T20:00:00.5Z", "value": "1e+00"}
        for state in ("firing", "pending")
    ]

    (webhook,) = decode_all(compact({"status": "success", "data": {"alerts": alerts}}))

    firing, pending = webhook.alerts
    assert firing == Alert(status=AlertStatus.FIRING, labels=labels, starts_at=START)
    assert isinstance(pending, InvalidAlert)


@pytest.mark.parametrize(
    ("group", "status"),
    [
        ({"state": "firing"}, AlertStatus.FIRING),
        ({"state": "acknowledged"}, AlertStatus.FIRING),
        ({"state": "resolved"}, AlertStatus.RESOLVED),
        ({}, AlertStatus.FIRING),
        (7, AlertStatus.FIRING),
    ],
)
def test_a_group_that_has_ended_resolves_the_alerts_that_began_it(group, status):
    (webhook,) = decode_all(compact({"alert_group": group, "alert_payload": TWO}))

    assert [alert.status for alert in webhook.alerts] == [status, status]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("2026-11-22T20:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
notifications = st.dictionaries(st.sampled_from([*a_webhook()]) | st.text(max_size=5), json_values)
odd_alerts = json_values | st.dictionaries(st.sampled_from([*an_alert()]), json_values)


@given(changes=notifications)
@example({"alerts": math.inf})
def test_any_json_object_is_a_notification_or_is_rejected_with_a_path(changes):
    try:
        alerts = list(decode(json.dumps(changes).encode()).alerts)
    except InvalidWebhook as error:
        assert error.path.startswith("$")
        assert not isinstance(changes.get("alerts", ""), list)
    else:
        # NaN and Infinity are no JSON, and count as absent.
        given_alerts = changes["alerts"] if isinstance(changes["alerts"], list) else []
        assert len(alerts) == len(given_alerts)


@given(changes=notifications, odd=st.lists(odd_alerts, max_size=3), place=st.integers(0, 3))
def test_a_good_alert_is_read_whatever_surrounds_it(changes, odd, place):
    alerts = [*odd[:place], an_alert("Good", pod="cart-1"), *odd[place:]]
    changes.pop("commonLabels", None)

    webhook = decode(json.dumps(changes | {"alerts": alerts}).encode())

    assert len(list(webhook.alerts)) == len(alerts)
    good = webhook.alerts[min(place, len(odd))]
    assert (good.name, good.labels["pod"]) == ("Good", "cart-1")


@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(body):
    for each in (body, a_body(body)):
        try:
            for webhook in decode_all(each):
                list(webhook.alerts)
        except InvalidWebhook as error:
            assert error.path.startswith("$")
