"""Events of Kubernetes as senders post them: null fields, either API version, odd text and times."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.gateway.alertmanager import AdjustmentReason
from kubernaut.gateway.json_fields import FIRST_TIME
from kubernaut.gateway.kubernetes_events import InvalidEvent, alert_of, decode, rejection_of, subject_of

BEGAN = "2026-11-30T04:00:00Z"
POD = {"apiVersion": "v1", "kind": "Pod", "name": "api-1", "namespace": "shop"}
CORE = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "api-1.17", "namespace": "shop", "creationTimestamp": BEGAN},
    "involvedObject": POD,
    "type": "Warning",
    "reason": "BackOff",
    "message": "Back-off restarting",
    "firstTimestamp": BEGAN,
    "source": {"component": "kubelet", "host": "node-1"},
}
NEWER = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "api-1.17", "namespace": "shop"},
    "regarding": POD,
    "type": "Warning",
    "reason": "BackOff",
    "note": "Back-off restarting",
    "eventTime": "2026-11-30T04:00:00.000000Z",
    "reportingController": "kubelet",
}


def encoded(event: Any) -> bytes:
    return json.dumps(event).encode()


@pytest.mark.parametrize("event", [CORE, NEWER, CORE | {"type": " warning"}, CORE | {"extra": {"a": [None]}}])
def test_both_api_versions_are_the_same_alert(event):
    decoded = decode(encoded(event))
    alert = alert_of(decoded)

    assert rejection_of(decoded) == ""
    assert (alert.labels["alertname"], alert.labels["component"]) == ("BackOff", "kubelet")
    assert (alert.annotations, alert.adjustments) == ({"message": "Back-off restarting"}, ())
    assert alert.starts_at == datetime(2026, 11, 30, 4, tzinfo=UTC)
    assert subject_of(decoded).workloads[0].name == "api-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"involvedObject": None, "regarding": POD},
        {"involvedObject": {}, "regarding": POD},
        {"involvedObject": POD | {"namespace": ""}},
        {"involvedObject": {"kind": "Pod", "name": "api-1"}, "count": 0, "series": {"count": "x"}},
    ],
)
def test_the_object_is_named_by_either_field_and_is_in_the_namespace_of_the_event(changes):
    (named,) = subject_of(decode(encoded(CORE | changes))).workloads

    assert (named.kind.partition(".")[0], named.namespace, named.name) == ("Pod", "shop", "api-1")


@pytest.mark.parametrize(
    ("changes", "began", "marked"),
    [
        ({"firstTimestamp": None, "eventTime": None}, BEGAN, None),
        ({"firstTimestamp": "0001-01-01T00:00:00Z"}, BEGAN, None),
        ({"firstTimestamp": "", "lastTimestamp": ""}, BEGAN, None),
        ({"firstTimestamp": "2026-11-30T04:00:00"}, BEGAN, AdjustmentReason.NO_ZONE),
        ({"firstTimestamp": "1800-01-01T00:00:00Z"}, FIRST_TIME.isoformat(), AdjustmentReason.CLAMPED),
        ({"firstTimestamp": 1764475200, "metadata": None}, "2025-11-30T04:00:00+00:00", None),
        ({"firstTimestamp": 17, "metadata": None}, None, AdjustmentReason.INVALID_TIME),
        ({"firstTimestamp": "yesterday", "metadata": []}, None, AdjustmentReason.INVALID_TIME),
    ],
)
def test_a_time_that_says_nothing_is_no_reason_to_reject(changes, began, marked):
    alert = alert_of(decode(encoded(CORE | changes)))

    assert alert.starts_at == (datetime.fromisoformat(began) if began else None)
    assert [adjustment.reason for adjustment in alert.adjustments] == ([marked] if marked else [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xef\xbb\xbf" + encoded(CORE), "Back-off restarting"),
        (encoded(CORE).replace(b"restarting", rb"\ud83d"), "Back-off \ufffd"),
        (encoded(CORE).replace(b"restarting", rb"\u0000"), "Back-off \ufffd"),
        (encoded(CORE).replace(b"restarting", b"\xff"), "Back-off \ufffd"),
        (encoded(CORE).replace(b"restarting", b"a\tb"), "Back-off a\tb"),
    ],
    ids=["byte order mark", "half a surrogate", "NUL", "not UTF-8", "raw tab"],
)
def test_odd_text_is_stored_as_that_of_notifications_is(body, message):
    assert alert_of(decode(body)).annotations == {"message": message}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[" * 5000, "not an Event: Expected `object`, got `array`"),
        (b'{"involvedObject":' * 100_000, "the body is not JSON: it is nested too deeply"),
        (b"{", "the body is not JSON: "),
        (encoded({"kind": "List", "items": [CORE]}), "no object is named: an Event has involvedObject"),
        (encoded(CORE | {"involvedObject": {"kind": "Pod", "name": None}}), "no object is named"),
    ],
)
def test_what_is_no_event_is_named(body, reason):
    with pytest.raises(InvalidEvent, match=f"^{reason}"):
        decode(body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from(sorted((CORE | NEWER).keys() - {"involvedObject"})), JSON_VALUES),
)
def test_no_field_beside_the_object_can_refuse_an_event(changes):
    event = decode(encoded(CORE | changes))

    assert alert_of(event).labels["name"] == "api-1"
    assert isinstance(rejection_of(event), str)
