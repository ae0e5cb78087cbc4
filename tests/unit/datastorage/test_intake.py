"""What gets in, and what the refusal of anything else says."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.api.problems import Slug
from kubernaut.datastorage import canonical, intake
from kubernaut.datastorage.chain import Entry
from kubernaut.ops.http.problems import RequestRejected
from support.ledger_events import NOW, a_body, a_wire_event, an_entry


def refusal(body: bytes, most: int = 1000) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        intake.admit(body, NOW, most)
    return caught.value


def refused_fields(**fields: Any) -> dict[str, str]:
    return refusal(a_body(a_wire_event(), a_wire_event(**fields))).field_errors


def test_defaults_are_filled_in():
    event = an_entry(version=None, event_id=None).event

    assert event.version == "1.0"
    assert event.event_id.version == 7
    assert (event.actor_type, event.actor_id) == ("service", "signalprocessing-service")
    assert (event.resource_type, event.resource_id) == ("signalprocessing", "rr-1")
    assert (event.severity, event.retention_days, event.is_sensitive) == ("info", 2555, False)


def test_made_ids_sort_by_time():
    ids = [intake.new_event_id(NOW + timedelta(milliseconds=number)) for number in range(20)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def test_empty_optional_texts_count_as_absent():
    names = (
        "cluster_id",
        "error_code",
        "error_message",
        "namespace",
        "resource_name",
        "span_id",
        "trace_id",
        "actor_ip",
    )
    event = an_entry(**dict.fromkeys(names, ""), actor_id="", severity="").event

    assert {getattr(event, name) for name in names} == {None}
    assert (event.actor_id, event.severity) == ("signalprocessing-service", "info")


def test_legacy_names_are_understood():
    event = an_entry(
        event_category=None,
        event_action=None,
        event_outcome=None,
        version=None,
        service="gateway",
        operation="received",
        outcome="failure",
        resource_namespace="shop",
        cluster_name="east",
        event_version="1.1",
    ).event

    assert (event.event_category, event.event_action, event.event_outcome) == ("gateway", "received", "failure")
    assert (event.namespace, event.cluster_id, event.version) == ("shop", "east", "1.1")


def test_canonical_name_wins_over_the_legacy_one():
    event = an_entry(service="other", operation="other", outcome="failure", namespace="a", resource_namespace="b").event

    assert (event.event_category, event.event_action, event.event_outcome) == (
        "signalprocessing",
        "phase_transition",
        "success",
    )
    assert event.namespace == "a"


def test_unknown_keys_are_ignored():
    assert an_entry(colour="red").event.correlation_id == "rr-1"


def test_time_is_kept_in_utc_to_the_microsecond():
    event = an_entry(event_timestamp="2026-11-22T21:00:00.123456+01:00").event

    assert event.event_timestamp == datetime(2026, 11, 22, 20, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ahead", "late"),
    [(timedelta(minutes=60), False), (-timedelta(days=7), False), (-timedelta(days=7, seconds=1), True)],
)
def test_event_late_by_more_than_a_week_is_marked(ahead: timedelta, late: bool):
    assert an_entry(event_timestamp=(NOW + ahead).isoformat()).late is late


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00Z", "1969-12-31T23:00:00-01:00", "1999-06-01T00:00:00Z"])
def test_event_from_1970_on_is_accepted(time: str):
    assert an_entry(event_timestamp=time).late


@pytest.mark.parametrize(
    "time",
    [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59.9999999Z",
        "9999-12-31T23:59:59-01:00",
        "10000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-11-22T20:00:00+24:00",
        1764360000,
    ],
)
def test_time_that_cannot_be_kept_is_refused_with_field_and_range(time: object):
    (reason,) = refused_fields(event_timestamp=time).values()

    assert "from 1970-01-01 to 9999-12-30" in reason


@pytest.mark.parametrize(
    ("digits", "microsecond"), [(".1234564", 123456), (".1234565", 123457), (".000000499", 0), (".9", 900000)]
)
def test_digits_below_a_microsecond_are_rounded(digits: str, microsecond: int):
    assert an_entry(event_timestamp=f"2026-11-22T20:00:00{digits}Z").event.event_timestamp.microsecond == microsecond


def test_event_from_the_future_may_be_sent_again_later():
    ahead = a_wire_event(event_timestamp=(NOW + timedelta(minutes=62)).isoformat())

    refused = refusal(a_body(a_wire_event(), ahead))

    assert isinstance(refused, intake.ClockAhead)
    assert (refused.slug, refused.index, refused.server_time) == (Slug.UNAVAILABLE, 1, NOW)
    assert refused.retry_after == 120
    assert NOW.isoformat() in str(refused)


def test_wait_for_an_event_from_the_far_future_is_bounded():
    with pytest.raises(intake.ClockAhead) as caught:
        intake.admit_one(json.dumps(a_wire_event(event_timestamp="2999-01-01T00:00:00Z")).encode(), NOW)

    assert caught.value.retry_after == intake.MAX_RETRY_AFTER


def test_event_that_can_never_be_stored_decides_before_one_from_the_future():
    ahead = a_wire_event(event_timestamp=(NOW + timedelta(hours=2)).isoformat())

    refused = refusal(a_body(ahead, a_wire_event(event_type="")))

    assert isinstance(refused, intake.EventRejected)
    assert (refused.slug, refused.index, list(refused.field_errors)) == (Slug.VALIDATION, 1, ["[1].event_type"])


@pytest.mark.parametrize(("sent", "stored"), [(0, 0), (-0.0, 0), (0.2, 1), (7, 7), (7.0, 7), (7.001, 8), (1e3, 1000)])
def test_duration_is_rounded_up(sent: float, stored: int):
    assert an_entry(duration_ms=sent).event.duration_ms == stored


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("::ffff:10.0.0.1", "::ffff:a00:1"),
        ("::FFFF:A00:1", "::ffff:a00:1"),
        ("::10.0.0.1", "::a00:1"),
        ("2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("1::", "1::"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_address_has_one_text(sent: str, text: str):
    assert an_entry(actor_ip=sent).event.actor_ip == text


HALF = rb"\ud800"


@pytest.mark.parametrize(
    "bad", [HALF, rb"\uDC00", rb"\ud800\ud800", rb"x\\\udfff", b"\xff", b"\xed\xa0\x80", rb"\u0000"]
)
@pytest.mark.parametrize("field", ["event_type", "correlation_id", "actor_id", "error_message", "event_data"])
def test_text_that_is_no_unicode_is_refused_by_field_and_takes_no_other_event_along(field: str, bad: bytes):
    value: object = {"a": ["MARK"]} if field == "event_data" else "MARK"
    body = a_body(a_wire_event(), a_wire_event(**{field: value}), a_wire_event(correlation_id="🚨")).replace(
        b"MARK", bad
    )

    first, second, third = intake.admit_each(body, NOW, 1000)

    assert isinstance(first, Entry)
    assert isinstance(second, intake.EventRejected)
    assert list(second.field_errors) == [f"[1].{field}"]
    assert isinstance(third, Entry)
    assert third.event.correlation_id == "🚨"
    assert list(refusal(body).field_errors) == [f"[1].{field}"]


def test_half_a_surrogate_in_a_single_event_names_the_field():
    with pytest.raises(intake.EventRejected) as caught:
        intake.admit_one(json.dumps(a_wire_event(actor_id="MARK")).encode().replace(b"MARK", HALF), NOW)

    assert caught.value.field_errors == {"actor_id": canonical.NOT_TEXT}


def test_escaped_backslash_before_a_surrogate_is_text():
    body = a_body(a_wire_event(actor_id="MARK"), a_wire_event(actor_id=5)).replace(b"MARK", rb"\\ud800")

    first, _ = intake.admit_each(body, NOW, 1000)

    assert isinstance(first, Entry)
    assert first.event.actor_id == r"\ud800"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("event_timestamp", (NOW + timedelta(minutes=60, seconds=1)).isoformat(), "60 minutes in the future"),
        ("event_timestamp", "2026-11-22T20:00:00", "timezone"),
        ("event_timestamp", "yesterday", "datetime"),
        ("event_timestamp", "0001-01-01T00:00:00+14:00", "out of range"),
        ("duration_ms", "5", "int | float"),
        ("duration_ms", 2147483647.5, "<= 2147483647"),
        ("actor_ip", "::1\n", "IPv4 or IPv6"),
        ("actor_ip", "10.0.0.0/8", "IPv4 or IPv6"),
        ("actor_ip", "010.0.0.1", "IPv4 or IPv6"),
        ("event_timestamp", None, "required field missing"),
        ("event_type", "", "length >= 1"),
        ("event_type", "x" * 101, "length <= 100"),
        ("event_type", 5, "Expected `str`"),
        ("event_type", "a\0b", "NUL"),
        ("event_category", None, "accepted: event_category, service"),
        ("event_action", None, "accepted: event_action, operation"),
        ("event_outcome", None, "accepted: event_outcome, outcome"),
        ("event_outcome", "maybe", "must be one of success, failure, pending, in lower case; it is 'maybe'"),
        ("correlation_id", "x" * 256, "length <= 255"),
        ("correlation_id", None, "required field missing"),
        ("event_id", "12", "UUID"),
        ("parent_event_id", 1, "uuid"),
        ("actor_ip", "1.2.3", "IPv4 or IPv6"),
        ("actor_ip", "fe80::1%eth0", "IPv4 or IPv6"),
        ("version", "12345678901", "length <= 10"),
        ("duration_ms", -1, ">= 0"),
        ("duration_ms", 2**31, "<= 2147483647"),
        ("retention_days", 0, ">= 1"),
        ("retention_days", 2556, "<= 2555"),
        ("event_data", [], "must be a JSON object"),
        ("event_data", None, "required field missing"),
        ("event_data", {"a": "\0"}, "NUL"),
        ("event_data", {"a": "x" * 256 * 1024}, "262144 are allowed"),
        ("severity", "x" * 21, "length <= 20"),
        ("error_message", "\0", "NUL"),
    ],
)
def test_bad_field_is_named_with_its_index_and_reason(field: str, value: object, reason: str):
    errors = refused_fields(**{field: value})

    assert list(errors) == [f"[1].{field}"]
    assert reason in errors[f"[1].{field}"]


def test_every_bad_event_is_named():
    refused = refusal(a_body(a_wire_event(event_type=5), a_wire_event(), a_wire_event(correlation_id="")))

    assert list(refused.field_errors) == ["[0].event_type", "[2].correlation_id"]
    assert "event at index 0" in str(refused)


def test_reasons_are_bounded():
    assert len(refusal(a_body(*[a_wire_event(event_type=5)] * 100)).field_errors) == intake.MAX_REASONS


@pytest.mark.parametrize(
    ("body", "slug", "reason"),
    [
        (b"{}", Slug.INVALID_REQUEST, "must be a JSON array, not a single object"),
        (b"", Slug.INVALID_REQUEST, "must be a JSON array"),
        (b"null", Slug.INVALID_REQUEST, "batch cannot be empty"),
        (b" [] ", Slug.VALIDATION, "batch cannot be empty"),
        (b"[{]", Slug.INVALID_REQUEST, "must be a JSON array"),
        (b"[\xff]", Slug.INVALID_REQUEST, "must be a JSON array"),
        (b"[" * 100_000, Slug.INVALID_REQUEST, "must be a JSON array"),
        (b"[1]", Slug.VALIDATION, "Expected `object`"),
        (b"[null]", Slug.VALIDATION, "Expected `object`"),
    ],
)
def test_body_that_is_no_batch_is_refused(body: bytes, slug: Slug, reason: str):
    refused = refusal(body)

    assert refused.slug is slug
    assert reason in str(refused)


def test_bad_data_alone_has_its_own_slug():
    assert refusal(a_body(a_wire_event(event_data=[]))).slug is Slug.INVALID_EVENT_DATA
    assert refusal(a_body(a_wire_event(event_data=[], event_type=""))).slug is Slug.VALIDATION


def test_batch_above_the_limit_is_refused_with_both_numbers():
    refused = refusal(a_body(*[a_wire_event()] * 11), most=10)

    assert refused.slug is Slug.BATCH_SIZE
    assert str(refused) == "batch size 11 exceeds maximum allowed batch size of 10"
    assert len(intake.admit(a_body(*[a_wire_event()] * 10), NOW, 10)) == 10


def test_lenient_admission_keeps_good_and_bad_in_order():
    body = a_body(a_wire_event(), a_wire_event(event_type=""), a_wire_event())

    first, second, third = intake.admit_each(body, NOW, 1000)

    assert isinstance(first, Entry)
    assert isinstance(second, RequestRejected)
    assert isinstance(third, Entry)


def test_single_event_is_an_object():
    assert intake.admit_one(json.dumps(a_wire_event()).encode(), NOW).event.correlation_id == "rr-1"
    for body in (b"[]", b"null", b"{", b'{"event_type": 5}', b"[" * 100_000, b"{}"):
        with pytest.raises(RequestRejected) as caught:
            intake.admit_one(body, NOW)
        assert caught.value.field_errors


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "request body must be a JSON array, not a single object"),
        (b"{}", "request body must be a JSON array, not a single object"),
        (b"\xff\xfe[]", "request body is not JSON"),
        (b"<html>", "request body is not JSON"),
        (b"[" * 100_000, "request body must be a JSON array: it is nested too deeply"),
    ],
)
def test_a_body_that_is_no_batch_is_named_as_what_it_is(body, reason):
    assert refusal(body).field_errors == {"body": reason}
