"""The HTTP contract, on the running service."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import msgspec
import pytest

from kubernaut.api.events import AuditEvent
from kubernaut.audit import ClientConfig, open_client
from kubernaut.datastorage.append_plan import CONFLICT_EVENT
from support.datastorage import BATCH, EVENTS, JSON, VERIFY
from support.ledger_events import a_body, a_wire_event


async def store(http: httpx2.AsyncClient, *events: dict[str, Any], **headers: str) -> httpx2.Response:
    return await http.post(BATCH, content=a_body(*events), headers=JSON | headers)


def assert_problem(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"https://kubernaut.ai/problems/{slug}"
    assert document["status"] == status
    assert document["title"]
    return document


async def test_batch_answers_ids_in_the_order_of_the_request(http: httpx2.AsyncClient):
    events = [a_wire_event(), a_wire_event(event_id=None), a_wire_event()]

    answer = await store(http, *events)

    assert answer.status_code == 201
    ids = answer.json()["event_ids"]
    assert [ids[0], ids[2]] == [events[0]["event_id"], events[2]["event_id"]]
    assert UUID(ids[1])
    assert answer.json()["message"] == "3 audit events created successfully"


async def test_single_event_is_answered_with_its_time(http: httpx2.AsyncClient):
    event = a_wire_event()

    answer = await http.post(EVENTS, json=event)

    assert answer.status_code == 201
    assert answer.json() == {
        "event_id": event["event_id"],
        "event_timestamp": "2026-11-22T20:00:00.000001Z",
        "message": "Audit event created successfully",
    }


async def test_same_batch_again_is_the_same_answer_and_one_row_each(http: httpx2.AsyncClient):
    events = [a_wire_event(), a_wire_event()]

    first, second = await store(http, *events), await store(http, *events)

    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert (await http.get(EVENTS)).json()["pagination"]["total"] == 2


async def test_event_that_only_has_to_be_there_leaves_what_is_stored(http: httpx2.AsyncClient):
    stored = a_wire_event(correlation_id=f"rr-{uuid4()}")
    await http.post("/api/v1/audit/events", json=stored)
    rewritten = stored | {"event_timestamp": "2026-11-22T20:00:00Z", "if_absent": True}

    answers = [
        await http.post("/api/v1/audit/events", json=rewritten),
        await http.post("/api/v1/audit/events/batch", json=[rewritten, a_wire_event(if_absent=True)]),
    ]

    assert [answer.status_code for answer in answers] == [201, 201]
    page = await http.get("/api/v1/audit/events", params={"correlation_id": stored["correlation_id"]})
    (event,) = page.json()["data"]
    assert event["event_timestamp"] == "2026-11-22T20:00:00.000001Z"


async def test_byte_order_mark_before_a_batch_is_ignored(http: httpx2.AsyncClient):
    event = a_wire_event()

    answer = await http.post(BATCH, content=b"\xef\xbb\xbf" + a_body(event), headers=JSON)

    assert (answer.status_code, answer.json()["event_ids"]) == (201, [event["event_id"]])


async def test_parent_after_its_child_in_a_batch_is_told_where_it_belongs(http: httpx2.AsyncClient):
    parent = a_wire_event()
    child = a_wire_event(parent_event_id=parent["event_id"])

    problem = assert_problem(await store(http, child, parent), 400, "validation-error")

    assert problem["detail"].endswith("does not exist; it has to be stored, or to stand before it in the batch")
    assert (await store(http, parent, child)).status_code == 201


async def test_other_content_under_a_stored_id_is_a_conflict(http: httpx2.AsyncClient):
    event = a_wire_event()
    await store(http, event)

    answer = await store(http, a_wire_event(), event | {"event_outcome": "failure"})

    document = assert_problem(answer, 409, "conflict")
    assert list(document["field_errors"]) == ["[1].event_id"]
    kept = (await http.get(EVENTS)).json()["data"]
    assert {found["event_type"] for found in kept} == {event["event_type"], CONFLICT_EVENT}
    assert len(kept) == 2


async def test_bad_batch_stores_nothing_and_names_each_bad_event(http: httpx2.AsyncClient):
    answer = await store(http, a_wire_event(), a_wire_event(event_type=""), a_wire_event(event_data=3))

    document = assert_problem(answer, 400, "validation-error")
    assert list(document["field_errors"]) == ["[1].event_type", "[2].event_data"]
    assert document["instance"] == BATCH
    assert (await http.get(EVENTS)).json()["data"] == []


async def test_lenient_batch_stores_the_good_events(http: httpx2.AsyncClient):
    stored = a_wire_event()
    await store(http, stored)
    events = [a_wire_event(), a_wire_event(event_type=""), stored | {"severity": "high"}, stored]

    answer = await store(http, *events, a_wire_event(parent_event_id=str(uuid4())), Prefer="handling=lenient")

    assert answer.status_code == 207
    assert answer.headers["preference-applied"] == "handling=lenient"
    body = answer.json()
    assert [result["status"] for result in body["results"]] == [201, 400, 409, 201, 400]
    assert [result["index"] for result in body["results"]] == [0, 1, 2, 3, 4]
    assert (body["stored"], body["rejected"]) == (2, 3)
    kept = (await http.get(EVENTS)).json()["data"]
    assert sorted(found["event_type"] == CONFLICT_EVENT for found in kept) == [False, False, True]


async def test_rejected_batch_names_the_index_of_its_first_bad_event(http: httpx2.AsyncClient):
    stored = a_wire_event()
    await store(http, stored)
    poison = {
        "validation-error": a_wire_event(event_outcome="maybe"),
        "invalid_event_data": a_wire_event(event_data=[1]),
        "conflict": stored | {"event_action": "edited"},
    }

    for slug, event in poison.items():
        answer = await store(http, a_wire_event(), a_wire_event(), event, a_wire_event(), event)
        document = assert_problem(answer, 409 if slug == "conflict" else 400, slug)
        assert document["index"] == 2
    orphan = a_wire_event(parent_event_id=str(uuid4()))
    assert (await store(http, a_wire_event(), orphan)).json()["index"] == 1
    assert "index" not in (await store(http)).json()


BAD_REQUESTS: list[tuple[str, str, bytes, dict[str, str], int, str]] = [
    ("POST", BATCH, b"{}", {}, 400, "invalid_request"),
    ("POST", BATCH, b"null", {}, 400, "invalid_request"),
    ("POST", BATCH, b"[]", {}, 400, "validation-error"),
    ("POST", BATCH, b"[{", {}, 400, "invalid_request"),
    ("POST", BATCH, b"[" * 200_000, {}, 400, "invalid_request"),
    ("POST", BATCH, b"[" + b"{}," * 1000 + b"{}]", {}, 400, "batch-size-exceeded"),
    ("POST", EVENTS, b"[]", {}, 400, "invalid_request"),
    ("POST", EVENTS, b"{}", {}, 400, "validation-error"),
    ("POST", BATCH, b"[]", {"content-type": "text/plain"}, 415, "unsupported-media-type"),
    ("POST", BATCH, b"[]", {"content-encoding": "gzip"}, 415, "unsupported-media-type"),
    ("POST", BATCH, b" " * (5 * 2**20 + 1), {}, 413, "request-too-large"),
    ("PUT", EVENTS, b"", {}, 405, "method-not-allowed"),
    ("GET", BATCH, b"", {}, 405, "method-not-allowed"),
    ("GET", "/api/v1/nothing", b"", {}, 404, "not-found"),
    ("GET", EVENTS + "?limit=0", b"", {}, 400, "validation-error"),
    ("GET", EVENTS + "?cursor=abc", b"", {}, 400, "validation-error"),
    ("GET", EVENTS + "?since=%C3%BC", b"", {}, 400, "validation-error"),
    ("GET", "/api/v1/audit/timeline/" + "x" * 256, b"", {}, 400, "validation-error"),
    ("GET", "/api/v1/audit/timeline/a%00b", b"", {}, 400, "validation-error"),
    ("POST", VERIFY, b"{", {}, 400, "invalid_request"),
    ("POST", VERIFY, b'{"correlation_id": ""}', {}, 400, "invalid_request"),
    ("POST", VERIFY, b'{"correlation_id": "\\u0000"}', {}, 400, "validation-error"),
    ("POST", VERIFY, b'{"head_sequence": 1}', {}, 400, "validation-error"),
    ("POST", VERIFY, b'{"head_sequence": 99999999999999999999, "head_hash": "a"}', {}, 400, "invalid_request"),
]


async def test_bad_request_is_a_problem_document(http: httpx2.AsyncClient):
    for method, path, content, headers, status, slug in BAD_REQUESTS:
        answer = await http.request(method, path, content=content, headers=JSON | headers)

        document = assert_problem(answer, status, slug)
        assert document["instance"] == httpx2.URL(path).path


async def test_body_without_declared_length_is_limited_too(http: httpx2.AsyncClient):
    async def chunks():
        for _ in range(6):
            yield b" " * 2**20

    answer = await http.post(BATCH, content=chunks(), headers=JSON)

    assert_problem(answer, 413, "request-too-large")


async def test_method_not_allowed_names_the_allowed_ones(http: httpx2.AsyncClient):
    assert set((await http.delete(EVENTS)).headers["allow"].split(", ")) >= {"GET", "POST"}


FILTERS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"correlation_id": "rr-x"}, {"correlation_id": "rr-x"}),
    ({"event_type": "a.b.c"}, {"event_type": "a.b.c"}),
    ({"event_category": "gateway"}, {"event_category": "gateway"}),
    ({"service": "gateway"}, {"event_category": "gateway"}),
    ({"event_outcome": "failure"}, {"event_outcome": "failure"}),
    ({"outcome": "pending"}, {"event_outcome": "pending"}),
    ({"severity": "critical"}, {"severity": "critical"}),
    ({"resource_id": "pod-1"}, {"resource_id": "pod-1"}),
    ({"resource_type": "Pod", "resource_id": "p"}, {"resource_type": "Pod", "resource_id": "p"}),
    ({"actor_id": "mary"}, {"actor_id": "mary"}),
    ({"actor_type": "user", "actor_id": "m"}, {"actor_type": "user", "actor_id": "m"}),
    ({"namespace": "shop"}, {"namespace": "shop"}),
    ({"resource_namespace": "billing"}, {"namespace": "billing"}),
    ({"detail_key": "colour", "detail_value": "red"}, {"event_data": {"colour": "red"}}),
    ({"since": "2026-11-22T20:00:01Z", "until": "2026-11-22T20:00:01Z"}, {"event_timestamp": "2026-11-22T20:00:01Z"}),
]


async def test_filter_finds_exactly_the_matching_event(http: httpx2.AsyncClient):
    await store(http, a_wire_event(event_timestamp="2026-11-22T20:00:02Z"), a_wire_event())
    for query, fields in FILTERS:
        time = {"event_timestamp": "2026-11-22T20:00:03Z"} | fields
        wanted = a_wire_event(**time)
        await store(http, wanted)

        page = (await http.get(EVENTS, params=query)).json()

        found = [event["event_id"] for event in page["data"]]
        assert wanted["event_id"] in found, query
        assert (
            len(found)
            == page["pagination"]["total"]
            == sum(fields == other for _, other in FILTERS[: 1 + FILTERS.index((query, fields))])
        )


async def test_events_of_a_parent_are_found(http: httpx2.AsyncClient):
    parent = a_wire_event()
    child = a_wire_event(parent_event_id=parent["event_id"])
    await store(http, parent, child)

    page = (await http.get(EVENTS, params={"parent_event_id": parent["event_id"]})).json()

    assert [event["event_id"] for event in page["data"]] == [child["event_id"]]


async def test_every_field_is_returned(http: httpx2.AsyncClient):
    optional = {
        "actor_type": "user",
        "actor_id": "mary",
        "actor_ip": "10.0.0.7",
        "resource_type": "Pod",
        "resource_id": "p-1",
        "resource_name": "p",
        "namespace": "shop",
        "cluster_id": "east",
        "trace_id": "t",
        "span_id": "s",
        "severity": "high",
        "duration_ms": 0,
        "error_code": "E1",
        "error_message": "why",
        "retention_days": 30,
        "is_sensitive": True,
        "event_data": {"z": 1.5, "a": [None, True, "é"]},
    }
    event = a_wire_event(**optional)
    await store(http, event)

    (stored,) = (await http.get(EVENTS)).json()["data"]

    assert {key: stored[key] for key in event} == event
    assert stored["event_date"] == "2026-11-22"
    assert (stored["sequence"], stored["previous_event_hash"], len(stored["event_hash"])) == (1, "", 64)


async def test_pages_by_cursor_are_stable_under_inserts(http: httpx2.AsyncClient):
    start = datetime(2026, 11, 22, 12, tzinfo=UTC)
    # Pairs share a timestamp, so that the id has to decide.
    events = [a_wire_event(event_timestamp=(start + timedelta(seconds=n // 2)).isoformat()) for n in range(10)]
    await store(http, *events)

    seen: list[str] = []
    cursor = None
    while True:
        page = (await http.get(EVENTS, params={"limit": "3"} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [event["event_id"] for event in page["data"]]
        await store(http, a_wire_event(event_timestamp=(start + timedelta(hours=1)).isoformat()))
        cursor = page["pagination"].get("cursor")
        if not page["pagination"]["has_more"]:
            break

    newest_first = sorted(events, key=lambda event: (event["event_timestamp"], event["event_id"]), reverse=True)
    assert seen == [event["event_id"] for event in newest_first]


async def test_pages_by_offset_cover_everything_once(http: httpx2.AsyncClient):
    await store(http, *[a_wire_event() for _ in range(7)])

    pages = [(await http.get(EVENTS, params={"limit": "3", "offset": str(n)})).json() for n in (0, 3, 6)]

    assert [len(page["data"]) for page in pages] == [3, 3, 1]
    assert len({event["event_id"] for page in pages for event in page["data"]}) == 7
    assert [page["pagination"]["has_more"] for page in pages] == [True, True, False]
    assert {page["pagination"]["total"] for page in pages} == {7}


async def test_timeline_in_ledger_order_follows_arrival_and_not_the_clock(http: httpx2.AsyncClient):
    times = ["2026-11-22T20:00:03Z", "2026-11-22T20:00:01Z", "2026-11-22T20:00:02Z"]
    for time in times:
        await store(http, a_wire_event(event_timestamp=time), a_wire_event(correlation_id="other"))

    timeline = (await http.get("/api/v1/audit/timeline/rr-1", params={"order": "ledger"})).json()

    assert [event["event_timestamp"] for event in timeline["events"]] == times
    assert timeline["events"][1]["previous_event_hash"] == timeline["events"][0]["event_hash"]
    assert (await http.post(VERIFY, json={"correlation_id": "rr-1"})).json()["is_valid"]


async def test_timeline_begins_with_what_opened_it_however_it_arrived(http: httpx2.AsyncClient):
    await store(http, a_wire_event(event_timestamp="2026-11-22T20:00:02Z"))
    await store(http, a_wire_event(event_timestamp="2026-11-22T20:00:01Z"))
    await store(http, a_wire_event(event_timestamp="2026-11-22T20:00:03Z", event_type="gateway.signal.received"))

    pieces = []
    after = 0
    while True:
        path = "/api/v1/audit/timeline/rr-1"
        piece = (await http.get(path, params={"limit": "1", "after": str(after)})).json()
        pieces += piece["events"]
        after = pieces[-1]["sequence"]
        if not piece["has_more"]:
            break

    assert [event["sequence"] for event in pieces] == [3, 2, 1]
    answer = await http.get(path, params={"after": "99"})
    assert_problem(answer, 400, "validation-error")


ODD_IDS = [
    "team/rr-1?x",
    "a\nb",
    "\n",
    ".",
    "..",
    "../..",
    "a/../b",
    "%2F",
    "#",
    " ",
    "über rr?#%",
    "%",
    "&=+",
    "'\"\\",
]


async def test_any_correlation_id_is_found_by_timeline_query_and_verification(http: httpx2.AsyncClient):
    events = {id: a_wire_event(correlation_id=id) for id in ODD_IDS}
    await store(http, *events.values())
    async with open_client(ClientConfig(url=str(http.base_url))) as client:
        for id, event in events.items():
            wanted = [event["event_id"]]

            assert [str(found.event_id) for found in (await client.timeline(id)).events] == wanted, id
            assert [str(found.event_id) for found in (await client.query({"correlation_id": id})).data] == wanted, id
            assert (await client.verify(id)).verified_events == 1, id


async def test_timeline_of_more_events_than_a_page_is_complete(http: httpx2.AsyncClient):
    for start in (0, 700):
        await store(http, *[a_wire_event() for _ in range(700 + start // 7)])

    async with open_client(ClientConfig(url=str(http.base_url))) as client:
        timeline = await client.timeline("rr-1")

    assert [event.sequence for event in timeline.events] == list(range(1, 1501))
    assert not timeline.has_more


async def test_long_timeline_comes_in_pieces(http: httpx2.AsyncClient):
    await store(http, *[a_wire_event() for _ in range(5)])

    first = (await http.get("/api/v1/audit/timeline/rr-1", params={"limit": "3"})).json()
    after = str(first["events"][-1]["sequence"])
    second = (await http.get("/api/v1/audit/timeline/rr-1", params={"limit": "3", "after": after})).json()

    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [event["sequence"] for event in first["events"] + second["events"]] == [1, 2, 3, 4, 5]


async def test_field_without_a_value_is_absent(http: httpx2.AsyncClient):
    await store(http, a_wire_event(event_timestamp=datetime.now(UTC).isoformat()))
    page = await http.get(EVENTS)
    answers = [page, await http.get("/api/v1/audit/timeline/rr-1"), await http.post(VERIFY)]
    answers += [await http.post(VERIFY, json={"correlation_id": "none"}), await store(http, Prefer="handling=lenient")]

    assert [answer.text for answer in answers if "null" in answer.text] == []
    (event,) = page.json()["data"]
    assert not {"actor_ip", "namespace", "parent_event_id", "duration_ms"} & event.keys()
    assert (event["late"], event["is_sensitive"], event["retention_days"]) == (False, False, 2555)


async def test_value_that_no_event_can_have_is_refused_and_one_that_an_event_has_is_not(http: httpx2.AsyncClient):
    await store(http, a_wire_event(event_type="billing.invoice.sent"))
    refused = {
        "event_type": "signalprocesing.signal.processed",
        "event_category": "signal",
        "event_outcome": "ok",
        "namspace": "shop",
    }

    for name, value in refused.items():
        document = assert_problem(await http.get(EVENTS, params={name: value}), 400, "validation-error")
        assert list(document["field_errors"]) == [name]
    found = {
        type: (await http.get(EVENTS, params={"event_type": type, "severity": "low"})).json()["data"]
        for type in ("billing.invoice.sent", "signalprocessing.signal.processed")
    }
    assert found == {"billing.invoice.sent": [], "signalprocessing.signal.processed": []}


async def test_category_that_is_none_is_refused(http: httpx2.AsyncClient):
    document = assert_problem(await store(http, a_wire_event(event_category="signal")), 400, "validation-error")

    assert "gateway, notification" in document["field_errors"]["[0].event_category"]


async def test_rows_without_a_ledger_row_neither_show_nor_shorten_a_page(
    http: httpx2.AsyncClient, sql: asyncpg.Connection
):
    await store(http, *[a_wire_event() for _ in range(4)])
    await sql.execute(
        """
        INSERT INTO audit_events (event_id, event_timestamp, event_type, event_category, event_action, event_outcome,
               actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity)
        SELECT gen_random_uuid(), event_timestamp + interval '1 minute', event_type, event_category, event_action,
               event_outcome, actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity
          FROM audit_events
        """
    )

    first = (await http.get(EVENTS, params={"limit": "3"})).json()
    second = (await http.get(EVENTS, params={"limit": "3", "cursor": first["pagination"]["cursor"]})).json()

    assert [len(page["data"]) for page in (first, second)] == [3, 1]
    assert [page["pagination"]["has_more"] for page in (first, second)] == [True, False]


async def test_unknown_correlation_has_an_empty_timeline_and_verifies(http: httpx2.AsyncClient):
    assert (await http.get("/api/v1/audit/timeline/none")).json()["events"] == []
    verification = (await http.post(VERIFY, json={"correlation_id": "none"})).json()
    assert verification["is_valid"]
    assert verification["message"] == "No events found for correlation_id none"


async def test_verification_of_everything_tells_the_head(http: httpx2.AsyncClient):
    await store(http, a_wire_event(), a_wire_event())

    verification = (await http.post(VERIFY)).json()

    assert verification["is_valid"]
    assert (verification["total_events"], verification["verified_events"]) == (2, 2)
    assert verification["heads"] == [{"shard": 0, "head_sequence": 2, "head_hash": verification["head_hash"]}]


async def test_one_ledger_is_verified_alone_and_a_correlation_tells_the_head_too(http: httpx2.AsyncClient):
    await store(http, a_wire_event())
    everything = (await http.post(VERIFY)).json()

    alone = (await http.post(VERIFY, json={"shard": 0})).json()
    correlation = (await http.post(VERIFY, json={"correlation_id": "rr-1"})).json()
    unknown = (await http.post(VERIFY, json={"correlation_id": "none"})).json()

    assert everything["heads"] == alone["heads"] == correlation["heads"] == unknown["heads"]


@pytest.mark.parametrize(
    ("asked", "field"), [({"shard": 7}, "shard"), ({"correlationId": "rr-1"}, "body"), ({"checkpoint": "x"}, "body")]
)
async def test_a_verification_of_something_else_than_was_asked_for_is_refused(
    http: httpx2.AsyncClient, asked: dict[str, object], field: str
):
    answer = await http.post(VERIFY, json=asked)

    assert (answer.status_code, list(answer.json()["field_errors"])) == (400, [field])


async def test_a_ledger_that_is_not_there_is_a_finding_for_who_kept_its_head(http: httpx2.AsyncClient):
    verification = (await http.post(VERIFY, json={"shard": 7, "head_sequence": 1, "head_hash": "0" * 64})).json()

    assert not verification["is_valid"]


async def test_health_is_answered_under_every_name(http: httpx2.AsyncClient):
    for path in ("/livez", "/healthz", "/health/live", "/readyz", "/health", "/health/ready"):
        assert (await http.get(path)).status_code == 200, path


async def test_metrics_count_what_was_answered(http: httpx2.AsyncClient):
    await store(http, a_wire_event(), a_wire_event(event_category="approval"))
    await store(http, a_wire_event(event_type=""))
    await http.get(EVENTS)

    text = (await http.get("/metrics")).text

    assert 'datastorage_audit_traces_total{service="signalprocessing",status="success"} 1.0' in text
    assert 'datastorage_audit_traces_total{service="approval",status="success"} 1.0' in text
    assert f'datastorage_validation_failures_total{{reason="validation-error",source="{BATCH}"}} 1.0' in text
    assert 'datastorage_query_total{operation="query",status="success"} 1.0' in text
    assert "kubernaut_datastorage_group_commit_events_sum 2.0" in text
    assert 'datastorage_write_duration_seconds_count{table="audit_events_batch"} 1.0' in text
    assert "kubernaut_datastorage_waiting_events 0.0" in text


async def test_contract_is_served(http: httpx2.AsyncClient):
    assert (await http.get("/openapi.yaml")).text.startswith("openapi: 3.1.0")


async def test_write_waits_for_the_lock_of_another_process(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    async with sql.transaction():
        await sql.execute("SELECT pg_advisory_xact_lock(hashtext('kubernaut.audit_ledger'), 0)")
        waiting = asyncio.create_task(store(http, a_wire_event()))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()

    assert (await waiting).status_code == 201


async def test_events_of_one_request_never_mix_with_another(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    batches = [[a_wire_event() for _ in range(5)] for _ in range(10)]

    await asyncio.gather(*(store(http, *batch) for batch in batches))

    ids = [str(row["event_id"]) for row in await sql.fetch("SELECT event_id FROM audit_ledger ORDER BY sequence")]
    assert sorted(json.dumps(ids[at : at + 5]) for at in range(0, 50, 5)) == sorted(
        json.dumps([event["event_id"] for event in batch]) for batch in batches
    )


async def test_batch_says_where_its_events_stand_when_asked(http: httpx2.AsyncClient):
    await store(http, a_wire_event(), a_wire_event())
    events = [a_wire_event() for _ in range(3)]

    plain = await http.post(BATCH, content=a_body(*events), headers=JSON)
    again = await http.post(BATCH, content=a_body(*events, a_wire_event()), headers=JSON | {"prefer": "ledger-range"})

    assert "ledger" not in plain.json()
    assert again.headers["preference-applied"] == "ledger-range"
    assert again.json()["ledger"] == [{"shard": 0, "first_sequence": 3, "last_sequence": 6, "count": 4}]


async def test_client_learns_where_its_events_stand(http: httpx2.AsyncClient):
    event = msgspec.json.decode(json.dumps(a_wire_event()), type=AuditEvent)
    async with open_client(ClientConfig(url=str(http.base_url))) as client:
        (range_,) = await client.send([event])

    assert (range_.first_sequence, range_.last_sequence, range_.count) == (1, 1, 1)
