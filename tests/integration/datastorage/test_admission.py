"""The whole input space through HTTP and PostgreSQL: what is acknowledged verifies and is shown, the rest is named."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import asyncpg
import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubernaut.api.events import VerifyRequest
from kubernaut.datastorage import canonical, chain, intake
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.store import Store
from support.datastorage import BATCH, EVENTS, JSON, VERIFY
from support.ledger_events import a_body, a_wire_event, an_entry

LENGTHS = [0, 1, 10, 11, 20, 21, 50, 51, 100, 101, 253, 254, 255, 256]
TEXTS = (
    st.text(max_size=8)
    | st.text(st.sampled_from('ab\0\x1b\r\t"\\\ud800\udfff\uffff\u2028🚨é/.?#%'), max_size=8)
    | st.builds(lambda character, count: character * count, st.sampled_from("xé🚨"), st.sampled_from(LENGTHS))
)
INTEGERS = st.integers() | st.sampled_from([0, 1, 2555, 2556, 2**31 - 1, 2**31, 2**63, 2**64, 10**400])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 0.5, 5e-324, 1.7976931348623157e308])
NUMBERS = st.sampled_from(["1e308", "1e309", "-1e400", "1e-400", "1E+2", "-0", "0.10", "1" * 309, "1" + "0" * 309])
ZONES = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+14:00", "-23:59", "+24:00", ""])
TIMES = (
    st.builds(
        lambda time, fraction, zone: f"{time.isoformat()}{fraction}{zone}",
        st.datetimes().map(lambda time: time.replace(microsecond=0)),
        st.sampled_from(["", ".1", ".123456", ".1234565", ".999999999", "."]),
        ZONES,
    )
    | st.integers(-(10**6), 10**6).map(lambda seconds: (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat())
    | st.sampled_from(
        [
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.9999999Z",
            "1970-01-01T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2024-02-29T24:00:00Z",
            "9999-12-31T23:59:59.9999999Z",
            "10000-01-01T00:00:00Z",
            "-10000-01-01T00:00:00Z",
            "infinity",
        ]
    )
)
ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(
    ["::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::1.2.3.4", "fe80::1%eth0", "10.0.0.0/8", "1.2.3", "010.0.0.1", "::1 "]
)
DATA = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)
IDS = st.uuids().map(str) | st.uuids().map(lambda number: number.hex.upper()) | st.just(str(UUID(int=0))) | TEXTS
WORDS = ("event_type", "event_category", "event_action", "version", "severity", "correlation_id", "error_message")
NAMES = ("actor_type", "actor_id", "resource_type", "resource_id", "resource_name", "namespace", "cluster_id")
TEXT_COLUMNS = ("correlation_id", *NAMES, *WORDS, "error_code", "trace_id", "span_id")
LEGACY = ("service", "operation", "resource_namespace", "cluster_name", "event_version", "trace_id", "span_id")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys((*WORDS, *NAMES, *LEGACY, "error_code"), TEXTS),
    "event_timestamp": TIMES,
    "actor_ip": ADDRESSES | TEXTS,
    "event_data": DATA,
    "event_outcome": st.sampled_from(["success", "failure", "pending", "Success", ""]) | TEXTS,
    "outcome": st.sampled_from(["success", "maybe"]),
    "duration_ms": INTEGERS | FLOATS,
    "retention_days": INTEGERS,
    "is_sensitive": st.booleans() | st.integers(0, 1),
    "event_id": IDS,
    "parent_event_id": IDS,
}
FIELDS = st.lists(st.sampled_from(sorted(VALUES)), max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] | st.none() for name in names})
)


def spelled(event: dict[str, Any], number: str | None) -> bytes:
    """The event as JSON, with one number in its data as nobody would spell it."""
    text = json.dumps(event)
    return text.replace('"NUMBER"', number or "1").encode()


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(fields=FIELDS, number=st.none() | NUMBERS)
async def test_what_is_acknowledged_verifies_and_is_shown_and_the_rest_is_named(
    http: httpx2.AsyncClient, fields: dict[str, Any], number: str | None
):
    event = a_wire_event(correlation_id=f"rr-{uuid4()}") | fields
    if isinstance(event["event_data"], dict) and number:
        event["event_data"]["number"] = "NUMBER"
    event = {key: value for key, value in event.items() if value is not None or key in fields}

    answer = await http.post(EVENTS, content=spelled(event, number), headers=JSON)

    if answer.status_code == 409:
        assert "event_id" in fields  # hypothesis likes to say the same again
    elif answer.status_code == 201:
        shown = await assert_kept(http, answer.json()["event_id"], event["correlation_id"])
        assert {name: shown[name] for name in TEXT_COLUMNS if event.get(name)} == {
            name: event[name] for name in TEXT_COLUMNS if event.get(name)
        }
    else:
        assert answer.status_code in {400, 503}, answer.text
        named = {name.removeprefix("[0].") for name in answer.json()["field_errors"]}
        assert named
        assert {name.partition(".")[0] for name in named} <= {*VALUES}, answer.text


async def assert_kept(http: httpx2.AsyncClient, event_id: str, correlation: str) -> dict[str, Any]:
    """The event as page and timeline show it, both alike, after its correlation has been verified."""
    page = await http.get(EVENTS, params={"correlation_id": correlation, "limit": 1000})
    path = quote(correlation, safe="").replace(".", "%2E")
    timeline = await http.get(f"/api/v1/audit/timeline/{path}")
    verified = await http.post(VERIFY, content=json.dumps({"correlation_id": correlation}), headers=JSON)

    shown: dict[str, Any]
    (shown,) = (found for found in page.json()["data"] if found["event_id"] == event_id)
    assert shown in timeline.json()["events"]
    assert verified.json()["is_valid"], verified.text
    return shown


@pytest.mark.parametrize("correlation", [".", "..", "a/../b", "/", "?#%", "%2F", " ", "🚨", "x" * 255])
async def test_correlation_of_any_spelling_is_found(http: httpx2.AsyncClient, correlation: str):
    event = a_wire_event(correlation_id=correlation)

    answer = await http.post(EVENTS, content=json.dumps(event), headers=JSON)

    assert answer.status_code == 201
    await assert_kept(http, event["event_id"], correlation)


async def test_lenient_batch_says_of_each_event_what_became_of_it(http: httpx2.AsyncClient):
    ahead = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    taken = a_wire_event()
    await http.post(EVENTS, content=json.dumps(taken), headers=JSON)
    body = a_body(
        a_wire_event(),
        a_wire_event(actor_id="MARK"),
        a_wire_event(event_timestamp="0001-01-01T00:00:00Z"),
        a_wire_event(event_timestamp=ahead),
        taken | {"event_action": "edited"},
        a_wire_event(parent_event_id=str(uuid4())),
        a_wire_event(),
    ).replace(b"MARK", rb"\ud800")

    answer = await http.post(BATCH, content=body, headers={**JSON, "prefer": "respond-async, handling=lenient; x=1"})

    assert answer.status_code == 207
    assert answer.headers["preference-applied"] == "handling=lenient"
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 400, 400, 503, 409, 400, 201]
    assert [result["index"] for result in results] == list(range(7))
    assert [list(result.get("field_errors", {})) for result in results[1:6]] == [
        ["[1].actor_id"],
        ["[2].event_timestamp"],
        ["[3].event_timestamp"],
        ["[4].event_id"],
        ["[5].parent_event_id"],
    ]
    assert [result.get("retry", False) for result in results] == [False, False, False, True, False, False, False]
    assert results[3]["reason"] == "clock_ahead"
    assert (answer.json()["stored"], answer.json()["rejected"]) == (2, 5)


async def test_child_of_an_event_from_the_future_waits_with_it(http: httpx2.AsyncClient):
    ahead = a_wire_event(event_timestamp=(datetime.now(UTC) + timedelta(hours=2)).isoformat())
    child = a_wire_event(parent_event_id=ahead["event_id"])
    grandchild = a_wire_event(parent_event_id=child["event_id"])

    answer = await http.post(
        BATCH, content=a_body(ahead, child, grandchild), headers={**JSON, "prefer": "handling=lenient"}
    )

    assert [(result["status"], result["retry"]) for result in answer.json()["results"]] == [(503, True)] * 3


async def test_single_writes_and_batches_are_counted_apart(http: httpx2.AsyncClient):
    await http.post(EVENTS, content=json.dumps(a_wire_event()), headers=JSON)
    await http.post(BATCH, content=a_body(), headers=JSON)
    await http.post(BATCH, content=a_body(), headers={**JSON, "prefer": "handling=lenient"})

    text = (await http.get("/metrics")).text
    assert 'datastorage_write_duration_seconds_count{table="audit_events"} 1.0' in text
    assert 'datastorage_write_duration_seconds_count{table="audit_events_batch"} 2.0' in text


async def test_event_from_the_future_is_503_with_the_time_of_the_store(http: httpx2.AsyncClient):
    ahead = a_wire_event(event_timestamp=(datetime.now(UTC) + timedelta(hours=2)).isoformat())

    answer = await http.post(BATCH, content=a_body(a_wire_event(), ahead), headers=JSON)

    problem = answer.json()
    assert (answer.status_code, problem["retry"], problem["reason"], problem["index"]) == (503, True, "clock_ahead", 1)
    assert answer.headers["retry-after"] == "300"
    server_time = datetime.fromisoformat(problem["server_time"])
    assert abs(server_time - datetime.now(UTC)) < timedelta(minutes=1)


async def test_same_event_with_another_spelling_of_its_address_is_the_same(http: httpx2.AsyncClient):
    event = a_wire_event(actor_ip="::ffff:10.0.0.1")

    answers = [
        await http.post(EVENTS, content=json.dumps(event | {"actor_ip": text}), headers=JSON)
        for text in ("::ffff:10.0.0.1", "::ffff:a00:1", "0:0::FFFF:0A00:0001", "::ffff:10.0.0.1")
    ]

    assert [answer.status_code for answer in answers] == [201] * 4


def legacy(event: chain.Event) -> Entry:
    """An event as the code before admitted it: year 1, or an address spelled as Python 3.13 does."""
    received = intake.END_TIME.replace(year=2026)
    return Entry(event=event, content_hash=chain.content_hash(event), received_at=received, late=True)


async def test_rows_of_the_code_before_still_verify_and_are_shown(store: Store, sql: asyncpg.Connection):
    zero = msgspec.structs.replace(an_entry().event, event_timestamp=datetime(1, 1, 1, tzinfo=UTC))
    mapped = msgspec.structs.replace(an_entry().event, actor_ip="::ffff:10.0.0.1")
    huge = msgspec.structs.replace(an_entry().event, event_data=msgspec.Raw(canonical.data('{"n": 1e399}')))
    again = an_entry(event_id=str(mapped.event_id), actor_ip="::ffff:a00:1")

    assert await store.append([legacy(zero), legacy(mapped), legacy(huge)]) == [None] * 3
    assert await store.append([again]) == [None]

    verification = await store.read.verify(VerifyRequest())
    assert verification.is_valid, verification.findings
    shown = (await store.read.timeline("rr-1")).events
    assert [event.event_timestamp.year for event in shown] == [1, 2026, 2026]
    assert msgspec.json.encode(shown[0].event_timestamp) == b'"0001-01-01T00:00:00Z"'
    assert await sql.fetchval("SELECT count(*) FROM audit_conflicts") == 0
