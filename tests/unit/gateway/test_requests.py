from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kubernaut.api.meta import ObjectMeta
from kubernaut.api.remediation import Deduplication, RemediationRequest, RemediationSpec, RemediationStatus
from kubernaut.api.signals import Target
from kubernaut.api.vocabulary import Label
from kubernaut.gateway import audit_events, requests
from kubernaut.gateway.alertmanager import Alert, AlertStatus

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
FINGERPRINT = "0123456789ab" + "c" * 52
DAY = 86400.0


def an_alert(name: str = "A", **labels: str) -> Alert:
    return Alert(status=AlertStatus.FIRING, labels={"alertname": name, **labels}, starts_at=NOW)


def a_request(name: str = "rr-1", uid: str = "8a1d8f5e-0000-4000-8000-000000000001", **status) -> RemediationRequest:
    return RemediationRequest(
        metadata=ObjectMeta(name=name, namespace="home", uid=uid, creation_timestamp=NOW),
        spec=RemediationSpec(
            signal_name="A",
            signal_fingerprint=FINGERPRINT,
            severity="critical",
            target_resource=Target(kind="Deployment", name="cart", namespace="shop"),
        ),
        status=RemediationStatus(**status),
    )


def with_annotation(request: RemediationRequest) -> RemediationRequest:
    metadata = msgspec.structs.replace(request.metadata, annotations={Label.RESOLVED_AT.value: "then"})
    return msgspec.structs.replace(request, metadata=metadata)


@pytest.mark.parametrize(
    ("request_", "is_open"),
    [
        (a_request(), True),
        (a_request(overall_phase="Executing"), True),
        (with_annotation(a_request(overall_phase="Executing")), True),
        (a_request(overall_phase="Completed"), False),
        (a_request(overall_phase="Failed"), False),
        (with_annotation(a_request()), False),
        (a_request(deduplication=Deduplication(last_seen_at=NOW - timedelta(hours=23))), True),
        (a_request(deduplication=Deduplication(last_seen_at=NOW - timedelta(hours=25))), False),
    ],
)
def test_a_request_is_open_until_it_is_finished_resolved_or_stale(request_, is_open):
    assert requests.is_open(request_, NOW, DAY) is is_open


def test_every_replica_chooses_the_same_name_and_no_name_comes_back():
    first = requests.name_of(FINGERPRINT, None, NOW)
    later = requests.name_of(FINGERPRINT, None, NOW + timedelta(hours=2))
    after_one = requests.name_of(FINGERPRINT, a_request(uid="1"), NOW)
    after_two = requests.name_of(FINGERPRINT, a_request(uid="2"), NOW)

    assert first == requests.name_of(FINGERPRINT, None, NOW + timedelta(minutes=59))
    assert after_one == requests.name_of(FINGERPRINT, a_request(uid="1"), NOW + timedelta(days=9))
    assert len({first, later, after_one, after_two}) == 4
    assert first.startswith("rr-0123456789ab-")
    assert len(first) == len("rr-") + 12 + 1 + 8


def test_counting_keeps_the_first_time_and_each_name_and_alert_once():
    once = requests.count_occurrences(a_request(), [an_alert("A"), an_alert("B"), an_alert("A")], NOW)
    twice = requests.count_occurrences(a_request(deduplication=once), [an_alert("B")], NOW + timedelta(minutes=5))

    assert once.occurrence_count == 3
    assert (twice.occurrence_count, twice.signal_names, len(twice.firing)) == (4, ["A", "B"], 2)
    assert (twice.first_seen_at, twice.last_seen_at) == (NOW, NOW + timedelta(minutes=5))


def test_a_patch_writes_empty_lists_too():
    patch = requests.deduplication_patch(Deduplication(occurrence_count=1))

    assert patch["deduplication"]["firing"] == []


def test_audit_events_are_a_function_of_the_object():
    request = a_request(deduplication=requests.count_occurrences(a_request(), [an_alert(), an_alert()], NOW))

    first, again = audit_events.events_of(request), audit_events.events_of(request)

    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    assert [event.event_type for event in first] == ["gateway.signal.received", "gateway.signal.deduplicated"]
    assert {event.correlation_id for event in first} == {"rr-1"}
    assert len({event.event_id for event in first}) == 2
    assert audit_events.events_of(request, recorded_count=1) == first[1:]


def test_a_request_that_was_not_counted_yet_leaves_no_event():
    assert audit_events.events_of(a_request()) == []


def test_a_resolved_alert_leaves_the_same_event_however_often_it_is_delivered():
    one = audit_events.resolved_event(a_request(), an_alert(pod="a"), NOW)

    assert one == audit_events.resolved_event(a_request(), an_alert(pod="a"), NOW)
    assert one.event_id != audit_events.resolved_event(a_request(), an_alert(pod="b"), NOW).event_id
    payload = msgspec.json.decode(one.event_data)
    assert (payload["alert_status"], payload["resolved_at"]) == ("resolved", NOW.isoformat())
    # The shared vocabulary has no type of its own for it, and the Go client reads no page with another one.
    assert one.event_type == payload["event_type"] == "gateway.signal.deduplicated"
    assert one.event_action == "resolved"


def test_an_event_is_about_the_target_and_names_its_request():
    event = audit_events.resolved_event(a_request(), an_alert(pod="a"), NOW)

    assert (event.namespace, event.resource_type, event.resource_id, event.resource_name) == (
        "shop",
        "Deployment",
        "cart",
        "cart",
    )
    payload = msgspec.json.decode(event.event_data)
    assert (payload["remediation_request"], payload["remediation_request_namespace"]) == ("rr-1", "home")


def test_an_event_without_a_target_is_about_its_request():
    request = a_request()
    spec = msgspec.structs.replace(request.spec, target_resource=None)
    event = audit_events.resolved_event(msgspec.structs.replace(request, spec=spec), an_alert(pod="a"), NOW)

    assert (event.namespace, event.resource_type, event.resource_id) == ("home", "RemediationRequest", "rr-1")
