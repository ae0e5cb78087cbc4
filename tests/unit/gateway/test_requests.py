from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from kubernaut.api.meta import ObjectMeta
from kubernaut.api.remediation import Deduplication, RemediationRequest, RemediationSpec, RemediationStatus
from kubernaut.api.signals import Signal, Target
from kubernaut.api.vocabulary import Label, TargetType
from kubernaut.gateway import audit_events, occurrences, requests
from kubernaut.gateway.alertmanager import Alert, AlertStatus
from kubernaut.gateway.mapped_alert import MappedAlert, ReceivedAlert
from kubernaut.gateway.occurrences import Occurrence

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
FINGERPRINT = "0123456789ab" + "c" * 52
DAY = 86400.0


def an_alert(name: str = "A", starts_at: datetime = NOW, **labels: str) -> Alert:
    return Alert(status=AlertStatus.FIRING, labels={"alertname": name, **labels}, starts_at=starts_at)


def a_mapped_alert(fold_key: str = "key", **signal: Any) -> MappedAlert:
    about = Target(api_version="apps/v1", kind="Deployment", name="cart", namespace="shop")
    fields = {"name": "A", "severity": "critical", "labels": {"pod": "a"}} | signal
    made = Signal(
        fingerprint=FINGERPRINT,
        type="alert",
        source="prometheus",
        target_type=TargetType.KUBERNETES,
        target_resource=Target(api_version="v1", kind="Pod", name="cart-1", namespace="shop"),
        received_time=NOW,
        **fields,
    )
    return MappedAlert(signal=made, owner=about, fold_key=fold_key)


def received(alert: Alert, **signal: Any) -> ReceivedAlert:
    return ReceivedAlert(index=0, alert=alert, mapped=a_mapped_alert(name=alert.name, **signal))


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


def with_annotation(
    request: RemediationRequest, label: Label = Label.RESOLVED_AT, text: str = "then"
) -> RemediationRequest:
    metadata = msgspec.structs.replace(request.metadata, annotations={label.value: text})
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
        (with_annotation(a_request(), Label.SUPERSEDED_BY), False),
        (with_annotation(a_request(overall_phase="Executing"), Label.SUPERSEDED_BY), False),
        (a_request(deduplication=Deduplication(last_seen_at=NOW - timedelta(hours=23))), True),
        (a_request(deduplication=Deduplication(last_seen_at=NOW - timedelta(hours=25))), False),
    ],
)
def test_a_request_is_open_until_it_is_finished_resolved_or_stale(request_, is_open):
    assert requests.is_open(request_, NOW, DAY) is is_open


def test_every_replica_chooses_the_same_name_and_no_name_comes_back():
    first = requests.name_of(a_mapped_alert(), None, NOW)
    later = requests.name_of(a_mapped_alert(), None, NOW + timedelta(hours=2))
    after_one = requests.name_of(a_mapped_alert(), a_request(uid="1"), NOW)
    after_two = requests.name_of(a_mapped_alert(), a_request(uid="2"), NOW)

    assert first == requests.name_of(a_mapped_alert(), None, NOW + timedelta(minutes=59))
    assert after_one == requests.name_of(a_mapped_alert(), a_request(uid="1"), NOW + timedelta(days=9))
    assert len({first, later, after_one, after_two}) == 4
    assert first.startswith("rr-0123456789ab-")
    assert len(first) == len("rr-") + 12 + 1 + 8


def test_a_request_that_another_one_supersedes_is_not_the_open_one():
    first, second = a_request("rr-1"), with_annotation(a_request("rr-2"), Label.SUPERSEDES, "rr-1")

    assert requests.not_superseded([first, second]) == [second]


def test_an_occurrence_counts_once_however_often_it_is_delivered():
    alerts = [an_alert("A"), an_alert("B"), an_alert("A")]
    once = occurrences.count(None, alerts, NOW).deduplication
    later = NOW + timedelta(minutes=5)
    twice = occurrences.count(once, [*alerts, an_alert("C")], later).deduplication

    assert (once.occurrence_count, once.signal_names) == (2, ["A", "B"])
    assert (twice.occurrence_count, twice.signal_names, len(twice.firing)) == (3, ["A", "B", "C"], 3)
    assert (twice.first_seen_at, twice.last_seen_at) == (NOW, later)


def test_an_alert_that_fires_again_since_later_is_another_occurrence():
    later = NOW + timedelta(minutes=5)
    once = occurrences.count(None, [an_alert()], NOW).deduplication
    again = occurrences.count(once, [an_alert(starts_at=later)], later)
    late = occurrences.count(again.deduplication, [an_alert()], later)

    assert (again.deduplication.occurrence_count, len(again.deduplication.firing)) == (2, 1)
    assert late.deduplication.occurrence_count == 2


def test_what_was_counted_on_the_superseded_request_is_not_counted_again():
    before = occurrences.count(None, [an_alert(pod="a")], NOW).deduplication
    counted = occurrences.count(None, [an_alert(pod="b"), an_alert(pod="a")], NOW, occurrences.firing_of(before))

    assert counted.deduplication.occurrence_count == 1
    assert [each.number for each in counted.occurrences] == [1, occurrences.CARRIED_OVER]


def test_an_alert_that_ended_fires_no_more_whatever_the_times_of_its_notice():
    firing = occurrences.count(None, [an_alert(pod="a"), an_alert(pod="b")], NOW).deduplication
    ended = msgspec.structs.replace(an_alert(pod="a"), status=AlertStatus.RESOLVED, ends_at=NOW - timedelta(minutes=1))

    (left,) = occurrences.without(firing, [ended])

    assert Occurrence.parse(left).alert_id == an_alert(pod="b").id


def test_more_alerts_than_can_be_known_are_said_to_be_more(monkeypatch):
    monkeypatch.setattr(occurrences, "MAX_FIRING", 2)
    counted = occurrences.count(None, [an_alert(pod=str(number)) for number in range(3)], NOW)

    assert counted.deduplication.overflow
    assert counted.deduplication.occurrence_count == 2
    assert counted.occurrences[2] is None


def test_an_entry_of_another_form_is_read_as_far_as_it_goes():
    assert Occurrence.parse("0123456789abcdef") == Occurrence(alert_id="0123456789abcdef")
    assert Occurrence.parse("a/x/3") == Occurrence(alert_id="a", number=3)
    entry = Occurrence(alert_id="a", started_at=1, number=2, received_at=3)
    assert Occurrence.parse(str(entry)) == entry


def test_a_patch_writes_empty_lists_too():
    patch = requests.deduplication_patch(Deduplication(occurrence_count=1))

    assert patch["deduplication"]["firing"] == []


def test_what_was_received_is_a_function_of_the_object():
    request = a_request(deduplication=occurrences.count(None, [an_alert()], NOW).deduplication)

    event = audit_events.received_event(request)

    assert event == audit_events.received_event(request)
    assert (event.event_type, event.correlation_id, event.event_timestamp) == ("gateway.signal.received", "rr-1", NOW)


@pytest.mark.parametrize(("microsecond", "if_absent"), [(123456, None), (0, True)])
def test_what_was_received_does_not_conflict_when_a_typed_client_has_written_the_time_back(microsecond, if_absent):
    seen = Deduplication(first_seen_at=NOW.replace(microsecond=microsecond))

    event = audit_events.received_event(a_request(deduplication=seen))

    assert event.if_absent is if_absent


def test_a_request_that_was_not_counted_yet_leaves_no_event():
    assert audit_events.received_event(a_request()) is None


def test_a_folded_alert_leaves_an_event_of_its_own():
    occurrence = Occurrence(alert_id="a", started_at=1, number=7, received_at=int(NOW.timestamp() * 1000))
    folded = received(an_alert("B"), severity="warning", labels={"pod": "b"})

    event = audit_events.occurrence_event(a_request(), folded, occurrence)

    payload = msgspec.json.decode(event.event_data)
    assert (payload["signal_name"], payload["severity"], payload["signal_labels"]) == ("B", "warning", {"pod": "b"})
    assert (payload["resource_kind"], payload["resource_name"], payload["occurrence_count"]) == ("Pod", "cart-1", 7)
    assert (event.event_type, event.resource_id, event.event_timestamp) == (
        "gateway.signal.deduplicated",
        "cart-1",
        NOW,
    )


def test_a_resolved_alert_leaves_the_same_event_however_often_it_is_delivered():
    one = audit_events.resolved_event(a_request(), received(an_alert(pod="a")), NOW)

    assert one == audit_events.resolved_event(a_request(), received(an_alert(pod="a")), NOW)
    assert one.event_id != audit_events.resolved_event(a_request(), received(an_alert(pod="b")), NOW).event_id
    payload = msgspec.json.decode(one.event_data)
    assert (payload["alert_status"], payload["resolved_at"]) == ("resolved", NOW.isoformat())
    # The shared vocabulary has no type of its own for it, and the Go client reads no page with another one.
    assert one.event_type == payload["event_type"] == "gateway.signal.deduplicated"
    assert one.event_action == "resolved"


def test_an_event_is_about_the_target_and_names_its_request():
    event = audit_events.resolved_event(a_request(), received(an_alert(pod="a")), NOW)

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
    event = audit_events.resolved_event(msgspec.structs.replace(request, spec=spec), received(an_alert(pod="a")), NOW)

    assert (event.namespace, event.resource_type, event.resource_id) == ("home", "RemediationRequest", "rr-1")
